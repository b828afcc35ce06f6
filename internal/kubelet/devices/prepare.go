package devices

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/gitopsd/gitopsd/internal/durable"
	"github.com/gitopsd/gitopsd/internal/kubelet/grant"
)

// record is what a Pod has, as its directory keeps it.
type record struct {
	Assigned Assigned `json:"assigned"`
	// Sandbox is the set of namespaces for which plugins have said what is needed for the devices; another one is there after a reboot, when they are asked anew.
	Sandbox string                 `json:"sandbox,omitempty"`
	Granted map[string]grant.Grant `json:"granted,omitempty"` // by container
	// Starts are the resources whose plugin is to get devices ready before each start of a container.
	Starts []v1.ResourceName `json:"starts,omitempty"`

	lost error // why it is not known what the Pod has
}

const recordFile = "devices.json"

func load(pod string) (*record, error) {
	b, err := os.ReadFile(filepath.Join(pod, recordFile))
	if err != nil {
		return nil, err
	}
	r := &record{}
	return r, json.Unmarshal(b, r)
}

func logNames(err error) {
	slog.Warn("which resources device plugins have could not be written", "err", err)
}

// Plugins may have to set hardware up; how long upstream waits for the second is said by the API itself.
const (
	allocateTimeout = time.Minute
	startTimeout    = api.KubeletPreStartContainerRPCTimeoutInSecs * time.Second
)

// Prepare has plugins say what is needed for the devices of a Pod's containers, by container, once for each sandbox. dir is the Pod's directory.
func (d *Devices) Prepare(ctx context.Context, pod *v1.Pod, dir, sandbox string) (map[string]grant.Grant, error) {
	if d == nil {
		return nil, nil
	}
	d.mu.Lock()
	r, err := d.admit(pod) // it has been already, unless this process came in between
	d.mu.Unlock()
	if err != nil || r == nil {
		return nil, err
	}
	if r.Granted != nil && r.Sandbox == sandbox {
		return r.Granted, nil
	}
	if r.Granted == nil {
		d.prefer(ctx, pod, r)
		// Before a plugin sets anything up: another process must not give the device to somebody else.
		if err := d.save(pod, r, dir); err != nil {
			return nil, err
		}
	}
	next := &record{Assigned: r.Assigned, Sandbox: sandbox, Granted: map[string]grant.Grant{}}
	for _, container := range slices.Sorted(maps.Keys(r.Assigned)) {
		var g grant.Grant
		of := r.Assigned[container]
		for _, resource := range slices.Sorted(maps.Keys(of)) {
			p, err := d.plugin(resource)
			if err != nil {
				return nil, err
			}
			more, err := allocate(ctx, p, of[resource])
			if err != nil {
				return nil, fmt.Errorf("devices of %s for container %s: %w", resource, container, err)
			}
			g.Add(more)
			if p.options.PreStartRequired && !slices.Contains(next.Starts, resource) {
				next.Starts = append(next.Starts, resource)
			}
		}
		next.Granted[container] = g
	}
	return next.Granted, d.save(pod, next, dir)
}

// save keeps what a Pod has, unless it has been taken from it.
func (d *Devices) save(pod *v1.Pod, r *record, dir string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[pod.UID] == nil {
		return fmt.Errorf("the Pod has ended")
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(dir, recordFile), b); err != nil {
		return fmt.Errorf("keeping what devices the Pod has: %w", err)
	}
	d.held[pod.UID] = r
	return nil
}

// plugin of a resource that is there.
func (d *Devices) plugin(resource v1.ResourceName) (*plugin, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.kept[resource]; k != nil && k.plugin != nil {
		return k.plugin, nil
	}
	return nil, fmt.Errorf("devices of %s: its device plugin is not there; it has to register at %s", resource, filepath.Join(d.dir, socketName))
}

func allocate(ctx context.Context, p *plugin, ids []string) (grant.Grant, error) {
	ctx, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	said, err := p.Allocate(ctx, &api.AllocateRequest{ContainerRequests: []*api.ContainerAllocateRequest{{DevicesIds: ids}}})
	if err != nil {
		return grant.Grant{}, fmt.Errorf("its device plugin gives none of %v: %w", ids, err)
	}
	if len(said.ContainerResponses) != 1 {
		return grant.Grant{}, fmt.Errorf("its device plugin answered for %d containers, asked about one", len(said.ContainerResponses))
	}
	a := said.ContainerResponses[0]
	g := grant.Grant{Env: a.Envs, Annotations: a.Annotations}
	for _, m := range a.Mounts {
		g.Mounts = append(g.Mounts, grant.Mount{Container: m.ContainerPath, Host: m.HostPath, ReadOnly: m.ReadOnly})
	}
	for _, dev := range a.Devices {
		g.Devices = append(g.Devices, grant.Device{Container: dev.ContainerPath, Host: dev.HostPath, Permissions: dev.Permissions})
	}
	for _, c := range a.CdiDevices {
		g.CDI = append(g.CDI, c.Name)
	}
	return g, nil
}

// prefer has plugins that have a preference choose among what is free, for containers that share no device with another. It is a wish: what cannot be had, or is
// no answer, leaves the Pod with what it has.
func (d *Devices) prefer(ctx context.Context, pod *v1.Pod, r *record) {
	for _, container := range slices.Sorted(maps.Keys(r.Assigned)) {
		for resource, had := range r.Assigned[container] {
			p, err := d.plugin(resource)
			if err != nil || !p.options.GetPreferredAllocationAvailable || r.shares(container, resource) {
				continue
			}
			d.mu.Lock()
			available := d.forContainer(pod, r, container, resource)
			d.mu.Unlock()
			wanted, err := choose(ctx, p, available, len(had))
			if err != nil {
				slog.Warn("a device plugin did not say which devices it prefers", "resource", resource, "err", err)
				continue
			}
			d.mu.Lock()
			available = d.forContainer(pod, r, container, resource)
			if len(wanted) == len(had) && !slices.ContainsFunc(wanted, func(id string) bool { return !slices.Contains(available, id) }) {
				r.Assigned[container][resource] = wanted
			}
			d.mu.Unlock()
		}
	}
}

// shares says whether another container of the Pod has one of a container's devices, too.
func (r *record) shares(container string, resource v1.ResourceName) bool {
	for other, of := range r.Assigned {
		if other != container && slices.ContainsFunc(of[resource], func(id string) bool { return slices.Contains(r.Assigned[container][resource], id) }) {
			return true
		}
	}
	return false
}

// forContainer are the devices that a container of a Pod could have: those that are free, and its own; d.mu is held.
func (d *Devices) forContainer(pod *v1.Pod, r *record, container string, resource v1.ResourceName) []string {
	return slices.DeleteFunc(d.free(resource, pod.UID), func(id string) bool {
		for other, of := range r.Assigned {
			if other != container && slices.Contains(of[resource], id) {
				return true
			}
		}
		return false
	})
}

func choose(ctx context.Context, p *plugin, available []string, n int) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, allocateTimeout)
	defer cancel()
	said, err := p.GetPreferredAllocation(ctx, &api.PreferredAllocationRequest{ContainerRequests: []*api.ContainerPreferredAllocationRequest{{
		AvailableDeviceIDs: available, AllocationSize: int32(n),
	}}})
	if err != nil {
		return nil, err
	}
	if len(said.ContainerResponses) != 1 {
		return nil, fmt.Errorf("it answered for %d containers, asked about one", len(said.ContainerResponses))
	}
	ids := slices.Clone(said.ContainerResponses[0].DeviceIDs)
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// Start has plugins that want to know get a container's devices ready before it starts, each time.
func (d *Devices) Start(ctx context.Context, pod *v1.Pod, container string) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	r := d.held[pod.UID]
	d.mu.Unlock()
	if r == nil {
		return nil
	}
	for _, resource := range r.Starts {
		ids := r.Assigned[container][resource]
		if len(ids) == 0 {
			continue
		}
		p, err := d.plugin(resource)
		if err != nil {
			return err
		}
		start, cancel := context.WithTimeout(ctx, startTimeout)
		_, err = p.PreStartContainer(start, &api.PreStartContainerRequest{DevicesIds: ids})
		cancel()
		if err != nil {
			return fmt.Errorf("devices of %s: its device plugin did not get %v ready: %w", resource, ids, err)
		}
	}
	return nil
}

package dra

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
	api "k8s.io/kubelet/pkg/apis/dra/v1"

	"github.com/gitopsd/gitopsd/internal/durable"
	"github.com/gitopsd/gitopsd/internal/kubelet/grant"
)

// Claims are those that Pods of the node use.
type Claims struct {
	drivers *Drivers
	// get reads a claim.
	get func(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error)

	// turns are had by who asks drivers about a claim: what one Pod has undone must not be what another has made ready meanwhile. There is one for each, so that a
	// driver that hangs keeps nobody else waiting.
	turns turns

	mu   sync.Mutex
	pods map[string][]prepared // by the directory of each Pod, the claims that it uses
	lost map[string]error      // by the directory of each Pod of which that is not known, why
}

// record is what a Pod's directory keeps.
type record struct {
	// Sandbox is the set of namespaces that drivers have been asked for; another one is there after a reboot, when they are asked anew.
	Sandbox string     `json:"sandbox,omitempty"`
	Claims  []prepared `json:"claims"`
}

// prepared is a claim that a Pod uses.
type prepared struct {
	Name      string    `json:"name"` // in the Pod's spec.resourceClaims
	Namespace string    `json:"namespace"`
	Claim     string    `json:"claim"`
	UID       types.UID `json:"uid"`
	Drivers   []string  `json:"drivers"`
	Devices   []device  `json:"devices,omitempty"`
}

// device is one that a claim has.
type device struct {
	Requests []string `json:"requests,omitempty"` // of the claim; none stands for all
	CDI      []string `json:"cdi,omitempty"`
	Driver   string   `json:"driver,omitempty"`
	Pool     string   `json:"pool,omitempty"`
	Name     string   `json:"name,omitempty"`
	Share    *string  `json:"share,omitempty"`
}

const recordFile = "claims.json"

// Open takes up which Pods below dir use which claims.
func Open(drivers *Drivers, dir string, get func(ctx context.Context, namespace, name string) (*resourcev1.ResourceClaim, error)) (*Claims, error) {
	c := &Claims{drivers: drivers, get: get, pods: map[string][]prepared{}, lost: map[string]error{}}
	files, err := filepath.Glob(filepath.Join(dir, "*", recordFile))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		r, err := load(filepath.Dir(f))
		if err != nil {
			slog.Error("it is found out anew from the API and the drivers; until then no claim is given back", "err", err)
			c.lost[filepath.Dir(f)] = err
			continue
		}
		c.use(r.Claims, filepath.Dir(f))
	}
	return c, nil
}

func load(pod string) (record, error) {
	var r record
	path := filepath.Join(pod, recordFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	if err != nil {
		return record{}, fmt.Errorf("%s, which tells what claims a Pod uses, cannot be read: %w", path, err)
	}
	return r, nil
}

func (r record) save(pod string) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := durable.Replace(filepath.Join(pod, recordFile), b); err != nil {
		return fmt.Errorf("keeping what claims the Pod has: %w", err)
	}
	return nil
}

// use notes that a Pod uses claims.
func (c *Claims) use(claims []prepared, pod string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pods[pod] = slices.Clone(claims)
	delete(c.lost, pod)
}

// known gives what a Pod's directory keeps. What cannot be read is as if it had not been written: a Pod keeps its claims as long as it lives, so the API tells them again, and drivers that
// have made them ready say what that was when they are asked once more.
func (c *Claims) known(dir string) (record, error) {
	c.mu.Lock()
	lost := c.lost[dir]
	c.mu.Unlock()
	if lost != nil {
		return record{}, nil
	}
	return load(dir)
}

// callTimeout bounds a driver's work, as upstream does.
const callTimeout = 45 * time.Second

// Prepare has drivers make ready what a Pod's claims were given, and says which container gets what of it. What has been made ready for a
// sandbox is not asked for again: dir, the Pod's directory, keeps it.
func (c *Claims) Prepare(ctx context.Context, pod *v1.Pod, dir, sandbox string) (map[string]grant.Grant, error) {
	if len(pod.Spec.ResourceClaims) == 0 {
		return nil, nil
	}
	r, err := c.known(dir)
	if err != nil {
		return nil, err
	}
	if r.Sandbox == sandbox {
		return share(pod, r.Claims), nil
	}
	if r.Sandbox == "" {
		if r.Claims, err = c.find(ctx, pod); err != nil {
			return nil, err
		}
		// Before it is noted that they were asked: a Pod for which none ever was may go without them.
		for name := range byDriver(r.Claims) {
			if _, err := c.drivers.get(name); err != nil {
				return nil, err
			}
		}
	}
	defer c.turns.take(r.Claims)()
	c.use(r.Claims, dir)
	if err := r.save(dir); err != nil {
		return nil, err
	}
	if err := c.ask(ctx, r.Claims); err != nil {
		return nil, err
	}
	c.use(r.Claims, dir)
	r.Sandbox = sandbox
	return share(pod, r.Claims), r.save(dir)
}

// find reads a Pod's claims, and checks that they are the Pod's to use.
func (c *Claims) find(ctx context.Context, pod *v1.Pod) ([]prepared, error) {
	list := []prepared{}
	for i := range pod.Spec.ResourceClaims {
		of := &pod.Spec.ResourceClaims[i]
		name, mustOwn, err := resourceclaim.Name(pod, of)
		if err != nil {
			return nil, err
		}
		if name == nil {
			continue
		}
		claim, err := c.get(ctx, pod.Namespace, *name)
		if err != nil {
			return nil, fmt.Errorf("ResourceClaim %s/%s: %w", pod.Namespace, *name, err)
		}
		if mustOwn {
			if err := resourceclaim.IsForPod(pod, claim, false); err != nil {
				return nil, err
			}
		}
		if claim.Status.Allocation == nil {
			return nil, fmt.Errorf("ResourceClaim %s/%s has no devices: let the scheduler choose the Pod's node, instead of spec.nodeName", pod.Namespace, *name)
		}
		if !resourceclaim.IsReservedForPod(pod, claim, false) {
			return nil, fmt.Errorf("ResourceClaim %s/%s is not reserved for the Pod: let the scheduler choose the Pod's node, instead of spec.nodeName", pod.Namespace, *name)
		}
		p := prepared{Name: of.Name, Namespace: claim.Namespace, Claim: claim.Name, UID: claim.UID}
		for _, r := range claim.Status.Allocation.Devices.Results {
			if !slices.Contains(p.Drivers, r.Driver) {
				p.Drivers = append(p.Drivers, r.Driver)
			}
		}
		list = append(list, p)
	}
	return list, nil
}

// byDriver sorts claims by who is to be asked about them.
func byDriver(list []prepared) map[string][]*api.Claim {
	out := map[string][]*api.Claim{}
	for i := range list {
		p := &list[i]
		for _, d := range p.Drivers {
			out[d] = append(out[d], &api.Claim{Namespace: p.Namespace, Name: p.Claim, Uid: string(p.UID)})
		}
	}
	return out
}

// ask has each driver make its part of the claims ready, and notes what that came to.
func (c *Claims) ask(ctx context.Context, list []prepared) error {
	of := byDriver(list)
	for i := range list {
		list[i].Devices = nil
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		d, err := c.drivers.get(name)
		if err != nil {
			return err
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		said, err := d.NodePrepareResources(call, &api.NodePrepareResourcesRequest{Claims: of[name]})
		cancel()
		if err != nil {
			return fmt.Errorf("the driver %s: %w", name, err)
		}
		for i := range list {
			p := &list[i]
			if !slices.Contains(p.Drivers, name) {
				continue
			}
			answer := said.Claims[string(p.UID)]
			switch {
			case answer == nil:
				return fmt.Errorf("the driver %s said nothing about ResourceClaim %s/%s", name, p.Namespace, p.Claim)
			case answer.Error != "":
				return fmt.Errorf("the driver %s could not make ResourceClaim %s/%s ready: %s", name, p.Namespace, p.Claim, answer.Error)
			}
			for _, dev := range answer.Devices {
				p.Devices = append(p.Devices, device{Requests: dev.RequestNames, CDI: dev.CdiDeviceIds, Driver: name, Pool: dev.PoolName, Name: dev.DeviceName, Share: dev.ShareId})
			}
		}
	}
	return nil
}

// share says which container gets which devices: those of the claims that it names, or of one request of theirs.
func share(pod *v1.Pod, list []prepared) map[string]grant.Grant {
	out := map[string]grant.Grant{}
	for _, containers := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range containers {
			var g grant.Grant
			for _, want := range containers[i].Resources.Claims {
				for _, p := range list {
					for _, dev := range p.of(want) {
						g.Add(grant.Grant{CDI: dev.CDI})
					}
				}
			}
			out[containers[i].Name] = g
		}
	}
	return out
}

// of gives those of the claim's devices that a container's wish is for.
func (p *prepared) of(want v1.ResourceClaim) []device {
	if p.Name != want.Name {
		return nil
	}
	return slices.DeleteFunc(slices.Clone(p.Devices), func(dev device) bool {
		return want.Request != "" && len(dev.Requests) > 0 && !slices.ContainsFunc(dev.Requests, func(r string) bool { return resourceclaim.BaseRequestRef(r) == want.Request })
	})
}

// Unprepare has drivers undo what they made ready for a Pod, but for claims that another Pod of the node uses. It may be repeated, and for Pods without claims.
func (c *Claims) Unprepare(ctx context.Context, pod *v1.Pod, dir string) error {
	r, err := c.toUndo(ctx, pod, dir)
	if err != nil || len(r.Claims) == 0 {
		return err
	}
	if why := c.otherLost(dir); why != nil {
		return fmt.Errorf("giving devices back waits until it is known whether another Pod uses them: %w; that Pod tells in Events what it waits for, and may be deleted", why)
	}
	defer c.turns.take(r.Claims)()
	var last []prepared
	for _, p := range r.Claims {
		if c.others(p.UID, dir) == 0 {
			last = append(last, p)
		}
	}
	for name, claims := range byDriver(last) {
		d, err := c.drivers.get(name)
		if err != nil {
			return fmt.Errorf("giving devices back: %w", err)
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		said, err := d.NodeUnprepareResources(call, &api.NodeUnprepareResourcesRequest{Claims: claims})
		cancel()
		if err != nil {
			return fmt.Errorf("giving devices back: the driver %s: %w", name, err)
		}
		for _, claim := range claims {
			if answer, ok := said.Claims[claim.Uid]; !ok || answer != nil && answer.Error != "" {
				return fmt.Errorf("giving devices back: the driver %s: ResourceClaim %s/%s: %s", name, claim.Namespace, claim.Name, answer.GetError())
			}
		}
	}
	if err := os.Remove(filepath.Join(dir, recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pods, dir)
	delete(c.lost, dir)
	return nil
}

// toUndo is what a Pod uses that ends. Where its record was lost the API tells, unless the claims are gone.
func (c *Claims) toUndo(ctx context.Context, pod *v1.Pod, dir string) (record, error) {
	r, err := c.known(dir)
	c.mu.Lock()
	lost := c.lost[dir] != nil
	c.mu.Unlock()
	if err != nil || !lost {
		return r, err
	}
	if r.Claims, err = c.find(ctx, pod); err != nil && !apierrors.IsNotFound(err) {
		return r, err
	}
	if len(r.Claims) == 0 {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.lost, dir)
		return r, os.Remove(filepath.Join(dir, recordFile))
	}
	return r, nil
}

// otherLost says why it is not known of another Pod which claims it uses, if there is such a Pod.
func (c *Claims) otherLost(dir string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for other, why := range c.lost {
		if other != dir {
			return why
		}
	}
	return nil
}

// others is how many other Pods use a claim.
func (c *Claims) others(claim types.UID, pod string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for dir, claims := range c.pods {
		if dir != pod && slices.ContainsFunc(claims, func(p prepared) bool { return p.UID == claim }) {
			n++
		}
	}
	return n
}

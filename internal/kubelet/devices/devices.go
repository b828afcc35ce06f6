package devices

import (
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
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// Devices are those of the node.
type Devices struct {
	dir  string // of the sockets
	pods string // of the Pods' directories
	// changed is called when how many there are may have changed.
	changed func()

	mu   sync.Mutex
	kept map[v1.ResourceName]*kind
	held map[types.UID]*record
}

// kind is the devices of one resource.
type kind struct {
	plugin  *plugin // nil while there is none
	gone    time.Time
	devices map[string]device // by ID, as it said last
}

// device is what a plugin says about one.
type device struct {
	healthy bool
	nodes   []int64 // of memory (NUMA) that it is close to
}

func (a device) equal(b device) bool { return a.healthy == b.healthy && slices.Equal(a.nodes, b.nodes) }

// namesFile tells, in the folder of the sockets, which resources plugins have had: until theirs is back, a Pod that asks for one must not start without.
const namesFile = "gitopsd-resources.json"

// Open takes up what Pods below the directory pods have. dir is for the sockets.
func Open(dir, pods string, changed func()) (*Devices, error) {
	d := &Devices{dir: dir, pods: pods, changed: changed, kept: map[v1.ResourceName]*kind{}, held: map[types.UID]*record{}}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, fmt.Errorf("the folder of the device plugins' sockets: %w", err)
	}
	if err := d.loadNames(); err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(pods, "*", recordFile))
	if err != nil {
		return nil, err
	}
	for _, f := range files {
		r, err := load(filepath.Dir(f))
		if err != nil {
			r = &record{lost: fmt.Errorf("%s, which tells what devices the Pod has, cannot be read: %w; delete the Pod, and until it is gone no Pod of this node is given a device of a plugin", f, err)}
			slog.Error("nobody is given devices of plugins for now", "err", r.lost)
		}
		d.held[types.UID(filepath.Base(filepath.Dir(f)))] = r
		for _, of := range r.Assigned {
			for name := range of {
				if d.kept[name] == nil {
					d.kept[name] = &kind{}
				}
			}
		}
	}
	return d, nil
}

// loadNames takes up which resources plugins have had. What cannot be read is put aside: the resources that Pods have are found in their records, and the others when their plugins register.
func (d *Devices) loadNames() error {
	path := filepath.Join(d.dir, namesFile)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var names []v1.ResourceName
	if err == nil {
		err = json.Unmarshal(b, &names)
	}
	if err != nil {
		slog.Error("which resources device plugins have had is not known; a Pod that asks for one before its plugin has registered may start without it", "file", path, "put aside as", path+".bad", "err", err)
		return os.Rename(path, path+".bad")
	}
	for _, n := range names {
		d.kept[n] = &kind{}
	}
	return nil
}

// lost says that a Pod has devices of which nobody knows which: any other Pod that is given some might be given the same. d.mu is held.
func (d *Devices) lost() bool {
	for _, r := range d.held {
		if r.lost != nil {
			return true
		}
	}
	return false
}

// arrive takes in a plugin that has registered; one before it has no say any more, and is left.
func (d *Devices) arrive(name v1.ResourceName, p *plugin) {
	d.mu.Lock()
	k := d.kept[name]
	if k == nil {
		k = &kind{}
		d.kept[name] = k
		b, err := json.Marshal(slices.Sorted(maps.Keys(d.kept)))
		if err == nil {
			err = durable.Replace(filepath.Join(d.dir, namesFile), b)
		}
		if err != nil {
			// Only a Pod that comes after a restart and before the plugin could start without.
			logNames(err)
		}
	}
	before := k.plugin
	k.plugin = p
	d.mu.Unlock()
	if before != nil {
		before.conn.Close() // it may never say anything again
	}
	d.changed()
}

// take takes in the plugin's devices; false if the plugin has no say any more.
func (d *Devices) take(name v1.ResourceName, p *plugin, list []*api.Device) bool {
	d.mu.Lock()
	k := d.kept[name]
	if k.plugin != p {
		d.mu.Unlock()
		return false
	}
	now := make(map[string]device, len(list))
	for _, said := range list {
		one := device{healthy: said.Health == api.Healthy}
		for _, n := range said.Topology.GetNodes() {
			one.nodes = append(one.nodes, n.ID)
		}
		now[said.ID] = one
	}
	same := maps.EqualFunc(k.devices, now, device.equal) // some plugins say the same again and again
	k.devices = now
	d.mu.Unlock()
	if !same {
		d.changed()
	}
	return true
}

// leave takes in that a plugin has gone, and says whether it had a say.
func (d *Devices) leave(name v1.ResourceName, p *plugin) bool {
	d.mu.Lock()
	k := d.kept[name]
	last := k.plugin == p
	if last {
		k.plugin, k.gone = nil, time.Now()
	}
	d.mu.Unlock()
	d.changed()
	return last
}

// Offer adds what plugins have to what the Node has, and the healthy devices of those that are there to what Pods may have.
func (d *Devices) Offer(capacity, allocatable v1.ResourceList) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for name, k := range d.kept {
		all, healthy := int64(len(k.devices)), int64(0)
		for _, dev := range k.devices {
			if dev.healthy && k.plugin != nil && !d.lost() {
				healthy++
			}
		}
		if k.plugin == nil && time.Since(k.gone) > goneFor {
			all = 0
		}
		capacity[name], allocatable[name] = *resource.NewQuantity(all, resource.DecimalSI), *resource.NewQuantity(healthy, resource.DecimalSI)
	}
}

// free are the healthy devices that nobody but the Pod has; d.mu is held.
func (d *Devices) free(name v1.ResourceName, but types.UID) []string {
	k := d.kept[name]
	if k == nil || k.plugin == nil || d.lost() {
		return nil
	}
	taken := map[string]bool{}
	for uid, r := range d.held {
		if uid != but {
			for _, id := range r.Assigned.all(name) {
				taken[id] = true
			}
		}
	}
	var out []string
	for id, dev := range k.devices {
		if dev.healthy && !taken[id] {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Admit gives a Pod the devices that it asks for, or says why it cannot have them. One that has some keeps them.
func (d *Devices) Admit(pod *v1.Pod) error {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, err := d.admit(pod)
	return err
}

func (d *Devices) admit(pod *v1.Pod) (*record, error) {
	if r := d.held[pod.UID]; r != nil {
		return r, r.lost
	}
	got, err := Assign(pod, func(n v1.ResourceName) bool { return d.kept[n] != nil }, func(n v1.ResourceName) []string { return d.free(n, pod.UID) })
	if err != nil || len(got) == 0 {
		return nil, err
	}
	r := &record{Assigned: got}
	d.held[pod.UID] = r
	return r, nil
}

// Release takes a Pod's devices back. The file in its directory is left to whoever removes that, unless the Pod has only ended.
func (d *Devices) Release(uid types.UID) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.held[uid] == nil {
		return
	}
	lost := d.held[uid].lost != nil
	delete(d.held, uid)
	os.Remove(filepath.Join(d.pods, string(uid), recordFile))
	if lost {
		go d.changed() // the others' can be had again
	}
}

// HeldBy are the Pods that have devices.
func (d *Devices) HeldBy() []types.UID {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.held))
}

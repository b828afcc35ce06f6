package leftovers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

// Node is where a node keeps its things.
type Node struct {
	Dir, Logs string                   // its data directory, and the one of Pods' logs
	Cgroup    string                   // that all Pods are below
	Do        func(func() error) error // calls a function in the node's network namespace
}

// Inventory is what a node has, each thing by a name of its own.
type Inventory map[string]bool

// Beyond lists what is here and was not before, in order.
func (i Inventory) Beyond(before Inventory) []string {
	return slices.Sorted(func(yield func(string) bool) {
		for name := range maps.Keys(i) {
			if !before[name] && !yield(name) {
				return
			}
		}
	})
}

// Take lists what the node has now. Its daemon and containerd may run meanwhile.
func (n Node) Take(ctx context.Context) (Inventory, error) {
	all := Inventory{}
	err := errors.Join(n.mounts(all), n.groups(all), n.files(all), n.addresses(all), n.containers(ctx, all), n.Do(func() error {
		return errors.Join(n.processes(all), links(all), rules(ctx, all))
	}))
	return all, err
}

func (n Node) mounts(all Inventory) error {
	b, err := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], n.Dir+"/") {
			all["mount "+f[4]] = true
		}
	}
	return err
}

func (n Node) groups(all Inventory) error {
	tops, err := filepath.Glob("/sys/fs/cgroup/*" + n.Cgroup)
	for _, top := range append(tops, "/sys/fs/cgroup"+n.Cgroup) {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() { // others go while they are looked at
				all["group "+path] = true
			}
			return nil
		})
	}
	return err
}

func (n Node) files(all Inventory) error {
	for _, top := range []string{n.Dir, n.Logs} {
		_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			if err == nil {
				all["file "+path] = true
			}
			return nil
		})
	}
	return nil
}

func (n Node) addresses(all Inventory) error {
	b, err := os.ReadFile(filepath.Join(n.Dir, "network", "pods.json"))
	if err != nil {
		return err
	}
	var state struct {
		Pods map[string]struct{ IPs []string }
	}
	if err := json.Unmarshal(b, &state); err != nil {
		return err
	}
	for uid, p := range state.Pods {
		all[fmt.Sprintf("address %v of Pod %s", p.IPs, uid)] = true
	}
	return nil
}

func (n Node) containers(ctx context.Context, all Inventory) error {
	c, err := containerd.New(filepath.Join(n.Dir, "containerd", "containerd.sock"), containerd.WithDefaultNamespace(runtime.Namespace))
	if err != nil {
		return err
	}
	defer c.Close()
	list, err := c.Containers(ctx)
	for _, x := range list {
		all["container "+x.ID()] = true
	}
	leases, err2 := c.LeasesService().List(ctx)
	for _, l := range leases {
		all["lease "+l.ID] = true
	}
	return errors.Join(err, err2, c.SnapshotService(image.Snapshotter).Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		all["snapshot "+i.Name] = true
		return nil
	}))
}

// processes are those in the network namespace of the calling thread, and those of the Pods.
func (n Node) processes(all Inventory) error {
	own, err := os.Readlink(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		return err
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	for _, p := range procs {
		ns, _ := os.Readlink(p + "/ns/net")
		group, _ := os.ReadFile(p + "/cgroup")
		if ns == own || strings.Contains(string(group), n.Cgroup+"/") {
			comm, _ := os.ReadFile(p + "/comm")
			all[fmt.Sprintf("process %s %s", filepath.Base(p), strings.TrimSpace(string(comm)))] = true
		}
	}
	return err
}

func links(all Inventory) error {
	list, err := netlink.LinkList()
	for errors.Is(err, netlink.ErrDumpInterrupted) { // some came or went meanwhile
		list, err = netlink.LinkList()
	}
	for _, l := range list {
		all["interface "+l.Attrs().Name] = true
	}
	return err
}

func rules(ctx context.Context, all Inventory) error {
	out, err := exec.CommandContext(ctx, "iptables-save").Output()
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "-A") {
			all["rule "+strings.TrimSpace(line)] = true
		}
	}
	return err
}

package cluster

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/gitopsd/gitopsd/test/netns"
)

// KillPrograms ends, with SIGKILL, what runs in a host's network namespace under a name that is meant, such as "containerd-shim", and waits until it is gone.
func (c *Cluster) KillPrograms(host string, meant func(name string) bool) error {
	h, err := c.Host(host)
	if err != nil {
		return err
	}
	list, err := processesIn(netns.Path(h.NetNS))
	if err != nil {
		return err
	}
	for _, p := range list {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID))
		if err != nil || !meant(strings.TrimSpace(string(name))) {
			continue
		}
		if err := p.kill(); err != nil {
			return err
		}
	}
	return nil
}

// PowerOff ends everything that runs on a worker: its daemon, containerd, shims and containers. Unlike those of a machine, its disks and mounts notice nothing.
func (c *Cluster) PowerOff(worker string) error {
	// The daemon first: it would start the others again.
	err := c.Kill(Node + "/" + worker)
	err = errors.Join(err, c.KillPrograms(worker, func(string) bool { return true }))
	for _, p := range processesBelow(c.rec.cgroup(worker)) {
		err = errors.Join(err, p.kill())
	}
	return err
}

// RunsPod says whether a process of a Pod runs on any worker. A container's control group carries the Pod's UID.
func (c *Cluster) RunsPod(uid string) bool {
	for _, p := range processesBelow("/" + prefix + c.rec.ID) {
		if data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", p.PID)); err == nil && strings.Contains(string(data), uid) {
			return true
		}
	}
	return false
}

// Runs says, as an error, that no program of a name runs in a host's network namespace.
func (c *Cluster) Runs(host, name string) error {
	h, err := c.Host(host)
	if err != nil {
		return err
	}
	list, err := processesIn(netns.Path(h.NetNS))
	if err != nil {
		return err
	}
	for _, p := range list {
		if has, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.PID)); err == nil && strings.TrimSpace(string(has)) == name {
			return nil
		}
	}
	return fmt.Errorf("no %s runs on %s", name, host)
}

package cluster

import (
	"fmt"

	"github.com/gitopsd/gitopsd/test/netns"
)

// PID is the process of a component that runs.
func (c *Cluster) PID(component string) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.rec.Processes[component]
	if !ok || !p.Alive() {
		return 0, fmt.Errorf("%s does not run: see %s", component, c.LogFile(component))
	}
	return p.PID, nil
}

// ProcessesOn lists what runs in a host's network namespace: its daemon, containerd, shims; and Pods that share it.
func (c *Cluster) ProcessesOn(host string) ([]Process, error) {
	h, err := c.Host(host)
	if err != nil {
		return nil, err
	}
	return processesIn(netns.Path(h.NetNS))
}

// Cgroup is the control group that a worker's Pods are below.
func (c *Cluster) Cgroup(worker string) string { return c.rec.cgroup(worker) }

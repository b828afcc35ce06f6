package cluster

import "fmt"

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

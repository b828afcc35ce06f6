package pod

import v1 "k8s.io/api/core/v1"

// DevicesChanged tells that devices may have become healthy, or ceased to be: the Pods that have them say so in their status.
func (s *Set) DevicesChanged() { s.each(func(*worker) {}) }

// health is how the devices of a container are, those of plugins and of claims.
func (w *worker) health(c *v1.Container) []v1.ResourceStatus {
	if c == nil {
		return nil
	}
	return append(w.node.Devices.Health(w.pod.UID, c.Name), w.node.Claims.Health(c, w.dir)...)
}

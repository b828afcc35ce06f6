package core

import (
	"slices"

	resourcev1 "k8s.io/api/resource/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// A Pod that could not be bound after its claims had been given devices still has them. If it cannot be where they are any more, because that node is full or gone, it would wait for it for ever, and
// nobody else could use the devices. So they are taken back, as kube-scheduler does after a Pod was turned away (KEP-4381).

// devices is what the filters that were prepared last know of the Pod's devices; nil if it uses none.
func (c *Scheduler) devices() *plugins.DeviceCheck {
	for _, k := range c.checks {
		if d, ok := k.Check.(*plugins.DeviceCheck); ok {
			return d
		}
	}
	return nil
}

// inTheWay are the claims that alone keep the Pod from a node, by devices that nobody uses; nil if there is no such node.
func (c *Scheduler) inTheWay(pod *snapshot.Pod, s *snapshot.Snapshot, devices *plugins.DeviceCheck) []*resourcev1.ResourceClaim {
	if devices == nil || len(devices.Idle()) == 0 {
		return nil
	}
	for _, n := range c.candidates(pod, s) {
		otherwise := func(k check) bool { return k.Check != plugins.Check(devices) && !k.Passes(n) }
		if claims := devices.IdleElsewhere(n); len(claims) > 0 && !slices.ContainsFunc(c.checks, otherwise) {
			return claims
		}
	}
	return nil
}

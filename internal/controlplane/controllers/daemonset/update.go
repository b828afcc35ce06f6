package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// maxSurge is on how many nodes an update may run a second Pod beside an available one; 0: Pods are replaced. A share is rounded up.
func (d *decision) maxSurge() int {
	if s := d.Set.Spec.UpdateStrategy; s.RollingUpdate != nil && s.Type != appsv1.OnDeleteDaemonSetStrategyType {
		return d.share(s.RollingUpdate.MaxSurge)
	}
	return 0
}

// maxUnavailable is on how many nodes an update may leave no available Pod, at least one: with none it would never end.
func (d *decision) maxUnavailable() int {
	if r := d.Set.Spec.UpdateStrategy.RollingUpdate; r != nil {
		return max(1, d.share(r.MaxUnavailable))
	}
	return 1
}

func (d *decision) share(v *intstr.IntOrString) int {
	if v == nil {
		return 0
	}
	n, err := intstr.GetScaledValueFromIntOrPercent(v, d.desired, true)
	if err != nil {
		return 0 // validation lets nothing else through
	}
	return n
}

// replace deletes Pods of old revisions, so that new ones are made where they were. Those that are not available go at once: nothing gets worse by it, and it
// is how a revision that never became ready is got rid of. Of the others only so many go that no more than the limit are missing.
func (d *decision) replace(limit int) {
	missing := 0
	var candidates []*corev1.Pod
	for _, p := range d.places {
		switch {
		case !p.stay, d.available(p.current):
			continue
		case d.available(p.old):
			candidates = append(candidates, p.old)
			continue
		case p.old != nil:
			d.delete(p.old)
		}
		if p.run {
			missing++ // being created, being deleted, failed, or not available yet
		}
	}
	for _, pod := range candidates[:min(len(candidates), max(0, limit-missing))] {
		d.delete(pod)
	}
}

// settleSurge ends the time of two Pods on a node: the new one is available, or the old one serves nobody.
func (d *decision) settleSurge(p *place) {
	if p.current == nil || p.old == nil {
		return
	}
	if !podstate.Ready(p.old) || d.available(p.current) {
		d.delete(p.old)
		p.old = nil
	}
}

// surge creates a Pod beside one of an old revision, which goes when the new one is available. Where the old one is not available a new one is made at once,
// beyond the limit: nobody is served there.
//
// A DaemonSet that surges is one that is to be available throughout. So where the new template leaves a node out by a taint, the old Pod there goes only once
// as many Pods are available as there are to be.
func (d *decision) surge(limit int) {
	serving, surging := 0, 0
	var candidates []*place
	var left []*corev1.Pod
	for _, p := range d.places {
		if !p.stay {
			continue
		}
		oldServes, serves := d.available(p.old), d.available(p.current)
		if oldServes || serves {
			serving++
		}
		switch {
		case p.old == nil:
		case p.current != nil:
			surging++
		case p.waits:
		case oldServes && p.run:
			candidates = append(candidates, p)
		case oldServes:
			left = append(left, p.old)
		case p.run:
			p.create = true
		default:
			d.delete(p.old)
		}
	}
	for _, p := range candidates[:min(len(candidates), max(0, limit-surging))] {
		p.create = true
	}
	for _, pod := range left[:min(len(left), max(0, serving-d.desired))] {
		d.delete(pod)
	}
}

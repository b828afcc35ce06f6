package daemonset

import (
	appsv1 "k8s.io/api/apps/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// status is what the observed Pods call for. Of several Pods on a node the first counts: the one that is bound, then the oldest. While an update surges that is
// the old one, which still serves.
func (d *decision) status() appsv1.DaemonSetStatus {
	s := appsv1.DaemonSetStatus{
		ObservedGeneration: d.Set.Generation, CollisionCount: d.Collisions, Conditions: d.Set.Status.Conditions,
	}
	for _, p := range d.places {
		switch {
		case !p.exists:
		case !p.run && len(p.pods) > 0:
			s.NumberMisscheduled++
		case p.run:
			s.DesiredNumberScheduled++
			if len(p.pods) == 0 {
				continue
			}
			s.CurrentNumberScheduled++
			pod := p.pods[0]
			if podstate.Ready(pod) {
				s.NumberReady++
			}
			if d.available(pod) {
				s.NumberAvailable++
			}
			if hashOf(pod) == d.Hash {
				s.UpdatedNumberScheduled++
			}
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	return s
}

package statefulset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// status is what the observed Pods call for. A Pod that goes is a replica until it is gone, and may be ready; it is of no revision any more.
func (d *decision) status() appsv1.StatefulSetStatus {
	s := appsv1.StatefulSetStatus{
		ObservedGeneration: d.Set.Generation,
		CurrentRevision:    d.Current.Name,
		UpdateRevision:     d.Update.Name,
		CollisionCount:     ptr.To(ptr.Deref(d.Collisions, 0)),
		Conditions:         d.Set.Status.Conditions,
	}
	for _, p := range d.Pods {
		s.Replicas++
		if d.running(p) {
			s.ReadyReplicas++
		}
		if d.available(p) {
			s.AvailableReplicas++
		}
		if d.terminating(p) {
			continue
		}
		if revisionOf(p) == s.CurrentRevision {
			s.CurrentReplicas++
		}
		if revisionOf(p) == s.UpdateRevision {
			s.UpdatedReplicas++
		}
	}
	if n := int32(size(d.Set)); s.UpdatedReplicas == n && s.ReadyReplicas == n && s.Replicas == n {
		s.CurrentRevision, s.CurrentReplicas = s.UpdateRevision, s.UpdatedReplicas // the update is complete
	}
	return s
}

// recheck is the time until the next Pod has been ready for long enough.
func (d *decision) recheck() time.Duration {
	var next time.Duration
	for _, p := range d.Pods {
		if _, left := podstate.Available(p, minReady(d.Set), d.Now); left > 0 && (next == 0 || left < next) {
			next = left
		}
	}
	return next
}

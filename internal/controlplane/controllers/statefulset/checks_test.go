package statefulset

import (
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// checkCreate holds a new Pod against what is true of the others.
func (w *world) checkCreate(p *corev1.Pod) {
	if q := w.pods.Real[p.Name]; q != nil {
		w.t.Errorf("created %s although it exists", p.Name)
	}
	n, _ := ordinalOf(w.set(), p.Name)
	if !inRange(w.shown(), n) {
		w.t.Errorf("created %s, which is none of %d", p.Name, size(w.shown()))
	}
	if w.revisions.Real[revisionOf(p)] == nil {
		w.t.Errorf("created %s of %s, which there is not", p.Name, revisionOf(p))
	}
	if w.shown().Spec.PodManagementPolicy == appsv1.OrderedReadyPodManagement {
		for i := range n {
			q := w.pods.Real[podName(w.set(), i)]
			if q != nil && w.told.Has(q.UID) || w.missing[podName(w.set(), i)] {
				w.t.Errorf("created %s although the controller has deleted %s, which comes before it", p.Name, podName(w.set(), i))
			}
		}
	}
	for _, v := range p.Spec.Volumes {
		c := w.claims.Real[v.PersistentVolumeClaim.ClaimName]
		if c == nil {
			continue // deleted just now; it is made while the Pod is pending
		}
		for _, ref := range c.OwnerReferences {
			if ref.Kind == "Pod" {
				w.t.Errorf("created %s with a claim that goes with %s", p.Name, ref.UID)
			}
		}
	}
}

// checkDelete counts the members that are away because of the controller.
func (w *world) checkDelete(p *corev1.Pod) {
	if w.told.Has(p.UID) {
		w.t.Errorf("deleted %s (%s) twice", p.Name, p.UID)
	}
	shown := w.shown()
	n, _ := ordinalOf(shown, p.Name)
	if obj, ok, _ := w.pods.Cache.GetByKey("default/" + p.Name); !ok || !podstate.Ready(obj.(*corev1.Pod)) || !inRange(shown, n) {
		return // as far as the controller can see, nobody counts on it
	}
	away := 0
	for i := range size(shown) {
		name := podName(shown, i)
		if q := w.pods.Real[name]; q != nil && q.DeletionTimestamp != nil && w.told.Has(q.UID) || w.missing[name] {
			away++
		}
	}
	if away >= maxUnavailable(shown) {
		w.t.Errorf("deleted %s while %d were away, and %d may be", p.Name, away, maxUnavailable(shown))
	}
}

// check is for the end.
func (w *world) check() {
	set := w.set()
	s, n := set.Status, int32(size(set))
	var want []string
	for i := range size(set) {
		name := podName(set, i)
		want = append(want, name)
		if p := w.pods.Real[name]; p == nil || !podstate.Ready(p) || revisionOf(p) != s.UpdateRevision {
			w.t.Errorf("in the end %s is not ready and updated", name)
		}
		for j := range set.Spec.VolumeClaimTemplates {
			c := w.claims.Real[claimName(set, set.Spec.VolumeClaimTemplates[j].Name, i)]
			if c == nil {
				w.t.Errorf("in the end %s has no claim", name)
			} else if _, change, _ := owned(c, set, w.pods.Real[name], false); change {
				w.t.Errorf("in the end the claim of %s belongs to %v", name, c.OwnerReferences)
			}
		}
	}
	if got := w.names(); !slices.Equal(got, want) {
		w.t.Errorf("in the end there are %v, want %v", got, want)
	}
	if s.Replicas != n || s.ReadyReplicas != n || s.UpdatedReplicas != n || s.CurrentRevision != s.UpdateRevision || s.ObservedGeneration != set.Generation {
		w.t.Errorf("in the end the status of %d is %+v", n, s)
	}
	if most := 1 + int(*set.Spec.RevisionHistoryLimit); len(w.revisions.Real) > most {
		w.t.Errorf("in the end there are %d revisions, want no more than %d", len(w.revisions.Real), most)
	}
}

package statefulset

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Observed is everything a decision rests on.
type Observed struct {
	Set      *appsv1.StatefulSet
	Pods     []*corev1.Pod                            // all that the StatefulSet owns
	Deleting sets.Set[types.UID]                      // Pods whose deletion has been asked for, though they do not show it yet
	Claims   map[string]*corev1.PersistentVolumeClaim // those of its Pods and ordinals, by name
	Current  Revision                                 // of the Pods that the partition keeps back
	Update   Revision                                 // of the template now
	// Collisions is what became of status.collisionCount when Update was recorded.
	Collisions *int32
	Now        time.Time
}

// Actions is what is to be done now, in this order: claims are made before their Pods, and told of their Pods' end before it.
type Actions struct {
	Claim  []Claim                         // claims to create
	Own    []*corev1.PersistentVolumeClaim // claims to update: their owners have changed
	Mark   []*corev1.Pod                   // Pods to update: their labels did not name them
	Create []*corev1.Pod
	Delete []*corev1.Pod
	Events []Event
	Status appsv1.StatefulSetStatus
	// Recheck is when a ready Pod becomes available, which no event will tell; zero for never.
	Recheck time.Duration
	// Waits says what holds up the rest; empty when nothing does.
	Waits string
}

// Claim is a claim to create, and the Pod it is for.
type Claim struct {
	Pod   string
	Claim *corev1.PersistentVolumeClaim
}

// Event is something to tell the StatefulSet's readers.
type Event struct {
	Type, Reason, Message string
}

// decision is a decision being made.
type decision struct {
	Observed
	Actions
	ordered   bool
	replicas  []*corev1.Pod // by ordinal from start; nil where there is none
	condemned []*corev1.Pod // of ordinals that the StatefulSet has outgrown, the highest first
	going     sets.Set[types.UID]
}

// Decide chooses what to do next. Ordered, that is one Pod: every Pod before it has to be available. In parallel it is all at once.
//
// The StatefulSet is filled first, then cut to size from the end, then updated from the end: what comes later waits until what comes earlier is done.
func Decide(o Observed) Actions {
	d := &decision{
		Observed: o, ordered: ordered(o.Set),
		replicas: make([]*corev1.Pod, size(o.Set)), going: sets.New[types.UID]().Union(o.Deleting),
	}
	for _, p := range o.Pods {
		ordinal, ok := ordinalOf(o.Set, p.Name)
		switch {
		case !ok:
		case inRange(o.Set, ordinal):
			d.replicas[ordinal-start(o.Set)] = p
		default:
			d.condemned = append(d.condemned, p)
		}
	}
	slices.SortFunc(d.condemned, func(a, b *corev1.Pod) int { return cmp.Compare(d.ordinal(b), d.ordinal(a)) })
	if o.Set.DeletionTimestamp == nil && d.fill() && d.shrink() {
		d.update()
	}
	d.Status = d.status()
	d.Recheck = d.recheck()
	return d.Actions
}

func (d *decision) ordinal(p *corev1.Pod) int {
	n, _ := ordinalOf(d.Set, p.Name)
	return n
}

// fill sees to it that each ordinal has a Pod and the Pod its claims. It returns whether the rest may go on.
func (d *decision) fill() bool {
	for i, p := range d.replicas {
		if done := d.replica(start(d.Set)+i, p); !done && d.ordered {
			return false
		}
	}
	return true
}

// replica returns whether the ordinal is as it is to be.
func (d *decision) replica(ordinal int, p *corev1.Pod) bool {
	switch {
	case p == nil:
		d.create(ordinal)
		return false
	case podstate.Finished(p):
		// Also one that succeeded: a Pod that is evicted, or whose node restarts, ends as its containers please.
		d.delete(p)
		return d.wait(p, "has ended, and goes before there is another")
	case p.Status.Phase == corev1.PodPending && !d.terminating(p):
		d.keepClaims(p, ordinal, false, true)
	}
	switch {
	case d.terminating(p):
		return d.wait(p, "is being deleted")
	case !d.running(p):
		return d.wait(p, "is not running and ready")
	case !d.available(p):
		return d.wait(p, "has not been ready for long enough")
	}
	d.keepClaims(p, ordinal, false, false)
	d.mark(p, ordinal)
	return true
}

// wait notes what the rest waits for. It is false, for the caller to return.
func (d *decision) wait(p *corev1.Pod, why string) bool {
	d.Waits = cmp.Or(d.Waits, p.Name+" "+why)
	return false
}

// create makes the Pod of an ordinal, unless a claim it would use is on its way out.
func (d *decision) create(ordinal int) {
	p := newPod(d.Set, d.revisionFor(ordinal), ordinal)
	for i := range d.Set.Spec.VolumeClaimTemplates {
		c := d.Claims[claimName(d.Set, d.Set.Spec.VolumeClaimTemplates[i].Name, ordinal)]
		if c == nil {
			continue
		}
		if c.DeletionTimestamp != nil {
			d.tell(corev1.EventTypeWarning, "FailedCreate", "Create Pod %s in StatefulSet %s failed error: pvc %s is being deleted", p.Name, d.Set.Name, c.Name)
		}
		if c.DeletionTimestamp != nil || leftBehind(c, p) {
			d.wait(p, "needs the claim "+c.Name+", which is being deleted")
			return
		}
	}
	d.keepClaims(p, ordinal, false, true)
	d.Create = append(d.Create, p)
	d.wait(p, "is being created")
}

// revisionFor keeps the ordinals below the partition back. Which template a Pod gets does not depend on how far an update has come, so a Pod that is lost
// in the middle of one comes back updated.
func (d *decision) revisionFor(ordinal int) Revision {
	if ordinal-start(d.Set) < partition(d.Set) {
		return d.Current
	}
	return d.Update
}

// keepClaims brings the owners of a Pod's claims in line with the policy and, if asked, makes claims that are missing.
func (d *decision) keepClaims(p *corev1.Pod, ordinal int, condemned, missing bool) {
	for i := range d.Set.Spec.VolumeClaimTemplates {
		t := &d.Set.Spec.VolumeClaimTemplates[i]
		c := d.Claims[claimName(d.Set, t.Name, ordinal)]
		if c == nil {
			if missing {
				d.Claim = append(d.Claim, Claim{Pod: p.Name, Claim: newClaim(d.Set, t, ordinal)})
			}
			continue
		}
		owners, change, foreign := owned(c, d.Set, p, condemned)
		if !change {
			continue
		}
		if foreign {
			d.tell(corev1.EventTypeWarning, "ConflictingController", "PersistentVolumeClaim %s is controlled by another object, so the retention policy is not followed for it", c.Name)
		}
		next := c.DeepCopy()
		next.OwnerReferences = owners
		d.Own = append(d.Own, next)
	}
}

// mark puts right what a Pod that was adopted, or meddled with, lacks of its identity. Volumes of a Pod cannot be changed.
func (d *decision) mark(p *corev1.Pod, ordinal int) {
	if !hasClaims(d.Set, p, ordinal) {
		d.tell(corev1.EventTypeWarning, "FailedUpdate", "Update Pod %s in StatefulSet %s failed error: its volumes are not those of the claim templates; delete it to have it made anew", p.Name, d.Set.Name)
	}
	if identified(p) {
		return
	}
	next := p.DeepCopy()
	identify(next, ordinal)
	d.Mark = append(d.Mark, next)
}

// shrink deletes the Pods that the StatefulSet has outgrown, the last first. It returns whether the rest may go on.
//
// In order, a Pod that is not available holds it up like any other, unless it is itself the next to go and none before it is unavailable: so a StatefulSet
// loses at most one member at a time that others may count on. On one that has ended nobody counts, and it would never become available.
func (d *decision) shrink() bool {
	for _, p := range d.condemned {
		d.keepClaims(p, d.ordinal(p), true, false)
	}
	var first *corev1.Pod // the first that is not available
	for _, p := range d.condemned {
		if d.unavailable(p) && !podstate.Finished(p) {
			first = p
		}
	}
	for _, p := range d.condemned {
		switch {
		case !d.ordered:
			d.delete(p)
		case d.terminating(p):
			return d.wait(p, "is being deleted")
		case d.unavailable(p) && p != first && !podstate.Finished(p):
			return d.wait(first, "is not available, and comes before "+p.Name+", which is to go")
		default:
			d.delete(p)
			return d.wait(p, "is being deleted")
		}
	}
	return true
}

func (d *decision) delete(p *corev1.Pod) {
	if !d.terminating(p) {
		d.Delete = append(d.Delete, p)
		d.going.Insert(p.UID)
	}
}

func (d *decision) tell(eventType, reason, format string, args ...any) {
	d.Events = append(d.Events, Event{Type: eventType, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (d *decision) terminating(p *corev1.Pod) bool {
	return p.DeletionTimestamp != nil || d.going.Has(p.UID)
}

func (d *decision) running(p *corev1.Pod) bool {
	return p.Status.Phase == corev1.PodRunning && podstate.Ready(p)
}

func (d *decision) available(p *corev1.Pod) bool {
	ok, _ := podstate.Available(p, minReady(d.Set), d.Now)
	return ok && d.running(p)
}

// unavailable says that nobody can count on a Pod: there is none, it is not available, or it is going.
func (d *decision) unavailable(p *corev1.Pod) bool {
	return p == nil || d.terminating(p) || !d.available(p)
}

// ordered says that a Pod waits for those before it.
func ordered(set *appsv1.StatefulSet) bool {
	return set.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

func minReady(set *appsv1.StatefulSet) time.Duration {
	return time.Duration(set.Spec.MinReadySeconds) * time.Second
}

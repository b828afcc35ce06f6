package daemonset

import (
	"cmp"
	"fmt"
	"maps"
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
	Set      *appsv1.DaemonSet
	Nodes    []*corev1.Node           // all of the cluster
	Pods     []*corev1.Pod            // all that the DaemonSet owns
	Deleting sets.Set[types.UID]      // Pods whose deletion has been asked for, though they do not show it yet
	Hash     string                   // of the template's revision, which is the label of Pods made by it
	Backoff  map[string]time.Duration // by node: how long a failed Pod is still left there
	// Collisions is what became of status.collisionCount when the revision was recorded.
	Collisions *int32
	Now        time.Time
}

// Actions is what is to be done now.
type Actions struct {
	Create []string // nodes to create a Pod for
	Delete []*corev1.Pod
	Failed []string // nodes with a failed Pod among Delete: the next is left there for longer
	Events []Event
	Status appsv1.DaemonSetStatus
	// Recheck is when time alone changes something, which no event will tell; zero for never.
	Recheck time.Duration
}

// Event is something to tell the DaemonSet's readers.
type Event struct {
	Type, Reason, Message string
}

// place is a node, as the DaemonSet sees it.
type place struct {
	name      string
	exists    bool
	run, stay bool          // as fit says
	pods      []*corev1.Pod // the one that counts first
	// What is left once the place has been settled: at most one Pod of the template's revision, and one of another.
	current, old *corev1.Pod
	create       bool
	waits        bool // a failed Pod is left here for now, and nothing takes its place
}

// decision is a decision being made.
type decision struct {
	Observed
	Actions
	places  []*place // by name
	desired int      // how many of them are to have a Pod
	gone    sets.Set[types.UID]
}

// Decide chooses what to do next: first each node by itself, so that it has the Pod it is to have and no other, then the update across all of them.
func Decide(o Observed) Actions {
	d := &decision{Observed: o, gone: sets.New[types.UID]().Union(o.Deleting)}
	d.survey()
	surge := d.maxSurge()
	for _, p := range d.places {
		d.settle(p, surge > 0)
	}
	switch {
	case o.Set.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType:
	case surge > 0:
		d.surge(surge)
	default:
		d.replace(d.maxUnavailable())
	}
	for _, p := range d.places {
		if p.create && !d.crowded(p) {
			d.Create = append(d.Create, p.name)
		}
	}
	d.Status = d.status()
	return d.Actions
}

// survey puts every Pod to its node. Pods that have ended and are being deleted are over; a finalizer is all that keeps them.
func (d *decision) survey() {
	byName := map[string]*place{}
	fits := newFit(d.Set)
	for _, n := range d.Nodes {
		run, stay := fits.of(n)
		byName[n.Name] = &place{name: n.Name, exists: true, run: run, stay: stay}
		if run {
			d.desired++
		}
	}
	for _, pod := range d.Pods {
		name := nodeOf(pod)
		if name == "" || podstate.Finished(pod) && pod.DeletionTimestamp != nil {
			continue
		}
		if byName[name] == nil {
			byName[name] = &place{name: name}
		}
		byName[name].pods = append(byName[name].pods, pod)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		p := byName[name]
		slices.SortFunc(p.pods, func(a, b *corev1.Pod) int {
			return cmp.Or(cmp.Compare(unbound(a), unbound(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
		})
		d.places = append(d.places, p)
	}
}

// crowded says that the node has two Pods that nobody has asked to go before now. One of them is asked now; until that has been heard no third is made.
func (d *decision) crowded(p *place) bool {
	there := 0
	for _, pod := range p.pods {
		if !podstate.Finished(pod) && pod.DeletionTimestamp == nil && !d.Deleting.Has(pod.UID) {
			there++
		}
	}
	return there > 1
}

func unbound(p *corev1.Pod) int {
	if p.Spec.NodeName == "" {
		return 1
	}
	return 0
}

// settle sees to one node by itself. While an update may surge, two Pods are no mistake.
func (d *decision) settle(p *place, surges bool) {
	if !p.exists {
		for _, pod := range p.pods {
			if pod.Spec.NodeName == "" {
				d.delete(pod) // nobody will ever bind it
			}
		}
		return
	}
	if !p.stay {
		for _, pod := range p.pods {
			d.delete(pod)
		}
		return
	}
	for _, pod := range p.pods {
		switch {
		case d.going(pod):
		case podstate.Finished(pod):
			d.ended(p, pod)
		case hashOf(pod) == d.Hash && p.current == nil:
			p.current = pod
		case hashOf(pod) != d.Hash && p.old == nil:
			p.old = pod
		default:
			d.delete(pod)
		}
	}
	if surges {
		d.settleSurge(p)
		p.create = p.run && !p.waits && p.current == nil && p.old == nil
		return
	}
	if p.current != nil && p.old != nil { // the one that counts stays
		if slices.Index(p.pods, p.current) < slices.Index(p.pods, p.old) {
			d.delete(p.old)
			p.old = nil
		} else {
			d.delete(p.current)
			p.current = nil
		}
	}
	// A Pod that is going still holds its ports and its room; the next comes when it is gone.
	p.create = p.run && len(p.pods) == 0
}

// ended deletes a Pod whose containers have ended for good, so that another comes. One that failed may be left for a while: a node may refuse every Pod, each
// within milliseconds.
func (d *decision) ended(p *place, pod *corev1.Pod) {
	if pod.Status.Phase == corev1.PodSucceeded {
		d.tell(corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", pod.Namespace, pod.Name, p.name)
		d.delete(pod)
		return
	}
	if left := d.Backoff[p.name]; left > 0 {
		d.recheck(left)
		p.waits = true
		return
	}
	d.tell(corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", pod.Namespace, pod.Name, p.name)
	d.delete(pod)
	d.Failed = append(d.Failed, p.name)
}

func (d *decision) delete(pod *corev1.Pod) {
	if !d.going(pod) {
		d.Delete = append(d.Delete, pod)
		d.gone.Insert(pod.UID)
	}
}

func (d *decision) going(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || d.gone.Has(pod.UID)
}

func (d *decision) available(pod *corev1.Pod) bool {
	if pod == nil {
		return false
	}
	ok, left := podstate.Available(pod, time.Duration(d.Set.Spec.MinReadySeconds)*time.Second, d.Now)
	d.recheck(left)
	return ok
}

func (d *decision) recheck(after time.Duration) {
	if after > 0 && (d.Recheck == 0 || after < d.Recheck) {
		d.Recheck = after
	}
}

func (d *decision) tell(eventType, reason, format string, args ...any) {
	d.Events = append(d.Events, Event{Type: eventType, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

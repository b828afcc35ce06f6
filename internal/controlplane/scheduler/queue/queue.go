package queue

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Backoff of a Pod that was turned away: First, doubled with each attempt up to Last. It only holds against events that come in quick succession:
// without one that helps, a Pod stays parked however long ago its last attempt was.
type Backoff struct{ First, Last time.Duration }

// DefaultBackoff begins shorter than kube-scheduler's second: an attempt costs less here.
var DefaultBackoff = Backoff{First: 100 * time.Millisecond, Last: 10 * time.Second}

// parkedAtMost is after how long a parked Pod is looked at although no event helped it. It is a net under the filters' promises, not part of them.
const parkedAtMost = 5 * time.Minute

// Entry is a waiting Pod.
type Entry struct {
	Pod      *snapshot.Pod
	Attempts int            // how often it was turned away
	Filters  core.FilterSet // by which filters, the last time
	Since    time.Time      // when it was first seen, by this scheduler or one before
	Popped   time.Time      // when it was last taken out to be looked at

	place  place
	seq    uint64    // tells two with the same age apart
	due    time.Time // end of back-off
	wakeAt time.Time // when it leaves parked although nothing has helped it
	index  int       // in its heap
}

// Why is what all Pods have in common that a change concerns alike: whose they are, and the filters that turned them away.
type Why struct {
	Scheduler string // spec.schedulerName
	Filters   core.FilterSet
}

func (e *Entry) why() Why { return Why{e.Pod.Object.Spec.SchedulerName, e.Filters} }

type place int

const (
	active place = iota
	backingOff
	parked
)

func (p place) String() string { return [...]string{"active", "backoff", "unschedulable"}[p] }

// Queue holds the waiting Pods. It is not safe for concurrent use.
type Queue struct {
	times   Backoff
	entries map[types.UID]*Entry
	active  entryHeap
	backoff entryHeap
	parked  map[Why]map[types.UID]*Entry
	gangs   map[string]map[types.UID]*Entry // the waiting members of each, in whatever place
	flushAt time.Time                       // when the longest parked Pod is to be looked at; zero for none
	seq     uint64

	// Entered is told of each Pod that comes into a place of kube-scheduler's names (active, backoff, unschedulable), and of what put it there; nil for nobody.
	Entered func(place, event string)
}

// What puts Pods into a place, beside the changes that Wake is told of: kube-scheduler's words.
const (
	podAdd            = "PodAdd"
	attemptFailure    = "ScheduleAttemptFailure"
	backoffComplete   = "BackoffComplete"
	podUpdate         = "PodUpdate"
	forceActivate     = "ForceActivate"
	unschedulableTime = "UnschedulableTimeout"
)

// New makes an empty Queue.
func New(b Backoff) *Queue {
	return &Queue{
		times:   b,
		entries: map[types.UID]*Entry{},
		active:  entryHeap{less: func(a, b *Entry) bool { return order(a, b) < 0 }},
		backoff: entryHeap{less: func(a, b *Entry) bool { return cmp.Or(a.due.Compare(b.due), cmp.Compare(a.seq, b.seq)) < 0 }},
		parked:  map[Why]map[types.UID]*Entry{},
		gangs:   map[string]map[types.UID]*Entry{},
	}
}

// order is by priority, and then by age.
func order(a, b *Entry) int {
	return cmp.Or(cmp.Compare(b.Pod.Priority, a.Pod.Priority), a.Since.Compare(b.Since), cmp.Compare(a.seq, b.seq))
}

// Add takes a Pod in, or the changed object of one that waits already. A parked Pod is looked at again only if its spec or labels changed:
// its own condition, written by the scheduler, comes back as a change too.
func (q *Queue) Add(pod *snapshot.Pod, now time.Time) {
	uid := pod.Object.UID
	e := q.entries[uid]
	if e == nil {
		q.seq++
		e = &Entry{Pod: pod, Since: since(pod.Object, now), seq: q.seq}
		q.enter(e, active, podAdd)
		return
	}
	changed := e.Pod.Object.Generation != pod.Object.Generation || !sameScheduling(e.Pod, pod)
	if !sameGang(e.Pod, pod) {
		place := e.place
		q.exit(e)
		e.Pod, changed = pod, true
		q.enter(e, place, podUpdate)
	}
	e.Pod = pod
	switch {
	case e.place == parked && changed:
		q.leave(e)
		q.awaken(e, podUpdate, now)
	case e.place == active:
		heap.Fix(&q.active, e.index)
	}
}

// since is since when a Pod that is new to the queue waits: it says so itself if a scheduler before this one has turned it away.
func since(pod *corev1.Pod, now time.Time) time.Time {
	c := podstate.Condition(pod, corev1.PodScheduled)
	if c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable && c.LastTransitionTime.Time.Before(now) {
		return c.LastTransitionTime.Time
	}
	return now
}

// Remove takes a Pod out, and returns it if it was there.
func (q *Queue) Remove(uid types.UID) *Entry {
	e := q.entries[uid]
	if e != nil {
		q.exit(e)
	}
	return e
}

// Counts is how many Pods wait in each place.
type Counts struct{ Active, Backoff, Parked int }

// Count counts the Pods in each place.
func (q *Queue) Count() Counts {
	a, b := q.active.Len(), q.backoff.Len()
	return Counts{a, b, len(q.entries) - a - b}
}

// Len is how many Pods wait, in whatever place.
func (q *Queue) Len() int { return len(q.entries) }

// Pop takes the next Pod out. When there is none to be looked at now, it returns the time of the next that will be without an event,
// or the zero time.
func (q *Queue) Pop(now time.Time) (*Entry, time.Time) {
	q.flush(now)
	for q.backoff.Len() > 0 && !q.backoff.items[0].due.After(now) {
		e := q.backoff.items[0]
		q.leave(e)
		q.put(e, active, backoffComplete)
	}
	if q.active.Len() > 0 {
		e := q.active.items[0]
		q.exit(e)
		e.Popped = now
		return e, time.Time{}
	}
	next := q.flushAt
	if q.backoff.Len() > 0 && (next.IsZero() || q.backoff.items[0].due.Before(next)) {
		next = q.backoff.items[0].due
	}
	return nil, next
}

// Park puts back a Pod, taken out by Pop, for which there is no node.
func (q *Queue) Park(e *Entry, by core.FilterSet, now time.Time) {
	e.Attempts++
	e.due = now.Add(q.times.after(e.Attempts))
	e.wakeAt = wakeAt(e, now)
	e.Filters = by
	q.enter(e, parked, attemptFailure)
}

// wakeAt is when a Pod that is parked now is looked at although nothing has helped it. The end of a gang's patience is nothing that an event tells.
func wakeAt(e *Entry, now time.Time) time.Time {
	at := now.Add(parkedAtMost)
	if until := e.Patience(); until.After(now) && until.Before(at) {
		return until
	}
	return at
}

// Patience is until when the Pod waits for others of its gang; zero for as long as it takes. It counts from when the Pod came.
func (e *Entry) Patience() time.Time {
	if g := e.Pod.Gang; g != nil && g.Timeout > 0 {
		return e.Since.Add(g.Timeout)
	}
	return time.Time{}
}

// Hold puts back a Pod, taken out by Pop, that waits for others of its gang to come. It has not been turned away, so it does not have to back off.
func (q *Queue) Hold(e *Entry, now time.Time) {
	e.due = now
	e.wakeAt = wakeAt(e, now)
	e.Filters = core.Incomplete
	q.enter(e, parked, attemptFailure)
}

// Retry puts back a Pod, taken out by Pop, whose binding failed.
func (q *Queue) Retry(e *Entry, now time.Time) {
	e.Attempts++
	e.due = now.Add(q.times.after(e.Attempts))
	q.enter(e, backingOff, attemptFailure)
}

// Gang is how many members of a gang wait.
func (q *Queue) Gang(key string) int { return len(q.gangs[key]) }

// TakeGang takes all waiting members of a gang out, the first to be looked at first. Back-off is not waited for: one of them was to be looked at.
func (q *Queue) TakeGang(key string) []*Entry {
	out := slices.SortedFunc(maps.Values(q.gangs[key]), order)
	for _, e := range out {
		q.exit(e)
	}
	return out
}

// Wake lets those parked Pods be looked at again for which helped says yes. It asks only about those that are concerned, so that thousands of Pods that
// wait for something else cost nothing.
func (q *Queue) Wake(event string, concerned func(Why) bool, helped func(*Entry) bool, now time.Time) {
	for why, entries := range q.parked {
		if !concerned(why) {
			continue
		}
		for _, e := range entries {
			if helped(e) {
				q.leave(e)
				q.awaken(e, event, now)
			}
		}
	}
}

// Activate lets a parked Pod be looked at again.
func (q *Queue) Activate(uid types.UID, now time.Time) {
	if e := q.entries[uid]; e != nil && e.place == parked {
		q.leave(e)
		q.awaken(e, forceActivate, now)
	}
}

// flush lets Pods be looked at again that have been parked for very long.
func (q *Queue) flush(now time.Time) {
	if q.flushAt.IsZero() || q.flushAt.After(now) {
		return
	}
	q.flushAt = time.Time{}
	q.Wake(unschedulableTime, func(Why) bool { return true }, func(e *Entry) bool {
		if e.wakeAt.After(now) {
			q.flushBy(e.wakeAt)
		}
		return !e.wakeAt.After(now)
	}, now)
}

func (q *Queue) flushBy(at time.Time) {
	if q.flushAt.IsZero() || at.Before(q.flushAt) {
		q.flushAt = at
	}
}

// enter takes an entry in that is in no place.
func (q *Queue) enter(e *Entry, p place, event string) {
	uid := e.Pod.Object.UID
	q.entries[uid] = e
	if key := gang(e); key != "" {
		if q.gangs[key] == nil {
			q.gangs[key] = map[types.UID]*Entry{}
		}
		q.gangs[key][uid] = e
	}
	q.put(e, p, event)
}

// exit takes an entry out altogether.
func (q *Queue) exit(e *Entry) {
	q.leave(e)
	uid := e.Pod.Object.UID
	delete(q.entries, uid)
	if key := gang(e); key != "" {
		delete(q.gangs[key], uid)
		if len(q.gangs[key]) == 0 {
			delete(q.gangs, key)
		}
	}
}

func gang(e *Entry) string {
	if e.Pod.Gang == nil {
		return ""
	}
	return e.Pod.Gang.Key
}

// awaken puts an entry that is in no place where it may be looked at, as soon as its back-off is over.
func (q *Queue) awaken(e *Entry, event string, now time.Time) {
	if e.due.After(now) {
		q.put(e, backingOff, event)
	} else {
		q.put(e, active, event)
	}
}

func (q *Queue) put(e *Entry, p place, event string) {
	e.place = p
	if q.Entered != nil {
		q.Entered(p.String(), event)
	}
	switch p {
	case active:
		heap.Push(&q.active, e)
	case backingOff:
		heap.Push(&q.backoff, e)
	case parked:
		if q.parked[e.why()] == nil {
			q.parked[e.why()] = map[types.UID]*Entry{}
		}
		q.parked[e.why()][e.Pod.Object.UID] = e
		q.flushBy(e.wakeAt)
	}
}

func (q *Queue) leave(e *Entry) {
	switch e.place {
	case active:
		heap.Remove(&q.active, e.index)
	case backingOff:
		heap.Remove(&q.backoff, e.index)
	case parked:
		delete(q.parked[e.why()], e.Pod.Object.UID)
		if len(q.parked[e.why()]) == 0 {
			delete(q.parked, e.why())
		}
	}
}

func (b Backoff) after(attempts int) time.Duration {
	d := b.First
	for range attempts - 1 {
		if d *= 2; d >= b.Last {
			return b.Last
		}
	}
	return d
}

// sameScheduling compares what may change on an unbound Pod and matters here.
func sameScheduling(a, b *snapshot.Pod) bool {
	x, y := a.Object, b.Object
	return len(x.Spec.Tolerations) == len(y.Spec.Tolerations) && maps.Equal(x.Labels, y.Labels) &&
		maps.Equal(x.Spec.NodeSelector, y.Spec.NodeSelector) && a.Requests.MilliCPU == b.Requests.MilliCPU && a.Requests.Memory == b.Requests.Memory
}

// sameGang compares what the annotations say, which may change on any Pod.
func sameGang(a, b *snapshot.Pod) bool {
	return a.Gang == b.Gang || a.Gang != nil && b.Gang != nil && *a.Gang == *b.Gang
}

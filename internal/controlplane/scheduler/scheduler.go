package scheduler

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-scheduler"

// Scheduler is the scheduler's loop.
type Scheduler struct {
	client kubernetes.Interface
	events record.EventRecorder
	pods   corelisters.PodLister
	synced []cache.InformerSynced
	wake   chan struct{} // holds one token when the queue may have something new
	calls  *calls

	mu         sync.Mutex
	ctx        context.Context            // of Run, for calls that an event or a timer begins
	cores      map[string]*core.Scheduler // by schedulerName
	snap       *snapshot.Snapshot
	queue      *queue.Queue
	turns      core.Turns
	volumePods map[types.UID]*volumePod
	gated      map[types.UID]bool // Pods that somebody holds back
}

// New makes the scheduler and registers what it wants to hear from f.
//
// Pods whose schedulerName has no profile are left alone: somebody else binds them.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, config profile.Config) *Scheduler {
	podInf, nodeInf := f.Core().V1().Pods(), f.Core().V1().Nodes()
	s := &Scheduler{
		client: client,
		events: events,
		pods:   podInf.Lister(),
		wake:   make(chan struct{}, 1),
		calls:  newCalls(),
		cores:  map[string]*core.Scheduler{},
		snap:   snapshot.New(),
		queue:  queue.New(config.Backoff),

		volumePods: map[types.UID]*volumePod{},
		gated:      map[types.UID]bool{},
	}
	s.queue.Entered = entered
	for name, p := range config.Profiles {
		s.cores[name] = core.New(p)
	}
	s.synced = append(append(s.listenStorage(f), s.listenDevices(f)...),
		reconcile.Listen(f.Core().V1().Namespaces().Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.namespaceChanged(nil, obj.(*corev1.Namespace)) },
			UpdateFunc: func(old, obj any) { s.namespaceChanged(old.(*corev1.Namespace), obj.(*corev1.Namespace)) },
			DeleteFunc: func(obj any) { s.namespaceDeleted(obj) },
		}),
		reconcile.Listen(f.Policy().V1().PodDisruptionBudgets().Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.budgetChanged(obj.(*policyv1.PodDisruptionBudget)) },
			UpdateFunc: func(_, obj any) { s.budgetChanged(obj.(*policyv1.PodDisruptionBudget)) },
			DeleteFunc: func(obj any) { s.budgetDeleted(obj) },
		}),
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.nodeChanged(nil, obj.(*corev1.Node)) },
			UpdateFunc: func(old, obj any) { s.nodeChanged(old.(*corev1.Node), obj.(*corev1.Node)) },
			DeleteFunc: func(obj any) { s.nodeDeleted(obj) },
		}),
		reconcile.Listen(podInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.podChanged(nil, obj.(*corev1.Pod)) },
			UpdateFunc: func(old, obj any) { s.podChanged(old.(*corev1.Pod), obj.(*corev1.Pod)) },
			DeleteFunc: func(obj any) { s.podDeleted(obj) },
		}),
	)
	return s
}

// Run schedules until ctx ends, and returns when the API calls under way have returned.
func (s *Scheduler) Run(ctx context.Context) {
	s.mu.Lock()
	s.ctx = ctx
	s.mu.Unlock()
	if !cache.WaitForCacheSync(ctx.Done(), s.synced...) {
		return
	}
	defer s.measured()()
	defer s.calls.wait()
	defer s.stopWaiting()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		next, ok := s.one(ctx)
		if ok {
			continue
		}
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-timer.C:
		}
	}
}

// one takes the next Pod and decides about it. Without one, it returns the time of the next that will come without an event.
func (s *Scheduler) one(ctx context.Context) (next time.Time, ok bool) {
	s.mu.Lock()
	now := time.Now()
	e, next := s.queue.Pop(now)
	if e == nil {
		s.mu.Unlock()
		return next, false
	}
	var calls []call
	if e.Pod.Gang != nil {
		calls = s.gang(ctx, e, now)
	} else {
		calls = s.act(ctx, e, s.core(e).Decide(e.Pod, s.snap), now)
	}
	s.mu.Unlock()
	decisionTime.Observe(time.Since(now).Seconds())
	for _, c := range calls {
		s.calls.start(ctx, c)
	}
	return time.Time{}, true
}

func (s *Scheduler) core(e *queue.Entry) *core.Scheduler {
	return s.cores[e.Pod.Object.Spec.SchedulerName]
}

// act does what was decided about a Pod, as far as that is known here at once, and returns the API calls. s.mu is held.
func (s *Scheduler) act(ctx context.Context, e *queue.Entry, d core.Decision, now time.Time) []call {
	// Calls take the objects as they are now: what an entry or the snapshot holds may be replaced by a newer one while they are under way.
	pod := e.Pod.Object
	uid := pod.UID
	if d.Node != "" {
		plan, ok := plugins.Volumes(e.Pod, s.snap, s.snap.Node(d.Node))
		if !ok {
			// Another Pod of its gang has just taken the volume that both could have had; or the profile does not look at volumes.
			s.queue.Retry(e, now)
			return nil
		}
		grants, ok := plugins.Grants(e.Pod, s.snap, s.snap.Node(d.Node))
		if !ok {
			s.queue.Retry(e, now) // likewise, of devices
			return nil
		}
		s.assume(e.Pod, d.Node, now)
		s.keepDevices(grants)
		var w *volumePod // nil if there is nothing to wait for
		if !plan.Empty() {
			w = s.awaitVolumes(e, d.Node, plan)
		}
		return []call{{uid, func() {
			switch err := s.writeDevices(ctx, pod, grants); {
			case err != nil:
				s.devicesRefused(ctx, e, pod, d.Node, grants, w, err)
			case w != nil:
				s.writeVolumes(ctx, w)
			default:
				s.bind(ctx, e, pod, d.Node)
			}
		}}}
	}
	turnedAway(e, d)
	s.queue.Park(e, d.Filters, now)
	was := s.snap.NominatedNode(uid)
	var calls []call
	for _, l := range s.promise(e.Pod, d, now) {
		calls = append(calls, call{l.pod.UID, func() { s.reportPending(ctx, l) }})
	}
	report := pending{pod: pod, message: d.Message(), nominated: s.snap.NominatedNode(uid)}
	report.withdrawn = was != "" && report.nominated == ""
	var victims []*corev1.Pod
	if d.Preempts != nil {
		for _, v := range d.Preempts.Victims {
			victims = append(victims, v.Object)
		}
	}
	return append(calls, call{uid, func() {
		s.reportPending(ctx, report)
		for _, v := range victims {
			s.evict(ctx, v, pod, report.nominated)
		}
		s.freeDevices(ctx, pod, d.Frees)
	}})
}

// assume puts a Pod on the node that was chosen for it. s.mu is held.
func (s *Scheduler) assume(p *snapshot.Pod, node string, now time.Time) {
	promised := s.snap.Node(s.snap.NominatedNode(p.Object.UID))
	s.snap.Assume(p, node)
	s.helped(plugins.Event{Change: plugins.PodPlaced, Node: s.snap.Node(node), Pod: p}, now)
	if promised != nil && promised.Name() != node {
		s.helped(plugins.Event{Change: plugins.PodGone, Node: promised, Pod: p}, now)
	}
}

// promise takes in what was decided about the room for a Pod that has to wait: it is promised, or no longer. It returns the Pods of lower priority that
// lose what they were promised on that node. s.mu is held.
func (s *Scheduler) promise(p *snapshot.Pod, d core.Decision, now time.Time) (losers []pending) {
	switch {
	case d.Awaits:
	case d.Promised != "":
		s.snap.Nominate(p, d.Promised)
	case d.Preempts == nil:
		s.withdraw(p, now)
	default:
		n := s.snap.Node(d.Preempts.Node)
		for _, loser := range slices.Clone(n.Nominated()) {
			if loser.Priority < p.Priority {
				s.snap.Withdraw(loser.Object.UID)
				s.queue.Activate(loser.Object.UID, now)
				losers = append(losers, pending{pod: loser.Object, withdrawn: true})
			}
		}
		s.withdraw(p, now)
		s.snap.Nominate(p, d.Preempts.Node)
		for _, v := range d.Preempts.Victims {
			s.snap.Evict(v.Object.UID)
		}
		slog.Debug("room is being made", "pod", p.Object.Namespace+"/"+p.Object.Name, "node", d.Preempts.Node, "victims", len(d.Preempts.Victims))
	}
	return losers
}

// withdraw takes back what a Pod was promised, which others may use now. s.mu is held.
func (s *Scheduler) withdraw(p *snapshot.Pod, now time.Time) {
	n := s.snap.Node(s.snap.NominatedNode(p.Object.UID))
	s.snap.Withdraw(p.Object.UID)
	if n != nil {
		s.helped(plugins.Event{Change: plugins.PodGone, Node: n, Pod: p}, now)
	}
}

// signal says that the queue may have something new.
func (s *Scheduler) signal() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// helped wakes the parked Pods that an event may help. s.mu is held.
func (s *Scheduler) helped(e plugins.Event, now time.Time) {
	s.queue.Wake(e.Change.String(),
		func(w queue.Why) bool { return s.cores[w.Scheduler].Concerned(w.Filters, e.Change) },
		func(w *queue.Entry) bool { return s.core(w).Helped(w.Pod, w.Filters, e) }, now)
}

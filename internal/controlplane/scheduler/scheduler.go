package scheduler

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-scheduler"

// Name is what Pods call this scheduler in spec.schedulerName.
const Name = corev1.DefaultSchedulerName

// maxCalls bounds the API calls under way at once.
const maxCalls = 64

// Scheduler is the scheduler's loop.
type Scheduler struct {
	client kubernetes.Interface
	events record.EventRecorder
	pods   corelisters.PodLister
	synced []cache.InformerSynced
	wake   chan struct{} // holds one token when the queue may have something new
	calls  chan struct{} // holds a token for each API call under way
	busy   sync.WaitGroup

	mu    sync.Mutex
	core  *core.Scheduler
	snap  *snapshot.Snapshot
	queue *queue.Queue
}

// New makes the scheduler and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Scheduler {
	podInf, nodeInf := f.Core().V1().Pods(), f.Core().V1().Nodes()
	s := &Scheduler{
		client: client,
		events: events,
		pods:   podInf.Lister(),
		wake:   make(chan struct{}, 1),
		calls:  make(chan struct{}, maxCalls),
		core:   core.New(),
		snap:   snapshot.New(),
		queue:  queue.New(),
	}
	s.synced = []cache.InformerSynced{
		reconcile.Listen(f.Core().V1().Namespaces().Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.namespaceChanged(nil, obj.(*corev1.Namespace)) },
			UpdateFunc: func(old, obj any) { s.namespaceChanged(old.(*corev1.Namespace), obj.(*corev1.Namespace)) },
			DeleteFunc: func(obj any) { s.namespaceDeleted(obj) },
		}),
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.nodeChanged(nil, obj.(*corev1.Node)) },
			UpdateFunc: func(old, obj any) { s.nodeChanged(old.(*corev1.Node), obj.(*corev1.Node)) },
			DeleteFunc: func(obj any) { s.nodeDeleted(obj) },
		}),
		reconcile.Listen(podInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.podChanged(obj.(*corev1.Pod)) },
			UpdateFunc: func(_, obj any) { s.podChanged(obj.(*corev1.Pod)) },
			DeleteFunc: func(obj any) { s.podDeleted(obj) },
		}),
	}
	return s
}

// Run schedules until ctx ends, and returns when the API calls under way have returned.
func (s *Scheduler) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), s.synced...) {
		return
	}
	defer s.busy.Wait()
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
	r := s.core.Schedule(e.Pod, s.snap)
	if r.Node != "" {
		s.snap.Assume(e.Pod, r.Node)
		s.helped(plugins.Event{Change: plugins.PodPlaced, Node: s.snap.Node(r.Node), Pod: e.Pod}, now)
	} else {
		s.queue.Park(e, r.Filters, now)
	}
	pod := e.Pod.Object
	s.mu.Unlock()

	if r.Node != "" {
		slog.Debug("node chosen", "pod", pod.Namespace+"/"+pod.Name, "node", r.Node, "feasible", r.Feasible, "looked", r.Looked)
		s.call(ctx, func() { s.bind(ctx, e, r.Node) })
	} else {
		message := r.Message()
		s.call(ctx, func() { s.reportPending(ctx, pod, message) })
	}
	return time.Time{}, true
}

// call runs f beside the loop, and waits while too many calls are under way.
func (s *Scheduler) call(ctx context.Context, f func()) {
	select {
	case s.calls <- struct{}{}:
	case <-ctx.Done():
		return
	}
	s.busy.Go(func() {
		defer func() { <-s.calls }()
		f()
	})
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
	s.queue.Wake(func(w *queue.Entry) bool { return s.core.Helped(w.Pod, w.Filters, e) }, now)
}

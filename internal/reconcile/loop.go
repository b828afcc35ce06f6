package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
)

// Key names one object; Namespace is empty for cluster-scoped ones.
type Key = types.NamespacedName

// Func brings the object named by key closer to what is desired.
//
// It is level-based: it is told which object, never what happened to it, and must read everything else itself. It may be
// called again at any time, also when nothing changed and also right after a crash half-way through an earlier call.
// An error means "call me again after a back-off"; Conflict errors are retried soon and not logged as failures.
type Func func(ctx context.Context, key Key) (Result, error)

// Result tells the loop when, without any event, the key is to be looked at again.
type Result struct {
	// After is the time until the next call; zero means not before the next event.
	After time.Duration
}

// Back-off between failing calls for one key.
const (
	minBackoff = 5 * time.Millisecond
	maxBackoff = 30 * time.Second
)

// Loop hands keys to a Func.
type Loop struct {
	name  string
	f     Func
	queue workqueue.TypedRateLimitingInterface[Key]
	lanes *lanes
	log   *slog.Logger

	// workers are the goroutines that call the Func, and hire starts one more. turns lets as many of them do so at a time as Run was asked for; spare is how many are too many.
	workers sync.WaitGroup
	hire    func()
	turns   chan struct{}
	spare   atomic.Int64
}

// New makes a Loop; name appears in logs and metrics and is a controller's own name, such as "deployment".
func New(name string, f Func) *Loop {
	order := newLanes()
	delaying := workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[Key]{
		Name: name, Queue: workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[Key]{Name: name, Queue: order}),
	})
	return &Loop{
		name:  name,
		f:     f,
		log:   slog.With("controller", name),
		lanes: order,
		queue: workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[Key](minBackoff, maxBackoff),
			workqueue.TypedRateLimitingQueueConfig[Key]{Name: name, DelayingQueue: delaying}),
	}
}

// Enqueue asks for a call for key; any number of requests before that call are one call.
func (l *Loop) Enqueue(key Key) { l.queue.Add(key) }

// EnqueueFirst asks for a call after d for a key for which somebody waits: it comes before those that were asked for without hurry.
func (l *Loop) EnqueueFirst(key Key, d time.Duration) {
	l.lanes.expedite(key)
	l.queue.AddAfter(key, d)
}

// EnqueueAfter asks for a call after d.
func (l *Loop) EnqueueAfter(key Key, d time.Duration) { l.queue.AddAfter(key, d) }

// EnqueueObject asks for a call for an object as informers hand it out: the object, or the tombstone of a deleted one.
func (l *Loop) EnqueueObject(obj any) {
	k, err := cache.DeletionHandlingObjectToName(obj)
	if err != nil {
		l.log.Error("object without a name from an informer", "type", fmt.Sprintf("%T", obj), "err", err)
		return
	}
	l.Enqueue(Key{Namespace: k.Namespace, Name: k.Name})
}

// Handler enqueues the object itself on every event.
func (l *Loop) Handler() cache.ResourceEventHandler {
	return l.HandlerFor(func(obj any) []Key {
		k, err := cache.DeletionHandlingObjectToName(obj)
		if err != nil {
			return nil
		}
		return []Key{{Namespace: k.Namespace, Name: k.Name}}
	})
}

// HandlerFor enqueues, on every event, the keys that the object concerns. On an update both the old and the new object are
// asked, so that an object which changed hands is seen by both sides. A deleted object is unwrapped from its tombstone.
func (l *Loop) HandlerFor(keys func(obj any) []Key) cache.ResourceEventHandler {
	add := func(obj any) {
		if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = t.Obj
		}
		for _, k := range keys(obj) {
			l.Enqueue(k)
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    add,
		UpdateFunc: func(old, obj any) { add(old); add(obj) },
		DeleteFunc: add,
	}
}

// Run calls the Func from workers goroutines until ctx ends, and returns when the last call has returned.
func (l *Loop) Run(ctx context.Context, workers int) {
	l.turns = make(chan struct{}, workers)
	l.hire = func() { l.workers.Go(func() { l.work(ctx) }) }
	for range workers {
		l.hire()
	}
	<-ctx.Done()
	l.queue.ShutDown()
	l.workers.Wait()
}

func (l *Loop) work(ctx context.Context) {
	for l.next(ctx) {
		if n := l.spare.Load(); n > 0 && l.spare.CompareAndSwap(n, n-1) {
			return
		}
	}
}

func (l *Loop) next(ctx context.Context) bool {
	key, shutdown := l.queue.Get()
	if shutdown {
		return false
	}
	defer l.queue.Done(key)
	l.turns <- struct{}{}
	defer func() { <-l.turns }()
	if ctx.Err() != nil {
		return false
	}
	res, err := l.call(ctx, key)
	switch {
	case err == nil:
		l.queue.Forget(key)
		if res.After > 0 {
			l.queue.AddAfter(key, res.After)
		}
	case ctx.Err() != nil:
		return false
	case apierrors.IsConflict(err):
		l.log.Debug("conflict, retrying", "object", key.String(), "err", err)
		l.queue.AddRateLimited(key)
	default:
		l.log.Error("reconcile failed, retrying", "object", key.String(), "retries", l.queue.NumRequeues(key), "err", err)
		l.queue.AddRateLimited(key)
	}
	return true
}

// call turns a panic of the Func into an error, so that one bad object cannot stop the others.
func (l *Loop) call(ctx context.Context, key Key) (res Result, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return l.f(context.WithValue(ctx, caller{}, l), key)
}

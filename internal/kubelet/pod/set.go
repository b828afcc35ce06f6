package pod

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
)

// Set is the workers of all Pods of a node.
type Set struct {
	node *Node

	mu      sync.Mutex
	ctx     context.Context
	workers map[types.UID]*worker
	ports   holders
	room    *room
	// Refuse says why a Pod that is new to the node is turned away for what the node is short of, or nothing; nil: never.
	Refuse func(*v1.Pod) *lifecycle.Stop
	closed *lifecycle.Stop               // why no new Pods are taken; nil while they are
	found  map[types.UID][]runtime.State // at start, for workers not yet there
	wg     sync.WaitGroup
	up     bool
	ending map[types.UID]bool // static Pods that were told to end
	// turnedAway are static Pods for which there was no room, or whose ports were taken. Nobody makes another.
	turnedAway map[types.UID]bool
	gone       func()
}

// NewSet makes a Set.
func NewSet(n *Node) *Set {
	return &Set{node: n, workers: map[types.UID]*worker{}, ports: holders{}, room: newRoom(n.Allocatable), ending: map[types.UID]bool{}, turnedAway: map[types.UID]bool{}, gone: func() {}}
}

// OnGone has f called whenever nothing is left of a static Pod.
func (s *Set) OnGone(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = f
}

// Start takes up the Pods that the checkpoints tell of. containerd must answer by now; found are all its containers.
func (s *Set) Start(ctx context.Context, found []runtime.State) error {
	s.mu.Lock()
	s.ctx, s.up = ctx, true
	s.found = map[types.UID][]runtime.State{}
	for _, f := range found {
		s.found[types.UID(f.PodUID)] = append(s.found[types.UID(f.PodUID)], f)
	}
	s.mu.Unlock()
	pods, err := LoadPods(s.node.Dir)
	if err != nil {
		slog.Error("some Pods' checkpoints cannot be read", "err", err)
	}
	for _, p := range pods {
		s.Put(p)
	}
	s.each((*worker).reconsider) // when it is known what all of them have
	return nil
}

// Wait waits until all workers have ended, after their context has.
func (s *Set) Wait() { s.wg.Wait() }

// Put takes in a Pod as the API has it.
func (s *Set) Put(pod *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workers[pod.UID]; w != nil {
		if over(pod) {
			s.release(pod.UID)
			s.unpin(pod.UID)
			s.node.Devices.Release(pod.UID)
		}
		w.tell(func() { w.update(s.ctx, pod) })
		return
	}
	if s.ctx == nil || s.ctx.Err() != nil {
		return
	}
	uid := pod.UID
	w := newWorker(s.node, pod, func() { s.drop(uid) })
	w.room = share{s}
	if len(s.found[uid]) == 0 && pod.DeletionTimestamp == nil && (pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed) {
		if _, err := os.Stat(w.dir); err != nil {
			w.tornDown = true // it ended long ago; there is nothing to take up
		}
	}
	s.workers[uid] = w
	stop := s.admit(w, pod)
	if w.static && stop != nil && (strings.HasPrefix(stop.Reason, outOf) || stop.Reason == portsTaken) {
		s.turnedAway[uid] = true
	}
	found := s.found[uid]
	delete(s.found, uid)
	s.wg.Go(func() {
		if err := os.MkdirAll(w.dir, 0o711); err != nil {
			w.log.Error("making the Pod's directory failed", "err", err)
		}
		if stop != nil {
			// Before the checkpoint, by which an admitted Pod is known.
			if err := (past{Stop: stop}).save(w.dir); err != nil {
				w.log.Error("writing that the Pod is turned away failed", "err", err)
			}
			w.event("", v1.EventTypeWarning, stop.Reason, "%s", stop.Message)
		}
		// The checkpoint is not waited for: if it is lost with this process, nothing has been made that the API does not know of.
		w.save()
		w.run(s.ctx, found)
	})
}

// admit says why a Pod is turned away that is new to the node, or nothing.
func (s *Set) admit(w *worker, pod *v1.Pod) *lifecycle.Stop {
	if over(pod) {
		return nil
	}
	_, err := os.Stat(w.dir)
	if err == nil || len(s.found[pod.UID]) > 0 || pod.DeletionTimestamp != nil {
		s.ports.hold(pod, hostPorts(pod))
		s.room.hold(w.heldBefore(pod))
		return nil
	}
	if s.closed != nil {
		return s.closed
	}
	if s.Refuse != nil {
		if stop := s.Refuse(pod); stop != nil {
			return stop
		}
	}
	if stop := s.node.Rules.Refuse(pod); stop != nil {
		return stop
	}
	if stop := s.room.admit(pod); stop != nil {
		return stop
	}
	stop := s.ports.admit(pod)
	if stop == nil {
		if err := s.node.Devices.Admit(pod); err != nil {
			stop = unexpected(err)
		}
	}
	if stop == nil {
		stop = s.pinNew(pod)
	}
	if stop != nil {
		s.release(pod.UID)
		s.node.Devices.Release(pod.UID)
	}
	return stop
}

// Remove takes in that the API no longer has a Pod.
func (s *Set) Remove(pod *v1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.vanished(pod.UID, pod)
}

// vanished takes in that there is no Pod of that UID any more; last is the Pod as it was, if that is known. What it held of the node is free at once if nothing of it is left: another may be here
// already that was sent because it is gone. If it still ends, as one that was deleted by force does, it is free when it has. s.mu is held.
func (s *Set) vanished(uid types.UID, last *v1.Pod) {
	w := s.workers[uid]
	if w == nil || w.down.Load() {
		s.release(uid)
	}
	if w != nil && w.down.Load() {
		s.wake(w)
	}
	if w != nil {
		w.tell(func() { w.vanish(last) })
	}
}

// Keep takes in which Pods there are at all: any other was deleted while nobody watched. Static Pods are none of the API's.
func (s *Set) Keep(uids map[types.UID]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uid, w := range s.workers {
		if !uids[uid] && !w.static {
			s.vanished(uid, nil)
		}
	}
}

func (s *Set) drop(uid types.UID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.workers[uid]; w != nil && w.static {
		defer s.gone()
	}
	if w := s.workers[uid]; w != nil {
		delete(s.workers, uid)
		s.wake(w)
	}
	s.release(uid)
	s.unpin(uid)
	s.node.Devices.Release(uid)
	delete(s.ending, uid)
	delete(s.turnedAway, uid)
}

// Exit hands the end of a container to the worker concerned.
func (s *Set) Exit(x runtime.Exit) {
	s.each(func(w *worker) { w.exit(s.ctx, x) })
}

// ImagesArrived tells that images were loaded: containers that wait to try again for one do so now.
func (s *Set) ImagesArrived() {
	s.each(func(w *worker) {
		for _, c := range w.containers {
			if !c.ImageReady && c.Busy == lifecycle.None {
				c.Failure = nil
			}
		}
	})
}

// RuntimeDown tells that containerd does not answer.
func (s *Set) RuntimeDown() {
	s.mu.Lock()
	s.up = false
	s.mu.Unlock()
	s.each(func(w *worker) { w.runtimeUp = false })
}

// RuntimeUp tells that containerd answers again, and what it has.
func (s *Set) RuntimeUp(found []runtime.State) {
	s.mu.Lock()
	s.up = true
	s.mu.Unlock()
	byPod := map[types.UID][]runtime.State{}
	for _, f := range found {
		byPod[types.UID(f.PodUID)] = append(byPod[types.UID(f.PodUID)], f)
	}
	s.each(func(w *worker) {
		w.runtimeUp = true
		w.resync(s.ctx, byPod[w.pod.UID])
	})
}

// SourcesChanged tells that what the volumes of some Pods are made from changed: those volumes are brought up to date, and a Pod that waits to try again for want of it does so now.
func (s *Set) SourcesChanged(concerned func(*v1.Pod) bool) {
	s.each(func(w *worker) {
		if concerned(w.pod) {
			w.sourcesChanged()
		}
	})
}

func (s *Set) each(f func(*worker)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.workers {
		w.tell(func() { f(w) })
	}
}

// Get gives a Pod of this node, with its status as last reported, by namespace and name; nil if there is none.
func (s *Set) Get(namespace, name string) *v1.Pod {
	for _, p := range s.List() {
		if p.Namespace == namespace && p.Name == name {
			return p
		}
	}
	return nil
}

// ByUID gives a Pod of this node, with its status as last reported; nil if there is none.
func (s *Set) ByUID(uid types.UID) *v1.Pod {
	s.mu.Lock()
	w := s.workers[uid]
	s.mu.Unlock()
	if w == nil {
		return nil
	}
	return w.view()
}

// Has says whether this node runs the Pod, or is still about to end it.
func (s *Set) Has(uid types.UID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.workers[uid] != nil
}

// List gives the node's Pods, with their statuses as last reported.
func (s *Set) List() []*v1.Pod {
	s.mu.Lock()
	workers := make([]*worker, 0, len(s.workers))
	for _, w := range s.workers {
		workers = append(workers, w)
	}
	s.mu.Unlock()
	out := make([]*v1.Pod, 0, len(workers))
	for _, w := range workers {
		if p := w.view(); p != nil {
			out = append(out, p)
		}
	}
	return out
}

// Ended gives a channel that is closed when an attempt of a container has ended and its log is complete; at once if it has already.
func (s *Set) Ended(ctx context.Context, uid types.UID, container string, attempt int) <-chan struct{} {
	ch := make(chan struct{})
	s.mu.Lock()
	w := s.workers[uid]
	s.mu.Unlock()
	if w == nil {
		close(ch)
		return ch
	}
	w.tell(func() {
		if c := w.containers[container]; c == nil || c.Attempt > attempt || c.Phase == lifecycle.Exited {
			close(ch)
			return
		}
		w.waiting[ch] = waiter{container, attempt}
		context.AfterFunc(ctx, func() { w.tell(func() { delete(w.waiting, ch) }) })
	})
	return ch
}

// waiter waits for the end of an attempt.
type waiter struct {
	container string
	attempt   int
}

// viewTimeout bounds the wait for a worker that is busy taking up its Pod.
const viewTimeout = 5 * time.Second

func (w *worker) view() *v1.Pod {
	ch := make(chan *v1.Pod, 1)
	w.tell(func() { ch <- w.pod })
	select {
	case p := <-ch:
		return p
	case <-time.After(viewTimeout):
		return nil
	}
}

// RemoveStrays removes what is left of Pods that nobody knows of: containers, directories, control groups and addresses. It is called once the API has
// told which Pods there are.
func (s *Set) RemoveStrays(ctx context.Context, attached []string) error {
	// Candidates first, then who is known: a Pod that comes meanwhile is in neither or in both.
	candidates := append(s.node.Cgroups.Pods(), attached...)
	dirs, err := filepath.Glob(filepath.Join(s.node.Dir, "*"))
	if err != nil {
		return err
	}
	for _, d := range dirs {
		candidates = append(candidates, filepath.Base(d))
	}
	s.mu.Lock()
	strays := map[string][]runtime.State{}
	for _, uid := range candidates {
		if s.workers[types.UID(uid)] == nil {
			strays[uid] = nil
		}
	}
	for uid, f := range s.found {
		strays[string(uid)] = f
	}
	s.found = nil
	for _, uid := range s.node.CPUs.Pods() {
		if s.workers[uid] == nil {
			s.unpin(uid)
		}
	}
	for _, uid := range s.node.Devices.HeldBy() {
		if s.workers[uid] == nil {
			s.node.Devices.Release(uid)
		}
	}
	s.mu.Unlock()

	for uid, containers := range strays {
		slog.Info("removing what is left of a Pod that is gone", "uid", uid, "containers", len(containers))
		for _, c := range containers {
			if err := s.node.Runtime.Delete(ctx, c.ID); err != nil {
				return fmt.Errorf("removing what is left of Pod %s: %w", uid, err)
			}
			if err := s.node.Logs.Close(ctx, c.ID); err != nil {
				return fmt.Errorf("removing what is left of Pod %s: %w", uid, err)
			}
		}
		dir := filepath.Join(s.node.Dir, uid)
		if err := s.node.Plan.Teardown(ctx, &step.Sandbox{Pod: &v1.Pod{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}, Dir: dir}); err != nil {
			return fmt.Errorf("removing what is left of Pod %s: %w", uid, err)
		}
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing what is left of Pod %s: %w", uid, err)
		}
	}
	return s.node.Runtime.RemoveStraySnapshots(ctx)
}

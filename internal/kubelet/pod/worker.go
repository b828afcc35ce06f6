package pod

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
	"github.com/gitopsd/gitopsd/internal/logging"
)

// worker is one Pod's. All fields below mu are touched by its own goroutine only; others hand it functions to run (tell).
type worker struct {
	node *Node
	dir  string
	name string // namespace/name
	log  *slog.Logger
	done func() // called when nothing is left of the Pod

	mu    sync.Mutex
	inbox []func()
	wake  chan struct{}

	pod    *v1.Pod // desired, with the status last reported
	gone   bool    // the API has no such Pod any more
	ended  bool
	record past

	down   atomic.Bool // nothing is left of the Pod but its record; read by others
	static bool        // its manifest is on this node
	first  *v1.Pod     // a static Pod as it was taken up; never written
	mirror types.UID   // of what the API shows of a static Pod; empty while it shows nothing

	containers map[string]*container
	sandbox    *step.Sandbox // what the last setup gave; steps work on their own
	prepared   bool
	networked  bool
	setupBusy  bool
	downBusy   bool
	finishing  bool
	tornDown   bool
	failure    *lifecycle.Failure
	runtimeUp  bool
	cancelUp   context.CancelFunc // of the setup under way
	refreshing bool
	stale      bool         // volumes are to be refreshed
	outdated   logging.News // of that
	retry      bool         // what a setup under way may fail for has changed since it began
	saver      saver
	waiting    map[chan struct{}]waiter
	// imageVolumes are the IDs of the images of those that have one, by the volumes' names; what was reported before is not repeated here.
	imageVolumes map[string]string
	stopped      []chan struct{} // closed when the Pod has ended (Set.Stop)
	room         share
	waited       bool         // for another Pod of its name
	trace        *trace.Start // nil for a Pod that was taken over
	resize       resizing
	removals     removals
}

// container is what a worker knows of one container beyond what decides.
type container struct {
	lifecycle.Container
	spec      *v1.Container
	exit      *runtime.Exit      // came while something else was being done for the container
	stopProbe context.CancelFunc // ends its probes and hooks
	cpus      string             // that it may run on; empty for any, or when that is not known
	moving    bool               // it is being moved to these
	replaced  bool               // it was stopped for a new attempt to take its place
}

func newWorker(n *Node, pod *v1.Pod, done func()) *worker {
	w := &worker{
		node: n, dir: filepath.Join(n.Dir, string(pod.UID)), done: done,
		name: pod.Namespace + "/" + pod.Name, log: slog.With("pod", pod.Namespace+"/"+pod.Name),
		wake: make(chan struct{}, 1), pod: pod.DeepCopy(), containers: map[string]*container{}, waiting: map[chan struct{}]waiter{}, imageVolumes: map[string]string{},
	}
	if w.static = isStatic(pod); w.static {
		w.first = pod
	}
	return w
}

// tell has f run by the worker's own goroutine.
func (w *worker) tell(f func()) {
	w.mu.Lock()
	w.inbox = append(w.inbox, f)
	w.mu.Unlock()
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) drain() {
	for {
		w.mu.Lock()
		fs := w.inbox
		w.inbox = nil
		w.mu.Unlock()
		if len(fs) == 0 {
			return
		}
		for _, f := range fs {
			f()
		}
	}
}

// refreshEvery is how often volumes are brought up to date with the ConfigMaps, Secrets and tokens they are made from.
const refreshEvery = time.Minute

// run works until ctx ends or nothing is left of the Pod. found are the Pod's containers at start.
func (w *worker) run(ctx context.Context, found []runtime.State) {
	if w.pod.Status.StartTime == nil {
		w.trace = w.node.Starts.Begin(w.pod.Namespace, w.pod.Name)
		ctx = trace.With(ctx, w.trace)
	}
	w.recover(ctx, found)
	timer := time.NewTimer(0)
	defer timer.Stop()
	refresh := time.NewTicker(refreshEvery)
	defer refresh.Stop()
	for {
		w.drain()
		if w.ended {
			break
		}
		d := lifecycle.Decide(w.input())
		w.report(ctx, d.Status)
		for _, a := range d.Actions {
			w.act(ctx, a)
		}
		if w.setupBusy && (w.pod.DeletionTimestamp != nil || w.record.Stop != nil) {
			w.cancelUp() // it may be waiting for something that will never come
		}
		w.refresh(ctx)
		w.tellStopped()
		timer.Stop()
		if !d.Again.IsZero() {
			timer.Reset(max(time.Until(d.Again), time.Millisecond))
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C:
		case <-refresh.C:
			w.stale = true
		}
	}
	w.done()
	w.drain() // nobody tells it anything from now on
	w.tellStopped()
}

func (w *worker) input() lifecycle.Input {
	in := lifecycle.Input{
		Pod: w.pod, Now: time.Now(), RuntimeUp: w.runtimeUp,
		Prepared: w.prepared, Networked: w.networked, SetupBusy: w.setupBusy, TeardownBusy: w.downBusy || w.finishing, TornDown: w.tornDown,
		Waits: w.waits(), SetupFailure: w.failure, Stop: w.record.Stop, Resize: w.resizeInput(), HostIPs: w.node.Facts().HostIPs,
		ImageVolumes: w.imageVolumes, RecursiveReadOnly: w.node.Host.RecursiveReadOnly && (w.sandbox == nil || runtime.IsUsual(w.sandbox.Runtime)),
		Containers: make(map[string]*lifecycle.Container, len(w.containers)),
	}
	if w.networked && w.sandbox != nil {
		in.PodIPs = w.sandbox.IPs
	}
	for name, c := range w.containers {
		c.Health = w.health(c.spec)
		in.Containers[name] = &c.Container
	}
	return in
}

// update takes in a newer version of the Pod.
func (w *worker) update(ctx context.Context, pod *v1.Pod) {
	w.node.Status.Observed(ctx, ref(pod), pod.ResourceVersion, &pod.Status)
	if sameDesired(w.pod, pod) && equalConditions(w.pod, pod) {
		return
	}
	next := pod.DeepCopy()
	// What this worker reported may not have reached the API yet; only what others own is taken over.
	for _, c := range w.pod.Status.Conditions {
		if lifecycle.OwnsCondition(c) {
			next.Status.Conditions = setCondition(next.Status.Conditions, c)
		}
	}
	others := next.Status.Conditions
	next.Status = w.pod.Status
	next.Status.Conditions = others
	if w.pod.DeletionTimestamp != nil && next.DeletionTimestamp == nil {
		next.DeletionTimestamp, next.DeletionGracePeriodSeconds = w.pod.DeletionTimestamp, w.pod.DeletionGracePeriodSeconds
	}
	before := &w.pod.Spec
	w.pod = next
	w.resized(before)
	w.stale = true // labels and annotations are files in downward volumes
	for _, name := range w.names() {
		if c := w.containers[name]; c != nil {
			c.spec = w.find(name)
		}
	}
	w.save()
}

// sourcesChanged takes in that what volumes are made from is not what it was.
func (w *worker) sourcesChanged() {
	w.stale, w.retry = true, w.setupBusy
	if w.failure != nil && w.failure.Reason == mountFailed {
		w.failure = nil
	}
}

// save writes the checkpoint in the background.
func (w *worker) save() { w.saver.save(w.dir, w.pod, w.log) }

// vanish takes in that the API no longer has the Pod. last is the Pod as it was, if that is known.
func (w *worker) vanish(last *v1.Pod) {
	w.gone = true
	if w.pod.DeletionTimestamp == nil {
		w.pod = w.pod.DeepCopy()
		now := metav1.Now()
		w.pod.DeletionTimestamp = &now
		if last != nil {
			w.pod.DeletionGracePeriodSeconds = last.DeletionGracePeriodSeconds
		}
	} else if last != nil && last.DeletionGracePeriodSeconds != nil {
		w.pod = w.pod.DeepCopy()
		w.pod.DeletionGracePeriodSeconds = last.DeletionGracePeriodSeconds
	}
}

func equalConditions(a, b *v1.Pod) bool {
	for _, c := range b.Status.Conditions {
		if lifecycle.OwnsCondition(c) {
			continue
		}
		found := false
		for _, have := range a.Status.Conditions {
			found = found || have.Type == c.Type && have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message
		}
		if !found {
			return false
		}
	}
	return true
}

func setCondition(list []v1.PodCondition, c v1.PodCondition) []v1.PodCondition {
	for i := range list {
		if list[i].Type == c.Type {
			list[i] = c
			return list
		}
	}
	return append(list, c)
}

// names lists the Pod's containers.
func (w *worker) names() []string {
	var out []string
	for _, list := range [][]v1.Container{w.pod.Spec.InitContainers, w.pod.Spec.Containers} {
		for i := range list {
			out = append(out, list[i].Name)
		}
	}
	for i := range w.pod.Spec.EphemeralContainers {
		out = append(out, w.pod.Spec.EphemeralContainers[i].Name)
	}
	return out
}

func (w *worker) find(name string) *v1.Container {
	return findIn(w.pod, name)
}

func findIn(pod *v1.Pod, name string) *v1.Container {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if e := &pod.Spec.EphemeralContainers[i]; e.Name == name {
			return lifecycle.Ephemeral(e)
		}
	}
	return nil
}

// guest gives an ephemeral container; nil if the container is none.
func (w *worker) guest(name string) *v1.EphemeralContainer {
	for i := range w.pod.Spec.EphemeralContainers {
		if w.pod.Spec.EphemeralContainers[i].Name == name {
			return &w.pod.Spec.EphemeralContainers[i]
		}
	}
	return nil
}

// container gives what is known of a container, making it known if need be.
func (w *worker) container(name string) *container {
	c := w.containers[name]
	if c == nil {
		c = &container{spec: w.find(name)}
		w.containers[name] = c
	}
	return c
}

// refresh brings volumes up to date in the background.
func (w *worker) refresh(ctx context.Context) {
	if !w.stale || w.refreshing || w.setupBusy || w.downBusy || !w.prepared || w.sandbox == nil {
		return
	}
	w.stale, w.refreshing = false, true
	sandbox := *w.sandbox
	sandbox.Pod = w.allocatedPod()
	go func() {
		err := w.node.Plan.Refresh(ctx, step.VolumesName, &sandbox)
		w.tell(func() {
			w.refreshing = false
			if w.outdated.New(err) && ctx.Err() == nil {
				w.log.Warn("bringing the Pod's volumes up to date failed; they keep their content and it is tried again until it succeeds", "err", err)
			}
		})
	}()
}

package pod

import (
	"context"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/probe"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
)

// recover finds out where the Pod stands: from its directory, from containerd, and from the status that was reported last.
func (w *worker) recover(ctx context.Context, found []runtime.State) {
	w.runtimeUp = true
	r, err := loadPast(w.dir)
	if err != nil {
		w.log.Error("what is known of the Pod's past is lost; it goes on from what runs", "err", err)
	}
	w.record, w.tornDown = r, w.tornDown || r.TornDown
	w.down.Store(w.tornDown)
	if !w.static {
		w.node.Status.Known(ref(w.pod), w.pod.Status.DeepCopy())
	}

	id, _ := os.ReadFile(filepath.Join(w.dir, sandboxFile))
	held := len(id) > 0 && step.Held(w.pod, w.dir)
	for name, ends := range r.Ends {
		if c := w.container(name); c.spec != nil && len(ends) > 0 {
			c.Phase, c.End, c.ID, c.Attempt, c.ImageID = lifecycle.Exited, ends[0], ends[0].ID, ends[0].Attempt, ends[0].ImageID
			if len(ends) > 1 {
				c.Last = ends[1]
			}
		}
	}
	for _, s := range found {
		w.adopt(ctx, s, held && s.Sandbox == string(id))
	}
	if !held && !w.tornDown && len(w.containers) > 0 {
		w.rerunInit("")
	}
	if held && !w.tornDown && w.anyLive() {
		// Before anything is decided or reported: setting up what is there already changes nothing, and a Pod that runs must not be reported as not set up.
		w.sandbox = &step.Sandbox{Pod: w.allocatedPod(), Dir: w.dir}
		if err := w.node.Plan.Setup(ctx, w.sandbox, func() {}); err != nil {
			w.log.Warn("the Pod runs, but not all that surrounds it could be checked; it is tried again", "err", err)
			w.failure = &lifecycle.Failure{Reason: "FailedCreatePodSandBox", Message: err.Error(), At: time.Now(), Count: 1}
		} else {
			w.prepared, w.networked = true, true
		}
	}
	for _, c := range w.containers {
		if c.Phase == lifecycle.Running && c.Busy == lifecycle.None { // not one whose end is being recorded
			w.watch(ctx, c, true)
		}
	}
	w.pin(ctx)
}

func (w *worker) anyLive() bool {
	for _, c := range w.containers {
		if c.Phase == lifecycle.Running || c.Phase == lifecycle.Created {
			return true
		}
	}
	return false
}

// adopt takes over a container that containerd has. alive says that the namespaces it was made for still are.
func (w *worker) adopt(ctx context.Context, s runtime.State, alive bool) {
	c := w.container(s.Name)
	if c.spec == nil || c.Phase == lifecycle.Exited && c.Attempt >= s.Attempt {
		// Its end is recorded; only the removal was interrupted.
		w.remove(ctx, s.ID)
		return
	}
	if c.Phase == lifecycle.Exited {
		c.Last = c.End
	}
	c.End, c.ID, c.Attempt, c.SpecHash, c.ImageID = nil, s.ID, s.Attempt, s.SpecHash, s.ImageID
	w.ranWith(c)
	switch {
	case s.Running && alive:
		c.Phase, c.StartedAt = lifecycle.Running, s.CreatedAt
		c.StartupOK, c.Ready = c.spec.StartupProbe == nil, c.spec.ReadinessProbe == nil
		if c.spec.Lifecycle == nil || c.spec.Lifecycle.PostStart == nil {
			c.PostStart = lifecycle.HookDone
		}
		if before := reported(w.pod, s.Name); before != nil && before.ContainerID == "containerd://"+s.ID && before.State.Running != nil {
			c.StartedAt = before.State.Running.StartedAt.Time
			if before.Started != nil && *before.Started {
				c.StartupOK, c.PostStart = true, lifecycle.HookDone
			}
			c.Ready = c.Ready || before.Ready
		}
	case s.Created && alive:
		c.Phase = lifecycle.Created
	case !s.ExitedAt.IsZero():
		c.Phase, c.StartedAt = lifecycle.Running, s.CreatedAt
		w.exited(ctx, runtime.Exit{ID: s.ID, Status: s.ExitStatus, At: s.ExitedAt})
	case !s.Running && !w.wasReported(s):
		// A container of which nobody was told, without a process: its creation was interrupted. It is made again.
		c.Phase = lifecycle.Absent
		if !alive {
			// In other namespaces the attempt has another ID; with these, making it again begins with the removal of what is there.
			w.remove(ctx, s.ID)
		}
	default:
		// The machine went down, or the shim was killed, or the namespaces are gone: nobody knows how it ended.
		c.Phase, c.StartedAt = lifecycle.Running, s.CreatedAt
		w.exited(ctx, runtime.Exit{ID: s.ID, Status: unknownExit, At: time.Now()})
	}
}

// wasReported says whether the Pod's status has shown this very container; that of one that is still being made shows none.
func (w *worker) wasReported(s runtime.State) bool {
	c := reported(w.pod, s.Name)
	return c != nil && c.ContainerID == "containerd://"+s.ID
}

// unknownExit is reported for a container whose end nobody saw: 255, as containerd does.
const unknownExit = 255

func reported(pod *v1.Pod, name string) *v1.ContainerStatus {
	for _, list := range [][]v1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	return nil
}

// rerunInit makes init containers run again in a new sandbox: what they did may be gone with the old one.
func (w *worker) rerunInit(sandbox string) {
	for i := range w.pod.Spec.InitContainers {
		spc := &w.pod.Spec.InitContainers[i]
		c := w.containers[spc.Name]
		if c == nil || c.Phase != lifecycle.Exited || c.End.Sandbox == sandbox || spc.RestartPolicy != nil && *spc.RestartPolicy == v1.ContainerRestartPolicyAlways {
			continue
		}
		c.Phase, c.Last, c.End, c.ID = lifecycle.Absent, c.End, nil, ""
		c.Attempt++
	}
}

// exit takes in that a container ended.
func (w *worker) exit(ctx context.Context, x runtime.Exit) {
	for _, c := range w.containers {
		if c.ID != x.ID || c.Phase == lifecycle.Exited {
			continue
		}
		if c.Busy != lifecycle.None {
			c.exit = &x // its creation or start is under way and tells first
			return
		}
		w.exited(ctx, x)
		return
	}
}

// resync compares what is known with what containerd has, after events may have been missed.
func (w *worker) resync(ctx context.Context, found []runtime.State) {
	byID := map[string]runtime.State{}
	for _, s := range found {
		byID[s.ID] = s
	}
	for _, c := range w.containers {
		if c.Phase != lifecycle.Running && c.Phase != lifecycle.Created || c.Busy != lifecycle.None {
			continue
		}
		s, ok := byID[c.ID]
		switch {
		case ok && (s.Running || s.Created):
		case ok && !s.ExitedAt.IsZero():
			w.exited(ctx, runtime.Exit{ID: c.ID, Status: s.ExitStatus, At: s.ExitedAt})
		default:
			w.exited(ctx, runtime.Exit{ID: c.ID, Status: unknownExit, At: time.Now()})
		}
	}
}

// reaping is the verb of a container whose end is being recorded.
const reaping lifecycle.Verb = "reap"

// exited records how a container ended: what it wrote last, whether memory ran out, and that its attempt is over. Then it removes it.
func (w *worker) exited(ctx context.Context, x runtime.Exit) {
	var c *container
	name := ""
	for n, have := range w.containers {
		if have.ID == x.ID {
			c, name = have, n
		}
	}
	if c == nil || c.Busy == reaping {
		return
	}
	if c.stopProbe != nil {
		c.stopProbe()
	}
	c.Busy, c.exit = reaping, nil
	end := &lifecycle.End{
		ID: x.ID, Attempt: c.Attempt, ImageID: c.ImageID, ExitCode: int32(x.Status), StartedAt: c.StartedAt, FinishedAt: x.At, Sandbox: w.sandboxID(),
		Crashes: lifecycle.Crashes(c.Last, c.StartedAt, x.At),
	}
	if c.replaced {
		end.Replaced, end.Crashes = true, 0 // it did not end by itself
	}
	spc, pod, attempt := c.spec, w.pod, c.Attempt
	uid := string(w.pod.UID)
	go func() {
		oom := w.node.Cgroups.OOMKilled(uid, x.ID)
		end.Reason = reason(end.ExitCode, oom)
		end.Message = w.lastWords(spc, attempt)
		// Kept before the task is deleted, which is the only other one to know how it ended.
		kept := make(chan struct{})
		first := *end
		w.tell(func() { w.keep(name, &first); close(kept) })
		select {
		case <-kept:
		case <-ctx.Done():
			return
		}
		err := w.node.Runtime.DeleteTask(ctx, x.ID)
		if err == nil {
			err = w.node.Logs.Close(ctx, x.ID)
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("cleaning up after a container failed", "container", name, "err", err)
		}
		if end.Message == "" {
			end.Message = w.endOfLog(pod, spc, end)
		}
		w.tell(func() {
			w.end(name, end)
			w.remove(ctx, x.ID)
		})
	}()
}

// keep writes down how an attempt ended.
func (w *worker) keep(name string, end *lifecycle.End) {
	w.record.ended(name, end)
	if err := w.record.save(w.dir); err != nil {
		w.log.Error("keeping the end of a container failed; after a restart it is unknown", "container", name, "err", err)
	}
}

func (w *worker) sandboxID() string {
	if w.sandbox != nil {
		return w.sandbox.ID
	}
	id, _ := os.ReadFile(filepath.Join(w.dir, sandboxFile))
	return string(id)
}

// end makes an attempt's end known and keeps it.
func (w *worker) end(name string, end *lifecycle.End) {
	c := w.container(name)
	image, last := c.ImageID, c.Last
	if c.End != nil && c.End.Attempt != end.Attempt { // the attempt failed before it took the place of the one before
		last = c.End
	}
	*c = container{spec: c.spec, Container: lifecycle.Container{
		Phase: lifecycle.Exited, ID: end.ID, Attempt: end.Attempt, ImageID: image, End: end, Last: last, SpecHash: c.SpecHash,
	}}
	for ch, x := range w.waiting {
		if x.container == name && x.attempt <= end.Attempt {
			close(ch)
			delete(w.waiting, ch)
		}
	}
	w.keep(name, end)
}

// reason is the word for an end that kubectl users know.
func reason(code int32, oom bool) string {
	switch {
	case oom: // whichever of its processes it was, and however it took it
		return "OOMKilled"
	case code == 0:
		return "Completed"
	case code == unknownExit:
		return "Unknown"
	}
	return "Error"
}

// remove has a container deleted, which is tried until it is gone or ctx ends.
func (w *worker) remove(ctx context.Context, id string) {
	w.removals.begin(id, func() {
		for delay := 100 * time.Millisecond; ; delay = min(2*delay, 30*time.Second) {
			err := w.node.Runtime.Delete(ctx, id)
			if err == nil {
				w.node.Logs.Close(ctx, id)
				return
			}
			w.log.Debug("removing a container failed; it is tried again", "id", id, "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(delay):
			}
		}
	})
}

// watch starts the probes of a running container. known says that it ran before this daemon did.
func (w *worker) watch(ctx context.Context, c *container, known bool) {
	ctx, c.stopProbe = context.WithCancel(ctx)
	if c.PostStart != lifecycle.HookDone {
		go w.postStart(ctx, c.spec, c.ID)
	}
	if c.spec.StartupProbe == nil && c.spec.LivenessProbe == nil && c.spec.ReadinessProbe == nil {
		return
	}
	k := probe.Known{}
	if known {
		// At least a moment, whatever the clock was set to since it started.
		k = probe.Known{Running: max(time.Since(c.StartedAt), time.Millisecond), Started: c.StartupOK, Ready: c.Ready}
	}
	ip := ""
	if w.sandbox != nil && len(w.sandbox.IPs) > 0 {
		ip = w.sandbox.IPs[0]
	} else {
		ip = w.pod.Status.PodIP
	}
	t := probe.Target{IP: ip, Container: c.spec, Exec: w.execIn(c.ID)}
	l := &listener{w: w, pod: w.pod, name: c.spec.Name, id: c.ID}
	go probe.Watch(ctx, t, k, l)
}

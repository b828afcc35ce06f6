package pod

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
)

// act begins an action. What it does takes place in the background; what came of it is told to the worker.
func (w *worker) act(ctx context.Context, a lifecycle.Action) {
	w.log.Debug("acting", "action", a.String())
	switch a.Verb {
	case lifecycle.Setup:
		w.setup(ctx)
	case lifecycle.Image:
		w.image(ctx, a.Container)
	case lifecycle.Create:
		w.create(ctx, a.Container, a.Attempt)
	case lifecycle.Start:
		w.start(ctx, a.Container)
	case lifecycle.StopIt:
		w.stop(ctx, a)
	case lifecycle.Kill:
		w.kill(ctx, a.Container)
	case lifecycle.Enact:
		w.enact(ctx)
	case lifecycle.Anew:
		w.anew(a.Message)
	case lifecycle.Teardown:
		w.teardown(ctx)
	case lifecycle.Finish:
		w.finish(ctx)
	}
}

func (w *worker) setup(ctx context.Context) {
	before := w.sandboxID()
	w.setupBusy = true
	ctx, w.cancelUp = context.WithCancel(ctx)
	sandbox := &step.Sandbox{Pod: w.allocatedPod(), Dir: w.dir}
	go func() {
		err := w.node.Plan.Setup(ctx, sandbox, func() {
			early := sandbox.Early()
			w.tell(func() {
				w.sandbox, w.prepared = &early, true
				if before != "" && before != early.ID {
					w.rerunInit(early.ID)
				}
			})
		})
		w.tell(func() {
			w.setupBusy = false
			switch {
			case err == nil:
				w.sandbox, w.networked, w.failure, w.retry = sandbox, true, nil, false
			case ctx.Err() == nil || errors.As(err, new(*step.Failure)):
				w.failed(err)
			}
		})
	}()
}

// mountFailed is the reason of a setup that failed for a volume.
const mountFailed = "FailedMount"

// failed takes in that a setup did not succeed.
func (w *worker) failed(err error) {
	reason := "FailedCreatePodSandBox"
	var f *step.Failure
	if errors.As(err, &f) && f.Step == step.VolumesName {
		reason = mountFailed
	}
	count := 1
	if w.failure != nil {
		count = w.failure.Count + 1
	}
	w.failure = &lifecycle.Failure{Reason: reason, Message: err.Error(), At: time.Now(), Count: count}
	w.event("", v1.EventTypeWarning, reason, "%v", err)
	if w.retry && reason == mountFailed {
		w.failure = nil
	}
	w.retry = false
}

// containerFailed takes in that a container could not be brought further.
func (w *worker) containerFailed(c *container, name, reason string, err error) {
	count := 1
	if c.Failure != nil {
		count = c.Failure.Count + 1
	}
	c.Failure = &lifecycle.Failure{Reason: reason, Message: err.Error(), At: time.Now(), Count: count}
	w.event(name, v1.EventTypeWarning, "Failed", "Error: %s", reasonOr(reason, err))
}

// reasonOr is the text of the event that goes with a failure: pulls have told the cause in an event of their own.
func reasonOr(reason string, err error) string {
	if strings.Contains(reason, "Image") {
		return reason
	}
	return err.Error()
}

func (w *worker) create(ctx context.Context, name string, attempt int) {
	c := w.container(name)
	c.Busy = lifecycle.Create
	pod := w.allocatedPod()
	o := orderInput{pod: pod, container: findIn(pod, name), attempt: attempt, sandbox: *w.sandbox}
	o.cpus = w.node.CPUs.Of(pod.UID, name)
	if w.networked {
		o.podIPs = w.sandbox.IPs
	}
	if g := w.guest(name); g != nil {
		o.target = g.TargetContainerName
		if t := w.containers[o.target]; t != nil && t.Phase == lifecycle.Running {
			o.targetID = t.ID
		}
	}
	go func() {
		m, user, reason, err := w.make(ctx, o)
		w.tell(func() {
			w.created(ctx, name, attempt, m, reason, err)
			if c := w.containers[name]; err == nil && c.ID == m.ID() {
				w.runsWith(c, o.container.Resources)
				c.cpus = o.cpus
				c.User = user
			}
		})
	}()
}

// startError is the reason of an attempt whose process could not be executed.
const startError = "StartError"

func (w *worker) created(ctx context.Context, name string, attempt int, m runtime.Meta, reason string, err error) {
	c := w.container(name)
	c.Busy = lifecycle.None
	switch {
	case err == nil:
		c.Last, c.End = lastOf(c), nil
		c.Phase, c.ID, c.Attempt, c.SpecHash, c.ImageID = lifecycle.Created, m.ID(), attempt, m.SpecHash, m.ImageID
		c.Failure, c.Unhealthy, c.UnhealthyGrace = nil, "", nil
		c.StopSent, c.KillSent, c.replaced = time.Time{}, time.Time{}, false
		w.event(name, v1.EventTypeNormal, "Created", "Created container: %s", name)
		w.late(ctx, c)
	case ctx.Err() != nil || runtime.IsDown(err):
		// Nobody's fault but the daemon's: it is tried again when that is back, without a back-off. What was left is found then.
	case reason == startError:
		w.startFailed(name, attempt, m, err)
	default:
		if errors.Is(err, errNoImage) {
			c.ImageReady = false
		}
		w.containerFailed(c, name, reason, err)
	}
}

func lastOf(c *container) *lifecycle.End {
	if c.End != nil {
		return c.End
	}
	return c.Last
}

// startFailed ends an attempt whose process could not be executed, as other runtimes report it: exit code 128, reason StartError.
func (w *worker) startFailed(name string, attempt int, m runtime.Meta, err error) {
	c := w.container(name)
	now := time.Now()
	w.event(name, v1.EventTypeWarning, "Failed", "Error: %v", err)
	before := lastOf(c)
	w.end(name, &lifecycle.End{
		ID: m.ID(), Attempt: attempt, ImageID: m.ImageID, Reason: startError, ExitCode: 128, Message: err.Error(),
		StartedAt: now, FinishedAt: now, Sandbox: m.Sandbox, Crashes: lifecycle.Crashes(before, now, now),
	})
}

func (w *worker) start(ctx context.Context, name string) {
	c := w.container(name)
	c.Busy = lifecycle.Start
	id := c.ID
	go func() {
		end := trace.Begin(ctx, "start")
		err := w.node.Runtime.Start(ctx, id)
		end()
		at := time.Now()
		w.tell(func() {
			c := w.container(name)
			c.Busy = lifecycle.None
			switch {
			case err == nil:
				c.Phase, c.StartedAt = lifecycle.Running, at
				c.StartupOK, c.Ready = c.spec.StartupProbe == nil, c.spec.ReadinessProbe == nil
				c.PostStart = lifecycle.HookPending
				if c.spec.Lifecycle == nil || c.spec.Lifecycle.PostStart == nil {
					c.PostStart = lifecycle.HookDone
				}
				w.event(name, v1.EventTypeNormal, "Started", "Started container %s", name)
				w.watch(ctx, c, false)
				w.pin(ctx)
				w.late(ctx, c)
			case ctx.Err() != nil || runtime.IsDown(err):
			default:
				m := runtime.Meta{PodUID: string(w.pod.UID), Name: name, Attempt: c.Attempt, SpecHash: c.SpecHash, Sandbox: w.sandboxID(), ImageID: c.ImageID}
				w.startFailed(name, c.Attempt, m, err)
				w.remove(ctx, id)
			}
		})
	}()
}

// late takes in an end that was told while something else was being done.
func (w *worker) late(ctx context.Context, c *container) {
	if x := c.exit; x != nil && x.ID == c.ID {
		w.exited(ctx, *x)
	}
}

func (w *worker) stop(ctx context.Context, a lifecycle.Action) {
	c := w.container(a.Container)
	c.StopSent, c.replaced = time.Now(), a.Replace
	w.event(a.Container, v1.EventTypeNormal, "Killing", "%s", a.Message)
	id, spc := c.ID, c.spec
	served := ""
	// A Pod on the host's own network shares its address with others, which go on serving there.
	if (w.pod.DeletionTimestamp != nil || w.record.Stop != nil) && !w.pod.Spec.HostNetwork {
		served = w.pod.Status.PodIP
	}
	go func() {
		w.preStop(ctx, spc, id, a.Grace)
		w.awaitDrained(ctx, served, a.Grace)
		if err := w.node.Runtime.Signal(ctx, id, w.stopSignal(ctx, spc), false); err != nil && ctx.Err() == nil {
			w.log.Warn("asking a container to stop failed; it is killed when its grace period is over", "container", a.Container, "err", err)
		}
	}()
}

// stopSignal is the container's own, the image's, or SIGTERM.
func (w *worker) stopSignal(ctx context.Context, c *v1.Container) unix.Signal {
	name := ""
	if c.Lifecycle != nil && c.Lifecycle.StopSignal != nil {
		name = string(*c.Lifecycle.StopSignal)
	} else if full, err := image.Normalize(c.Image); err == nil {
		if img, err := w.node.Images.Get(ctx, full); err == nil && img != nil {
			name = img.Config.StopSignal
		}
	}
	if name != "" && !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if s := unix.SignalNum(name); s != 0 {
		return s
	}
	return unix.SIGTERM
}

func (w *worker) kill(ctx context.Context, name string) {
	c := w.container(name)
	c.KillSent = time.Now()
	id := c.ID
	if c.Phase == lifecycle.Created {
		c.Busy = lifecycle.Kill
		go func() {
			err := w.node.Runtime.Delete(ctx, id)
			if err == nil {
				err = w.node.Logs.Close(ctx, id)
			}
			w.tell(func() {
				c := w.container(name)
				c.Busy = lifecycle.None
				if err == nil {
					c.Phase, c.ID = lifecycle.Absent, ""
				}
			})
		}()
		return
	}
	go func() {
		if err := w.node.Runtime.Signal(ctx, id, unix.SIGKILL, true); err != nil && ctx.Err() == nil {
			w.log.Warn("killing a container failed; it is tried again", "container", name, "err", err)
		}
	}()
}

// teardown undoes the setup. It waits for a refresh of volumes that is under way, which would mount anew what has been unmounted; the end of that is an event.
func (w *worker) teardown(ctx context.Context) {
	if w.refreshing {
		return
	}
	w.downBusy = true
	sandbox := &step.Sandbox{Pod: w.pod, Dir: w.dir}
	uid := string(w.pod.UID)
	go func() {
		err := w.removeContainers(ctx, uid)
		if err == nil {
			err = w.node.Plan.Teardown(ctx, sandbox)
		}
		w.tell(func() {
			w.downBusy = false
			if err != nil {
				if ctx.Err() == nil {
					w.failed(err)
					w.failure.Reason = lifecycle.TeardownFailed
				}
				return
			}
			w.prepared, w.networked, w.sandbox, w.failure, w.tornDown = false, false, nil, nil, true
			w.down.Store(true)
			w.record.TornDown = true
			if err := w.record.save(w.dir); err != nil {
				w.log.Error("keeping the Pod's record failed", "err", err)
			}
		})
	}()
}

// removeContainers deletes whatever containerd has of the Pod.
func (w *worker) removeContainers(ctx context.Context, uid string) error {
	found, err := w.node.Runtime.List(ctx)
	if err != nil {
		return err
	}
	for _, s := range found {
		if s.PodUID != uid {
			continue
		}
		if err := w.node.Runtime.Delete(ctx, s.ID); err != nil {
			return err
		}
		if err := w.node.Logs.Close(ctx, s.ID); err != nil {
			return err
		}
	}
	return nil
}

// finish removes a Pod that was deleted and has ended: from the API first, so that its name is free only when its containers are gone, then its traces on disk.
func (w *worker) finish(ctx context.Context) {
	w.finishing = true
	pod, gone, mirror := w.pod, w.gone || w.static, w.mirror
	go func() {
		var err error
		if !gone {
			if err = w.node.Status.Flush(ctx, pod.UID); err == nil {
				err = w.deleteFromAPI(ctx, pod)
			}
		}
		if err == nil {
			w.node.Status.Forget(pod.UID)
			w.node.Status.Forget(mirror)
			w.node.Probes.Forget(pod)
			w.saver.close()
			err = errors.Join(os.RemoveAll(w.node.podLogs(pod)), os.RemoveAll(filepath.Join(w.node.Dir, string(pod.UID))))
		}
		if err != nil && ctx.Err() == nil {
			w.log.Warn("removing a deleted Pod failed; it is tried again", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(time.Second): // the API is away or refuses; there is no event for its return
			}
		}
		w.tell(func() {
			w.finishing = false
			w.ended = err == nil
		})
	}()
}

func (w *worker) deleteFromAPI(ctx context.Context, pod *v1.Pod) error {
	now := int64(0)
	err := w.node.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &now, Preconditions: metav1.NewUIDPreconditions(string(pod.UID)),
	})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

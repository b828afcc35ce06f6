package lifecycle

import (
	"cmp"
	"fmt"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// status builds the status to report. It starts from what was last reported, so what others wrote there (the scheduler's
// condition, a nominated node) stays.
func (p *plan) status() v1.PodStatus {
	st := *p.Pod.Status.DeepCopy()
	if st.StartTime == nil {
		st.StartTime = &metav1.Time{Time: p.Now.Truncate(time.Second)}
	}
	st.ObservedGeneration = p.Pod.Generation
	if st.QOSClass == "" {
		st.QOSClass = QOS(&p.Pod.Spec)
	}
	st.InitContainerStatuses = p.containerStatuses(p.Pod.Spec.InitContainers, st.InitContainerStatuses, true)
	st.ContainerStatuses = p.containerStatuses(p.Pod.Spec.Containers, st.ContainerStatuses, false)
	st.EphemeralContainerStatuses = p.guestStatuses(st.EphemeralContainerStatuses)
	if p.Stop != nil && !p.begun() {
		// Containers that wait for something would have clients show that, instead of why the Pod was turned away.
		st.InitContainerStatuses, st.ContainerStatuses, st.EphemeralContainerStatuses = nil, nil, nil
	}
	if len(p.HostIPs) > 0 {
		st.HostIP, st.HostIPs = p.HostIPs[0], nil
		for _, ip := range p.HostIPs {
			st.HostIPs = append(st.HostIPs, v1.HostIP{IP: ip})
		}
	}
	if len(p.PodIPs) > 0 {
		st.PodIP, st.PodIPs = p.PodIPs[0], nil
		for _, ip := range p.PodIPs {
			st.PodIPs = append(st.PodIPs, v1.PodIP{IP: ip})
		}
	}
	st.Phase = p.phase()
	if p.Stop != nil && st.Phase == v1.PodFailed {
		st.Reason, st.Message = p.Stop.Reason, p.Stop.Message
	}
	p.conditions(&st)
	p.resizeConditions(&st)
	p.reportPodResources(&st)
	return st
}

// phase sums up the containers as the API's PodPhase defines it. A phase that ended is never taken back, and none is reported to have ended
// while anything of the Pod runs: whoever replaces the Pod then must not find two at work. Nor while drivers may have devices ready for its claims: with the end those
// claims are free, and their devices somebody else's.
func (p *plan) phase() v1.PodPhase {
	before := p.Pod.Status.Phase
	if before == v1.PodFailed || before == v1.PodSucceeded {
		return before
	}
	ph := p.sum()
	if (ph == v1.PodFailed || ph == v1.PodSucceeded) && (!p.allEnded() || len(p.Pod.Spec.ResourceClaims) > 0 && !p.TornDown) {
		return cmp.Or(before, v1.PodPending)
	}
	return ph
}

func (p *plan) sum() v1.PodPhase {
	if p.Stop != nil {
		return v1.PodFailed
	}
	live, waiting, failed, ended := 0, 0, 0, 0
	for i := range p.Pod.Spec.Containers {
		switch o := p.observed(p.Pod.Spec.Containers[i].Name); o.Phase {
		case Running:
			live++
		case Exited:
			ended++
			if o.End.ExitCode != 0 {
				failed++
			}
		default:
			waiting++
		}
	}
	switch {
	case p.initFailed != "":
		return v1.PodFailed
	case p.stopping == "deleted" && live == 0 && p.allEnded():
		// Whatever was deleted and has stopped is over, whether or not its policy would have started it again.
		if failed > 0 || ended == 0 || waiting > 0 {
			return v1.PodFailed
		}
		return v1.PodSucceeded
	case !p.initialized || waiting > 0 && live == 0 && ended == 0:
		return v1.PodPending
	case waiting > 0:
		return v1.PodPending
	case p.finished && failed > 0:
		return v1.PodFailed
	case p.finished:
		return v1.PodSucceeded
	}
	return v1.PodRunning
}

// begun says whether there has been any container of the Pod.
func (p *plan) begun() bool {
	for _, c := range all(&p.Pod.Spec) {
		if o := p.observed(c.Name); o.Phase != Absent || o.Busy == Create || o.Attempt > 0 || o.Last != nil {
			return true
		}
	}
	return false
}

// allEnded says that nothing of the Pod is live or about to be.
func (p *plan) allEnded() bool {
	for _, c := range all(&p.Pod.Spec) {
		if o := p.observed(c.Name); o.Phase == Running || o.Phase == Created || o.Busy != None {
			return false
		}
	}
	return true
}

func (p *plan) containerStatuses(cs []v1.Container, old []v1.ContainerStatus, init bool) []v1.ContainerStatus {
	if len(cs) == 0 {
		return nil
	}
	before := make(map[string]*v1.ContainerStatus, len(old))
	for i := range old {
		before[old[i].Name] = &old[i]
	}
	out := make([]v1.ContainerStatus, 0, len(cs))
	for i := range cs {
		out = append(out, p.containerStatus(&cs[i], before[cs[i].Name], init))
	}
	return out
}

// guestStatuses are those of ephemeral containers, which are neither started nor ready in the sense of probes: they have none.
func (p *plan) guestStatuses(old []v1.ContainerStatus) []v1.ContainerStatus {
	var cs []v1.Container
	for i := range p.Pod.Spec.EphemeralContainers {
		cs = append(cs, *Ephemeral(&p.Pod.Spec.EphemeralContainers[i]))
	}
	out := p.containerStatuses(cs, old, false)
	for i := range out {
		s := &out[i]
		s.Ready, s.Started = false, nil
		if o := p.observed(s.Name); s.State.Waiting != nil && o.Failure == nil {
			s.State.Waiting.Reason = "ContainerCreating" // it does not wait for init containers
		} else if s.State.Waiting != nil {
			s.State.Waiting = p.failed(o.Failure)
		}
	}
	return out
}

func (p *plan) containerStatus(c *v1.Container, before *v1.ContainerStatus, init bool) v1.ContainerStatus {
	o := p.observed(c.Name)
	s := v1.ContainerStatus{Name: c.Name, Image: c.Image, ImageID: o.ImageID, RestartCount: int32(o.Attempt)}
	if o.ID != "" {
		s.ContainerID = "containerd://" + o.ID
	}
	isStarted := false
	switch o.Phase {
	case Running:
		s.State.Running = &v1.ContainerStateRunning{StartedAt: seconds(o.StartedAt)}
		isStarted = started(o)
		s.Ready = isStarted && o.Ready
		s.LastTerminationState = terminated(o.Last)
	case Exited:
		s.State = terminated(o.End)
		s.LastTerminationState = terminated(o.Last)
		s.ImageID = o.End.ImageID
		s.Ready = init && !sidecar(c) && o.End.ExitCode == 0
		if w := p.waitingToRestart(c, o, init); w != nil {
			s.State, s.LastTerminationState = v1.ContainerState{Waiting: w}, terminated(o.End)
		}
	default:
		s.State.Waiting = p.waiting(o, init)
		s.LastTerminationState = terminated(o.Last)
		if before != nil && o.ID == "" && before.LastTerminationState.Terminated != nil {
			s.LastTerminationState, s.RestartCount = before.LastTerminationState, max(s.RestartCount, before.RestartCount)
		}
	}
	s.Started = &isStarted
	s.VolumeMounts = p.volumeMounts(c, before)
	if s.User = o.User; s.User == nil && before != nil && before.ContainerID == s.ContainerID {
		s.User = before.User
	}
	if s.AllocatedResourcesStatus = o.Health; s.AllocatedResourcesStatus == nil && before != nil {
		s.AllocatedResourcesStatus = before.AllocatedResourcesStatus // as it was at the end, which it may explain
	}
	p.reportResources(&s, c, o)
	return s
}

// waiting says why a container without an attempt does not run yet.
func (p *plan) waiting(o *Container, init bool) *v1.ContainerStateWaiting {
	if f := o.Failure; f != nil && (init || p.initialized) {
		return p.failed(f)
	}
	if !init && !p.initialized || init && len(p.Pod.Spec.InitContainers) > 1 && o.Phase == Absent && p.Prepared {
		return &v1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	if init {
		return &v1.ContainerStateWaiting{Reason: "PodInitializing"}
	}
	return &v1.ContainerStateWaiting{Reason: "ContainerCreating"}
}

// failed reports a failure itself at first, then the wait for the next try.
func (p *plan) failed(f *Failure) *v1.ContainerStateWaiting {
	if f.Reason == "ErrImagePull" && !p.Now.Before(f.At.Add(causeShown)) {
		return &v1.ContainerStateWaiting{Reason: "ImagePullBackOff", Message: f.Message}
	}
	return &v1.ContainerStateWaiting{Reason: f.Reason, Message: f.Message}
}

// waitingToRestart says why an ended container that is to run again does not yet, or nil if it is not to, or is being started now.
func (p *plan) waitingToRestart(c *v1.Container, o *Container, init bool) *v1.ContainerStateWaiting {
	if p.stopping != "" || !restarts(&p.Pod.Spec, c, o.End, init) {
		return nil
	}
	if o.Failure != nil {
		return p.failed(o.Failure)
	}
	if o.End.Replaced {
		// Not the end of anything: the API would not let a container that has passed for good run again.
		return &v1.ContainerStateWaiting{Reason: "ContainerCreating"}
	}
	delay := RestartDelay(o.End.Crashes)
	if !p.Now.Before(restartAt(o.End, p.Now)) {
		return nil
	}
	return &v1.ContainerStateWaiting{
		Reason: "CrashLoopBackOff",
		Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)",
			delay, c.Name, p.Pod.Name, p.Pod.Namespace, p.Pod.UID),
	}
}

func terminated(e *End) v1.ContainerState {
	if e == nil {
		return v1.ContainerState{}
	}
	t := &v1.ContainerStateTerminated{
		ExitCode: e.ExitCode, Signal: e.Signal, Reason: e.Reason, Message: e.Message,
		StartedAt: seconds(e.StartedAt), FinishedAt: seconds(e.FinishedAt),
	}
	if e.ID != "" {
		t.ContainerID = "containerd://" + e.ID
	}
	return v1.ContainerState{Terminated: t}
}

// seconds drops what the API does not carry, so that a status compares equal to its own echo.
func seconds(t time.Time) metav1.Time {
	if t.IsZero() {
		return metav1.Time{}
	}
	return metav1.Time{Time: t.Truncate(time.Second)}
}

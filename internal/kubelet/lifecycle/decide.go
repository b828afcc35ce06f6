package lifecycle

import (
	"time"

	v1 "k8s.io/api/core/v1"
)

// Decide says what the Pod needs next. It is the only entry to this package's rules.
func Decide(in Input) Decision {
	p := plan{Input: in, stopping: stopReason(in)}
	p.classify()
	switch {
	case p.stopping != "":
		p.stop()
	default:
		p.deadline()
		if p.stopping == "" {
			p.run()
		}
	}
	p.out.Status = p.status()
	if !in.RuntimeUp {
		p.out.Actions = nil
	}
	return p.out
}

// plan is a Decision being made.
type plan struct {
	Input
	out Decision

	// stopping is why the Pod is to end: "deleted", the reason of Input.Stop, or "finished"; empty while it is to run.
	stopping string
	// initialized says that every init container has passed (exited with 0, or is a started sidecar).
	initialized bool
	// initFailed names the init container whose end fails the Pod.
	initFailed string
	// finished says that no app container runs or is to be started again.
	finished bool
}

// stopReason finds why the Pod is to end, other than by its containers' own exits.
func stopReason(in Input) string {
	switch {
	case in.Pod.DeletionTimestamp != nil:
		return "deleted"
	case in.Stop != nil:
		return in.Stop.Reason
	case in.Pod.Status.Phase == v1.PodFailed || in.Pod.Status.Phase == v1.PodSucceeded:
		return "finished"
	}
	return ""
}

// classify derives what the containers' states together mean.
func (p *plan) classify() {
	spec := &p.Pod.Spec
	p.initialized = true
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		o := p.observed(c.Name)
		if sidecar(c) {
			p.initialized = p.initialized && (o.Phase == Running && started(o) || o.Last != nil && !o.Last.Anew || o.Phase == Exited) && !startsAnew(o)
			continue
		}
		if o.Phase == Exited && o.End.ExitCode != 0 && !restarts(spec, c, o.End, true) {
			p.initFailed = c.Name
		}
		p.initialized = p.initialized && passed(o)
	}
	// Once an app container has been created the init containers have done their work; a sidecar that is between two attempts does not undo it.
	for i := range spec.Containers {
		if o := p.observed(spec.Containers[i].Name); o.Phase != Absent && !startsAnew(o) && p.initFailed == "" && p.plainInitDone() {
			p.initialized = true
		}
	}
	p.finished = p.initialized && len(spec.Containers) > 0
	for i := range spec.Containers {
		c := &spec.Containers[i]
		o := p.observed(c.Name)
		if o.Phase != Exited || restarts(spec, c, o.End, false) {
			p.finished = false
		}
	}
	p.finished = p.finished || p.initFailed != ""
	if p.finished && p.stopping == "" {
		p.stopping = "finished"
	}
}

func (p *plan) plainInitDone() bool {
	for i := range p.Pod.Spec.InitContainers {
		c := &p.Pod.Spec.InitContainers[i]
		if o := p.observed(c.Name); !sidecar(c) && !passed(o) {
			return false
		}
	}
	return true
}

// deadline stops a Pod that has been active for longer than spec.activeDeadlineSeconds allows.
func (p *plan) deadline() {
	limit := p.Pod.Spec.ActiveDeadlineSeconds
	if limit == nil || p.Pod.Status.StartTime == nil {
		return
	}
	end := p.Pod.Status.StartTime.Add(time.Duration(*limit) * time.Second)
	if p.Now.Before(end) {
		p.out.again(end)
		return
	}
	p.Stop = &Stop{Reason: "DeadlineExceeded", Message: "Pod was active on the node longer than the specified deadline"}
	p.stopping = p.Stop.Reason
	p.stop()
}

// run brings a Pod that is to run closer to running.
func (p *plan) run() {
	spec := &p.Pod.Spec
	if by := p.asksAnew(); by != "" {
		p.anew(by)
		return
	}
	if !p.Prepared || !p.Networked {
		p.setup()
	}
	// Images are fetched while the sandbox is set up and while earlier init containers run: none of it needs the other.
	for _, c := range all(spec) {
		if o := p.observed(c.Name); o.Busy == None && !o.ImageReady && p.wantsImage(c, o) && p.mayRetry(o) {
			p.do(Action{Verb: Image, Container: c.Name})
		}
	}
	// Ephemeral containers need nothing but the sandbox: a Pod whose init container hangs is just what one wants to look into.
	for i := range spec.EphemeralContainers {
		c := Ephemeral(&spec.EphemeralContainers[i])
		p.advance(c, p.observed(c.Name), false)
	}
	p.resize()
	for i := range spec.InitContainers {
		c := &spec.InitContainers[i]
		o := p.observed(c.Name)
		if sidecar(c) {
			p.advance(c, o, false)
			if !p.initialized && !(o.Phase == Running && started(o)) {
				return // the next init container waits until this one has started
			}
			continue
		}
		if passed(o) || p.initialized {
			continue
		}
		p.advance(c, o, true)
		return
	}
	for i := range spec.Containers {
		p.advance(&spec.Containers[i], p.observed(spec.Containers[i].Name), false)
	}
}

func (p *plan) setup() {
	if p.SetupBusy || p.Waits {
		return
	}
	if f := p.SetupFailure; f != nil {
		if at := f.At.Add(RetryDelay(f)); p.Now.Before(at) {
			p.out.again(at)
			return
		}
	}
	p.do(Action{Verb: Setup})
}

// advance takes one container a step further towards running.
func (p *plan) advance(c *v1.Container, o *Container, init bool) {
	if o.Busy != None {
		return
	}
	switch o.Phase {
	case Created:
		if p.Networked {
			p.do(Action{Verb: Start, Container: c.Name, Attempt: o.Attempt})
		}
	case Running:
		p.keepRunning(c, o)
	case Absent:
		p.create(c, o, o.Attempt) // 0, but for an init container that runs again in a new sandbox
	case Exited:
		if !restarts(&p.Pod.Spec, c, o.End, init) {
			return
		}
		if at := restartAt(o.End, p.Now); p.Now.Before(at) {
			p.out.again(at)
			return
		}
		p.create(c, o, o.Attempt+1)
	}
}

func (p *plan) create(c *v1.Container, o *Container, attempt int) {
	if !p.mayRetry(o) || !o.ImageReady || !p.Prepared || p.Resize.Busy || p.groupStale() && p.Resize.Failure == nil {
		return
	}
	if !p.Networked && NeedsAddress(c) {
		return
	}
	p.do(Action{Verb: Create, Container: c.Name, Attempt: attempt})
}

// keepRunning stops a running container that is unhealthy or no longer the one that is wanted.
func (p *plan) keepRunning(c *v1.Container, o *Container) {
	why, grace, replace := "", p.grace(nil), false
	_, restart := p.outgrown(c, o)
	switch {
	case o.Unhealthy != "":
		why, grace = o.Unhealthy, p.grace(o.UnhealthyGrace)
	case o.SpecHash != "" && o.SpecHash != SpecHash(c):
		why, replace = "Container "+c.Name+" definition changed, will be restarted", true
	case restart && !p.Resize.Busy:
		why, replace = "Container "+c.Name+" resize requires restart", true
	default:
		return
	}
	p.end(c.Name, o, grace, why, replace)
}

// stop ends the Pod: app containers first, then the sidecars from the last to the first, then what was set up for it.
func (p *plan) stop() {
	spec := &p.Pod.Spec
	why := "Stopping container "
	live := false
	for i := range spec.EphemeralContainers {
		name := spec.EphemeralContainers[i].Name
		live = p.endIfLive(name, p.observed(name), why+name) || live
	}
	for i := range spec.Containers {
		o := p.observed(spec.Containers[i].Name)
		live = p.endIfLive(spec.Containers[i].Name, o, why+spec.Containers[i].Name) || live
	}
	for i := len(spec.InitContainers) - 1; i >= 0; i-- {
		c := &spec.InitContainers[i]
		o := p.observed(c.Name)
		if live && sidecar(c) && o.Phase == Running {
			continue
		}
		live = p.endIfLive(c.Name, o, why+c.Name) || live
	}
	for _, c := range all(spec) {
		if b := p.observed(c.Name).Busy; b == Image || b == Create || b == Start {
			live = true // wait until it is known what came of it
		}
	}
	if live || p.SetupBusy || p.TeardownBusy || p.Resize.Busy {
		return
	}
	if !p.TornDown {
		if f := p.SetupFailure; f != nil && f.Reason == TeardownFailed {
			if at := f.At.Add(RetryDelay(f)); p.Now.Before(at) {
				p.out.again(at)
				return
			}
		}
		p.do(Action{Verb: Teardown})
		return
	}
	if p.Pod.DeletionTimestamp != nil {
		p.do(Action{Verb: Finish})
	}
}

// TeardownFailed is the reason of Input.SetupFailure when undoing failed, not doing.
const TeardownFailed = "FailedKillPod"

// endIfLive asks a container that exists to end, and says whether it still exists.
func (p *plan) endIfLive(name string, o *Container, why string) bool {
	switch o.Phase {
	case Created:
		if o.Busy == None {
			p.do(Action{Verb: Kill, Container: name})
		}
		return true
	case Running:
		p.end(name, o, p.grace(nil), why, false)
		return true
	}
	return false
}

// end asks a running container to stop, and kills it when its grace period is over. The period is read anew each time, so a
// second deletion with a shorter one takes effect.
func (p *plan) end(name string, o *Container, grace time.Duration, why string, replace bool) {
	from := o.StopSent
	if from.IsZero() {
		from = p.Now
	}
	at := from.Add(grace)
	if p.Stop != nil && !p.Stop.Until.IsZero() && p.Stop.Until.Before(at) {
		at = p.Stop.Until
	}
	if o.StopSent.IsZero() {
		if o.Busy == None {
			p.do(Action{Verb: StopIt, Container: name, Grace: max(at.Sub(p.Now), 0), Message: why, Replace: replace})
			p.out.again(at)
		}
		return
	}
	switch {
	case p.Now.Before(at):
		p.out.again(at)
	case o.KillSent.IsZero() || p.Now.Sub(o.KillSent) >= killAgain:
		p.do(Action{Verb: Kill, Container: name})
		p.out.again(p.Now.Add(killAgain))
	default:
		p.out.again(o.KillSent.Add(killAgain))
	}
}

// killAgain is when SIGKILL is sent again: a process in uninterruptible sleep dies late, one created between listing and killing not at all.
const killAgain = 10 * time.Second

func (p *plan) grace(override *int64) time.Duration {
	s := int64(30) // the API's default, for Pods from a checkpoint written by hand
	if g := p.Pod.Spec.TerminationGracePeriodSeconds; g != nil {
		s = *g
	}
	if override != nil {
		s = *override
	}
	if g := p.Pod.DeletionGracePeriodSeconds; g != nil && p.Pod.DeletionTimestamp != nil {
		s = *g
	}
	return time.Duration(s) * time.Second
}

// mayRetry says whether a container whose last pull or creation failed may be tried again now.
func (p *plan) mayRetry(o *Container) bool {
	if o.Failure == nil {
		return true
	}
	at := o.Failure.At.Add(RetryDelay(o.Failure))
	if p.Now.Before(at) {
		p.out.again(at)
		if shown := o.Failure.At.Add(causeShown); p.Now.Before(shown) {
			p.out.again(shown)
		}
		return false
	}
	return true
}

// wantsImage says whether the container will be created again, as far as can be seen now.
func (p *plan) wantsImage(c member, o *Container) bool {
	switch o.Phase {
	case Absent:
		return true
	case Exited:
		if !restarts(&p.Pod.Spec, c.Container, o.End, c.init) {
			return false
		}
		at := restartAt(o.End, p.Now)
		if p.Now.Before(at) {
			p.out.again(at)
			return false
		}
		return true
	}
	return false
}

func (p *plan) do(a Action) { p.out.Actions = append(p.out.Actions, a) }

func (p *plan) observed(name string) *Container {
	if o := p.Containers[name]; o != nil {
		return o
	}
	return &Container{}
}

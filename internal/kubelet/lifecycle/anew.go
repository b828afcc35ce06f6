package lifecycle

import v1 "k8s.io/api/core/v1"

// A container's restart rule may ask for all containers of the Pod to be started anew, init containers first, in the sandbox and with the volumes that are there (RestartAllContainers, KEP-5532).
// First everything else is ended; then all attempts are marked (End.Anew), which is kept, so that a crash in the middle neither forgets nor repeats it; what is marked is made again in the
// order in which a new Pod's containers are.

// rule finds what a container's restart rules say about how it ended; empty if none speaks of it.
func rule(c *v1.Container, end *End) v1.ContainerRestartRuleAction {
	for _, r := range c.RestartPolicyRules {
		if r.ExitCodes != nil && matches(r.ExitCodes, end.ExitCode) {
			return r.Action
		}
	}
	return ""
}

// asksAnew names the container whose end asks for all to be started anew; empty if there is none.
func (p *plan) asksAnew() string {
	for _, m := range all(&p.Pod.Spec) {
		o := p.observed(m.Name)
		if !m.guest && o.Phase == Exited && !o.End.Anew && !o.End.Replaced && rule(m.Container, o.End) == v1.ContainerRestartRuleActionRestartAllContainers {
			return m.Name
		}
	}
	return ""
}

// anew ends what runs because a container asked for it, and has all marked when nothing does.
func (p *plan) anew(by string) {
	live := false
	for _, m := range all(&p.Pod.Spec) {
		if m.guest {
			continue
		}
		o := p.observed(m.Name)
		switch {
		case o.Phase == Running:
			p.end(m.Name, o, p.grace(nil), "Container "+m.Name+" is ended as container "+by+" asked for all to be restarted", true)
			live = true
		case o.Phase == Created && o.Busy == None:
			p.do(Action{Verb: Kill, Container: m.Name})
			live = true
		case o.Busy != None && o.Busy != Image:
			live = true // it is known later what came of it
		}
	}
	if !live {
		p.do(Action{Verb: Anew, Message: by})
	}
}

// passed says whether an init container that is no sidecar has done its work.
func passed(o *Container) bool { return o.Phase == Exited && o.End.ExitCode == 0 && !o.End.Anew }

// startsAnew says whether a container has ended to be started anew with all others, and has not been.
func startsAnew(o *Container) bool { return o.Phase == Exited && o.End.Anew }

// startingAnew says whether the containers are being started anew: one has asked for it, or one has not been.
func (p *plan) startingAnew() bool {
	if p.stopping != "" {
		return false
	}
	for _, m := range all(&p.Pod.Spec) {
		if !m.guest && startsAnew(p.observed(m.Name)) {
			return true
		}
	}
	return p.asksAnew() != ""
}

package lifecycle

import (
	"slices"

	v1 "k8s.io/api/core/v1"
)

// allocated are the resources that the node has given a container.
func (p *plan) allocated(c *v1.Container) v1.ResourceRequirements {
	if a := p.Resize.Allocated; a != nil {
		if r, ok := a.Containers[c.Name]; ok {
			return r
		}
	}
	return c.Resources
}

// outgrown says that a running container does not have what is allocated to it, and whether it has to be started anew to get it.
func (p *plan) outgrown(c *v1.Container, o *Container) (outgrown, restart bool) {
	if o.Phase != Running || o.Resources == nil {
		return false, false
	}
	return Outgrown(c, *o.Resources, p.allocated(c))
}

// Outgrown says whether a container that runs with some resources is to have others, and whether its resizePolicy wants it started anew for that.
func Outgrown(c *v1.Container, has, wanted v1.ResourceRequirements) (outgrown, restart bool) {
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		if equal(has.Requests, wanted.Requests, name) && equal(has.Limits, wanted.Limits, name) {
			continue
		}
		outgrown = true
		restart = restart || slices.Contains(c.ResizePolicy, v1.ContainerResizePolicy{ResourceName: name, RestartPolicy: v1.RestartContainer})
	}
	return outgrown, restart
}

func equal(a, b v1.ResourceList, name v1.ResourceName) bool {
	x, y := a[name], b[name]
	return x.Cmp(y) == 0
}

// groupStale says that the Pod's control group is not set for what is allocated. No container is created before it is, for it might not fit; unless that
// has failed, which must not keep the others from running: the group is then wide enough for all (Node.resize).
func (p *plan) groupStale() bool {
	return p.Resize.Allocated != nil && p.Resize.Group != nil && !p.Resize.Group.Equal(p.Resize.Allocated)
}

// resize has what is allocated made true. It waits for the containers that are to be started anew: until they have ended, what they have must fit too.
func (p *plan) resize() {
	if p.Resize.Allocated == nil || !p.Prepared || p.Resize.Busy {
		return
	}
	stale := p.groupStale()
	for _, c := range all(&p.Pod.Spec) {
		o := p.observed(c.Name)
		if o.Busy == Create || o.Busy == Start || o.Phase == Created {
			return // with what was allocated when that began; looked at when it runs
		}
		outgrown, restart := p.outgrown(c.Container, o)
		if restart {
			return
		}
		stale = stale || outgrown
	}
	if !stale {
		return
	}
	if f := p.Resize.Failure; f != nil {
		if at := f.At.Add(RetryDelay(f)); p.Now.Before(at) {
			p.out.again(at)
			return
		}
	}
	p.do(Action{Verb: Enact})
	p.Resize.Busy = true // for what is decided after this
}

// unfinished says that not all of the Pod has what is allocated.
func (p *plan) unfinished() bool {
	if p.groupStale() {
		return true
	}
	for _, c := range all(&p.Pod.Spec) {
		if outgrown, _ := p.outgrown(c.Container, p.observed(c.Name)); outgrown {
			return true
		}
	}
	return false
}

// resizeConditions tell of a resize while there is one, and are absent otherwise.
func (p *plan) resizeConditions(st *v1.PodStatus) {
	ended := st.Phase == v1.PodSucceeded || st.Phase == v1.PodFailed
	set := func(t v1.PodConditionType, is bool, reason, message string) {
		if !is || ended {
			st.Conditions = slices.DeleteFunc(st.Conditions, func(c v1.PodCondition) bool { return c.Type == t })
			return
		}
		p.setCondition(st, v1.PodCondition{Type: t, Status: v1.ConditionTrue, Reason: reason, Message: message, ObservedGeneration: p.Pod.Generation})
	}
	reason, message := "", ""
	if r := p.Resize.Refused; r != nil {
		reason, message = r.Reason, r.Message
	}
	set(v1.PodResizePending, p.Resize.Refused != nil, reason, message)
	reason, message = "", ""
	if f := p.Resize.Failure; f != nil {
		reason, message = v1.PodReasonError, f.Message
	}
	set(v1.PodResizeInProgress, p.unfinished(), reason, message)
}

// reportResources tells what a container that there is, or was, has: what it runs with, or what it would be started with.
func (p *plan) reportResources(s *v1.ContainerStatus, c *v1.Container, o *Container) {
	if o.Phase == Absent {
		return
	}
	allocated := p.allocated(c)
	has := allocated
	if o.Phase == Running && o.Resources != nil {
		has = *o.Resources
	}
	s.AllocatedResources, s.Resources = allocated.Requests, &has
}

// reportPodResources tells what a Pod that asks for resources as a whole has.
func (p *plan) reportPodResources(st *v1.PodStatus) {
	st.Resources, st.AllocatedResources = nil, nil
	allocated, has := p.Pod.Spec.Resources, p.Pod.Spec.Resources
	if a := p.Resize.Allocated; a != nil {
		allocated, has = a.Pod, a.Pod
		if p.Resize.Group != nil {
			has = p.Resize.Group.Pod
		}
	}
	if allocated == nil || !p.Prepared {
		return
	}
	st.AllocatedResources, st.Resources = allocated.Requests, has
}

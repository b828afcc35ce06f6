package lifecycle

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// owned are the conditions that a node reports; all others belong to somebody else and are left alone.
var owned = map[v1.PodConditionType]bool{
	v1.PodReadyToStartContainers: true, v1.PodInitialized: true, v1.ContainersReady: true, v1.PodReady: true, v1.PodResizePending: true, v1.PodResizeInProgress: true,
	v1.AllContainersRestarting: true,
}

// OwnsCondition says whether a condition is one that a node reports. That a Pod is disrupted is said by whoever does it.
func OwnsCondition(c v1.PodCondition) bool {
	return owned[c.Type] || c.Type == v1.DisruptionTarget && c.Reason == v1.PodReasonTerminationByKubelet
}

func (p *plan) conditions(st *v1.PodStatus) {
	ended := st.Phase == v1.PodSucceeded || st.Phase == v1.PodFailed
	set := func(t v1.PodConditionType, ok bool, reason, message string) {
		c := v1.PodCondition{Type: t, Status: v1.ConditionFalse, Reason: reason, Message: message, ObservedGeneration: p.Pod.Generation}
		if ok {
			c.Status, c.Reason, c.Message = v1.ConditionTrue, "", ""
		}
		if t == v1.PodInitialized && ok && st.Phase == v1.PodSucceeded {
			c.Reason = "PodCompleted"
		}
		p.setCondition(st, c)
	}
	set(v1.PodReadyToStartContainers, p.Prepared && p.Networked, "", "")

	switch {
	case p.initialized || st.Phase == v1.PodSucceeded:
		set(v1.PodInitialized, true, "", "")
	default:
		set(v1.PodInitialized, false, "ContainersNotInitialized", "containers with incomplete status: "+list(p.unfinishedInit()))
	}

	if p.Stop != nil && p.Stop.Disruption != "" {
		p.setCondition(st, v1.PodCondition{
			Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: p.Stop.Disruption, Message: p.Stop.Message, ObservedGeneration: p.Pod.Generation,
		})
	}

	switch anew := !ended && p.startingAnew(); {
	case anew:
		set(v1.AllContainersRestarting, true, "", "")
	case IsTrue(st, v1.AllContainersRestarting):
		set(v1.AllContainersRestarting, false, "", "")
	}

	reason, message := "", ""
	if st.Phase == v1.PodSucceeded {
		reason = "PodCompleted"
	} else if st.Phase == v1.PodFailed {
		reason = "PodFailed"
	} else if unready := p.unready(st); len(unready) > 0 {
		reason, message = "ContainersNotReady", "containers with unready status: "+list(unready)
	}
	ready := reason == "" && !ended
	set(v1.ContainersReady, ready, reason, message)
	if ready && p.Stop != nil {
		// Its containers still serve; but no new connection should be sent to them.
		set(v1.PodReady, false, p.Stop.Reason, p.Stop.Message)
		return
	}
	if ready {
		if missing := missingGates(p.Pod.Spec.ReadinessGates, st); missing != "" {
			set(v1.PodReady, false, "ReadinessGatesNotReady", missing)
			return
		}
	}
	set(v1.PodReady, ready, reason, message)
}

// setCondition replaces the condition of the same type; its transition time changes with its status only.
func (p *plan) setCondition(st *v1.PodStatus, c v1.PodCondition) {
	for i := range st.Conditions {
		if o := &st.Conditions[i]; o.Type == c.Type {
			c.LastTransitionTime, c.LastProbeTime = o.LastTransitionTime, o.LastProbeTime
			if o.Status != c.Status {
				c.LastTransitionTime = metav1.Time{Time: seconds(p.Now).Time}
			}
			*o = c
			return
		}
	}
	c.LastTransitionTime = metav1.Time{Time: seconds(p.Now).Time}
	st.Conditions = append(st.Conditions, c)
}

func (p *plan) unfinishedInit() []string {
	var out []string
	for i := range p.Pod.Spec.InitContainers {
		c := &p.Pod.Spec.InitContainers[i]
		o := p.observed(c.Name)
		if sidecar(c) && o.Phase == Running && started(o) || !sidecar(c) && passed(o) {
			continue
		}
		out = append(out, c.Name)
	}
	return out
}

func (p *plan) unready(st *v1.PodStatus) []string {
	var out []string
	for i := range st.InitContainerStatuses {
		if sidecar(&p.Pod.Spec.InitContainers[i]) && !st.InitContainerStatuses[i].Ready {
			out = append(out, st.InitContainerStatuses[i].Name)
		}
	}
	for i := range st.ContainerStatuses {
		if !st.ContainerStatuses[i].Ready {
			out = append(out, st.ContainerStatuses[i].Name)
		}
	}
	return out
}

func missingGates(gates []v1.PodReadinessGate, st *v1.PodStatus) string {
	var bad []string
	for _, g := range gates {
		status, found := v1.ConditionFalse, false
		for _, c := range st.Conditions {
			if c.Type == g.ConditionType {
				status, found = c.Status, true
			}
		}
		switch {
		case !found:
			bad = append(bad, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", string(g.ConditionType)))
		case status != v1.ConditionTrue:
			bad = append(bad, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %s", string(g.ConditionType), status))
		}
	}
	return strings.Join(bad, ", ")
}

func list(names []string) string { return "[" + strings.Join(names, " ") + "]" }

// Urgent says whether the step from one status to the next is one that somebody waits for: the phase, readiness, or a container that
// stopped, started or failed. Progress on the way to a first start is not; it may be reported together with what follows.
func Urgent(before, now *v1.PodStatus) bool {
	if before.Phase != now.Phase && now.Phase != v1.PodPending {
		return true
	}
	for _, c := range now.Conditions {
		if c.Type == v1.PodReady && c.Status == v1.ConditionTrue != IsTrue(before, v1.PodReady) {
			return true
		}
	}
	return trouble(now.InitContainerStatuses) || trouble(now.ContainerStatuses) || trouble(now.EphemeralContainerStatuses) || guests(before) != guests(now)
}

// IsTrue says whether a condition is there and true.
func IsTrue(st *v1.PodStatus, t v1.PodConditionType) bool {
	for _, c := range st.Conditions {
		if c.Type == t {
			return c.Status == v1.ConditionTrue
		}
	}
	return false
}

// guests counts the ephemeral containers that run: whoever added one waits for it.
func guests(st *v1.PodStatus) int {
	n := 0
	for i := range st.EphemeralContainerStatuses {
		if st.EphemeralContainerStatuses[i].State.Running != nil {
			n++
		}
	}
	return n
}

func trouble(list []v1.ContainerStatus) bool {
	for i := range list {
		s := &list[i].State
		if s.Terminated != nil || s.Waiting != nil && s.Waiting.Reason != "ContainerCreating" && s.Waiting.Reason != "PodInitializing" {
			return true
		}
	}
	return false
}

package columns

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Pod shows what a Pod is doing in one word; see podState for the words.
var Pod = Table[*corev1.Pod]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Ready", "Containers that are ready, of all that go on running"),
		text("Status", "What the Pod is doing, or why it does not"),
		text("Restarts", "How often its containers were restarted, and when last"),
		age(),
		wideText("IP", "First address of the Pod"),
		wideText("Node", "Node that the Pod runs on"),
		wideText("Nominated Node", "Node on which room is being made for the Pod"),
		wideText("Readiness Gates", "Further conditions that hold, of those that the Pod's readiness depends on"),
	},
	Row: func(p *corev1.Pod) []any {
		state := stateOf(p)
		return []any{
			p.Name,
			fmt.Sprintf("%d/%d", state.ready, state.containers),
			state.word,
			state.restartsText(),
			ageOf(p.CreationTimestamp),
			podIP(p),
			orNone(p.Spec.NodeName),
			orNone(p.Status.NominatedNodeName),
			readinessGates(p),
		}
	},
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return orNone(p.Status.PodIPs[0].IP)
	}
	return orNone(p.Status.PodIP)
}

func readinessGates(p *corev1.Pod) string {
	if len(p.Spec.ReadinessGates) == 0 {
		return none
	}
	hold := 0
	for _, gate := range p.Spec.ReadinessGates {
		if isTrue(p, gate.ConditionType) {
			hold++
		}
	}
	return fmt.Sprintf("%d/%d", hold, len(p.Spec.ReadinessGates))
}

func condition(p *corev1.Pod, wanted corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == wanted {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func isTrue(p *corev1.Pod, wanted corev1.PodConditionType) bool {
	c := condition(p, wanted)
	return c != nil && c.Status == corev1.ConditionTrue
}

// podState sums a Pod up. Its word is, in this order of precedence:
//
//	Terminating, Unknown      being deleted; the latter on a node that is lost
//	Init:…                    the first init container that is not done: its reason, exit code, or its place among them
//	a container's reason      the first container's whose state has one, such as CrashLoopBackOff or Completed
//	Running, NotReady         a container runs on although another has completed
//	SchedulingGated           held back from scheduling
//	the status's reason       such as Evicted
//	the phase                 Pending, Running, Succeeded, Failed
type podState struct {
	word              string
	ready, containers int
	restarts          int
	lastRestart       metav1.Time
}

func (s *podState) restartsText() string {
	if s.restarts == 0 || s.lastRestart.IsZero() {
		return strconv.Itoa(s.restarts)
	}
	return fmt.Sprintf("%d (%s ago)", s.restarts, ageOf(s.lastRestart))
}

// countRestarts adds those of one container. What counts as the last one is when the container before ended.
func (s *podState) countRestarts(c *corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if last := c.LastTerminationState.Terminated; last != nil && s.lastRestart.Before(&last.FinishedAt) {
		s.lastRestart = last.FinishedAt
	}
}

func stateOf(p *corev1.Pod) podState {
	state := podState{word: string(p.Status.Phase), containers: len(p.Spec.Containers)}
	if p.Status.Reason != "" {
		state.word = p.Status.Reason
	}
	if c := condition(p, corev1.PodScheduled); c != nil && c.Reason == corev1.PodReasonSchedulingGated {
		state.word = corev1.PodReasonSchedulingGated
	}
	sidecars := map[string]bool{}
	for i := range p.Spec.InitContainers {
		c := &p.Spec.InitContainers[i]
		if c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			sidecars[c.Name] = true
			state.containers++
		}
	}
	initializing := state.addInit(p, sidecars)
	if !initializing || isTrue(p, corev1.PodInitialized) {
		state.addContainers(p, sidecars)
	}
	if p.DeletionTimestamp != nil {
		switch {
		case p.Status.Reason == nodeLost:
			state.word = string(corev1.PodUnknown)
		case p.Status.Phase != corev1.PodSucceeded && p.Status.Phase != corev1.PodFailed:
			state.word = "Terminating"
		}
	}
	return state
}

// nodeLost is the status's reason for a Pod whose node no longer answers.
const nodeLost = "NodeLost"

// addInit counts the init containers and says whether one of them still holds the others up.
func (s *podState) addInit(p *corev1.Pod, sidecars map[string]bool) bool {
	for i := range p.Status.InitContainerStatuses {
		c := &p.Status.InitContainerStatuses[i]
		s.countRestarts(c)
		terminated, waiting := c.State.Terminated, c.State.Waiting
		switch {
		case terminated != nil && terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && deref(c.Started):
			if c.Ready {
				s.ready++
			}
			continue
		case terminated != nil:
			s.word = "Init:" + terminatedWord(terminated)
		case waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing":
			s.word = "Init:" + waiting.Reason
		default:
			s.word = fmt.Sprintf("Init:%d/%d", i, len(p.Spec.InitContainers))
		}
		return true
	}
	return false
}

// addContainers counts the containers that the Pod is for. Restarts of init containers are of the past now, except a sidecar's.
func (s *podState) addContainers(p *corev1.Pod, sidecars map[string]bool) {
	s.restarts, s.lastRestart = 0, metav1.Time{}
	for i := range p.Status.InitContainerStatuses {
		if c := &p.Status.InitContainerStatuses[i]; sidecars[c.Name] {
			s.countRestarts(c)
		}
	}
	running := false
	// Backwards, so that the first container that has something to say has the last word.
	for i := len(p.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &p.Status.ContainerStatuses[i]
		s.countRestarts(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.word = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.word = terminatedWord(c.State.Terminated)
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.word == "Completed" && running {
		s.word = "NotReady"
		if isTrue(p, corev1.PodReady) {
			s.word = string(corev1.PodRunning)
		}
	}
}

func terminatedWord(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}

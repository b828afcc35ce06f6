package scheduler

import (
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/dynamic-resource-allocation/resourceclaim"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

func (s *Scheduler) nodeChanged(old, node *corev1.Node) {
	change := plugins.Added
	if old != nil {
		change = nodeChange(old, node)
		if change == 0 && apiequality.Semantic.DeepEqual(old.Status.Images, node.Status.Images) {
			return // a heartbeat
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.snap.SetNode(node)
	if change != 0 {
		s.helped(plugins.Event{Change: change, Node: n}, time.Now())
		s.signal()
	}
}

// nodeChange says what of a node changed that filters look at.
func nodeChange(old, node *corev1.Node) (c plugins.Change) {
	if !maps.Equal(old.Labels, node.Labels) {
		c |= plugins.Labels
	}
	sameTaints := slices.EqualFunc(old.Spec.Taints, node.Spec.Taints, func(a, b corev1.Taint) bool { return a.MatchTaint(&b) && a.Value == b.Value })
	if !sameTaints || old.Spec.Unschedulable != node.Spec.Unschedulable {
		c |= plugins.Taints
	}
	if !apiequality.Semantic.DeepEqual(old.Status.Allocatable, node.Status.Allocatable) {
		c |= plugins.Allocatable
	}
	return c
}

func (s *Scheduler) nodeDeleted(obj any) {
	if node, ok := last(obj).(*corev1.Node); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snap.RemoveNode(node.Name)
		// A domain that is gone is no longer the emptiest one.
		s.helped(plugins.Event{Change: plugins.Removed}, time.Now())
		s.signal()
	}
}

func (s *Scheduler) budgetChanged(budget *policyv1.PodDisruptionBudget) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.SetBudget(budget)
}

func (s *Scheduler) budgetDeleted(obj any) {
	if budget, ok := last(obj).(*policyv1.PodDisruptionBudget); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snap.RemoveBudget(budget.Namespace, budget.Name)
	}
}

func (s *Scheduler) podChanged(old, pod *corev1.Pod) {
	switch {
	case podstate.Finished(pod):
		s.podGone(pod)
		if pod.Status.Phase == corev1.PodSucceeded && pod.DeletionTimestamp == nil {
			s.mu.Lock()
			s.snap.Succeed(pod)
			s.mu.Unlock()
		}
	case pod.Spec.NodeName != "":
		s.podPlaced(pod)
	case s.cores[pod.Spec.SchedulerName] != nil && pod.DeletionTimestamp == nil:
		s.podWaits(old, pod)
	default:
		s.podGone(pod)
	}
}

func (s *Scheduler) podDeleted(obj any) {
	if pod, ok := last(obj).(*corev1.Pod); ok {
		s.podGone(pod)
		s.mu.Lock()
		s.snap.Forget(pod.UID)
		s.mu.Unlock()
	}
}

func (s *Scheduler) podPlaced(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Remove(pod.UID)
	if s.snap.Confirm(pod, pod.Spec.NodeName) {
		return
	}
	p, now := snapshot.NewPod(pod), time.Now()
	// What it was before is gone: its requests may be smaller now, its labels others, and one that is being deleted no longer counts for spreading.
	was, left := s.snap.Lift(pod.UID)
	s.snap.Place(p, pod.Spec.NodeName)
	if left != nil {
		s.helped(plugins.Event{Change: plugins.PodGone, Node: left, Pod: was}, now)
	}
	if n := s.snap.Node(pod.Spec.NodeName); n != nil {
		s.helped(plugins.Event{Change: plugins.PodPlaced, Node: n, Pod: p}, now)
	}
	s.signal()
}

func (s *Scheduler) namespaceChanged(old, ns *corev1.Namespace) {
	if old != nil && maps.Equal(old.Labels, ns.Labels) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.SetNamespace(ns.Name, ns.Labels)
	s.helped(plugins.Event{Change: plugins.Namespaces}, time.Now())
	s.signal()
}

func (s *Scheduler) namespaceDeleted(obj any) {
	if ns, ok := last(obj).(*corev1.Namespace); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.snap.RemoveNamespace(ns.Name)
	}
}

func (s *Scheduler) podWaits(old, pod *corev1.Pod) {
	if len(pod.Spec.SchedulingGates) > 0 {
		s.podGone(pod) // the API server has said so in its condition when it was created
		s.mu.Lock()
		s.gated[pod.UID] = true
		s.mu.Unlock()
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gated, pod.UID)
	if _, _, ok := s.snap.Placed(pod.UID); ok {
		return // a node is chosen and the binding under way
	}
	p := snapshot.NewPod(pod)
	s.queue.Add(p, time.Now())
	if old != nil && !resourceclaim.PodStatusEqual(old.Status.ResourceClaimStatuses, pod.Status.ResourceClaimStatuses) {
		s.queue.Activate(pod.UID, time.Now()) // its claims are there now
	}
	node, before := pod.Status.NominatedNodeName, ""
	if old != nil {
		before = old.Status.NominatedNodeName
	}
	switch {
	case node == "" && before != "" && s.snap.NominatedNode(pod.UID) == before:
		s.withdraw(p, time.Now()) // by somebody else, or by what was written here before it was read again
	case s.snap.NominatedNode(pod.UID) != "":
		s.snap.Nominate(p, s.snap.NominatedNode(pod.UID)) // as it is now
	case node != "" && before != node:
		s.snap.Nominate(p, node) // promised before this process began, or by somebody else
		if old == nil && p.Gang != nil && p.Gang.Key != "" {
			s.turns.Resume(p.Gang.Key, time.Now())
		}
	}
	s.signal()
}

// podGone takes a Pod out that no longer needs or takes a place.
func (s *Scheduler) podGone(pod *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	delete(s.gated, pod.UID)
	if e := s.queue.Remove(pod.UID); e != nil {
		s.withdraw(e.Pod, now)
		s.signal()
	}
	if w := s.volumePods[pod.UID]; w != nil {
		s.forget(w)
		s.release(w)
	}
	if p, n := s.snap.Remove(pod.UID); n != nil {
		s.helped(plugins.Event{Change: plugins.PodGone, Node: n, Pod: p}, now)
		s.signal()
	}
}

package snapshot

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// nomination is the promise of room on a node to a Pod that waits for other Pods to leave it (status.nominatedNodeName).
type nomination struct {
	pod  *Pod
	node string
}

// Nominate promises room on a node to a waiting Pod, in place of what it was promised before.
func (s *Snapshot) Nominate(p *Pod, node string) {
	s.Withdraw(p.Object.UID)
	s.changed()
	s.nominations[p.Object.UID] = &nomination{p, node}
	if n := s.Node(node); n != nil {
		n.nominated = append(n.nominated, p)
	}
}

// Withdraw takes the promise to a Pod back.
func (s *Snapshot) Withdraw(uid types.UID) {
	was := s.nominations[uid]
	if was == nil {
		return
	}
	s.changed()
	delete(s.nominations, uid)
	if n := s.Node(was.node); n != nil {
		n.nominated = slices.DeleteFunc(n.nominated, func(p *Pod) bool { return p.Object.UID == uid })
	}
}

// NominatedNode is the node on which a Pod was promised room; "" for none.
func (s *Snapshot) NominatedNode(uid types.UID) string {
	if was := s.nominations[uid]; was != nil {
		return was.node
	}
	return ""
}

// Nominated are the Pods that were promised room on the node. The slice is the Snapshot's own.
func (n *Node) Nominated() []*Pod { return n.nominated }

// welcome gives a node that comes the promises that were made on it.
func (s *Snapshot) welcome(n *Node) {
	for _, was := range s.nominations {
		if was.node == n.Name() {
			n.nominated = append(n.nominated, was.pod)
		}
	}
}

// Evict marks a placed Pod as making room for another, from when that was decided. It keeps its place until it is gone.
func (s *Snapshot) Evict(uid types.UID) { s.evicted[uid] = true }

// Spare takes the mark of Evict back.
func (s *Snapshot) Spare(uid types.UID) { delete(s.evicted, uid) }

// Evicted says whether a Pod makes room for another: because it was decided here, or because the Pod says so itself and is being deleted.
func (s *Snapshot) Evicted(p *Pod) bool {
	if s.evicted[p.Object.UID] {
		return true
	}
	if p.Object.DeletionTimestamp == nil {
		return false
	}
	for i := range p.Object.Status.Conditions {
		c := &p.Object.Status.Conditions[i]
		if c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler {
			return true
		}
	}
	return false
}

// Announced calls f for every Pod that was marked by Evict and is not seen to be deleted yet: no budget can have counted it.
func (s *Snapshot) Announced(f func(*Pod)) {
	for uid := range s.evicted {
		if at := s.placed[uid]; at != nil && at.pod.Object.DeletionTimestamp == nil {
			f(at.pod)
		}
	}
}

// Below says whether any placed Pod has a lower priority than that.
func (s *Snapshot) Below(priority int32) bool {
	for p := range s.priorities {
		if p < priority {
			return true
		}
	}
	return false
}

// A Trial changes the Snapshot for a question and takes the changes back, in the opposite order.
type Trial struct {
	s       *Snapshot
	version uint64 // when it began
	undo    []func()
}

// Try begins a Trial. Trials may be nested; the inner one ends first.
func (s *Snapshot) Try() *Trial { return &Trial{s: s, version: s.version} }

// Without takes a placed Pod away.
func (t *Trial) Without(uid types.UID) {
	was := t.s.placed[uid]
	t.s.take(was)
	t.undo = append(t.undo, func() { t.s.put(was) })
}

// With puts a Pod on a node as if it had been placed there. A promise that the Pod has stands.
func (t *Trial) With(p *Pod, node string) {
	at := &placement{pod: p, node: node, assumed: true}
	t.s.put(at)
	t.undo = append(t.undo, func() { t.s.take(at) })
}

// Mark is a point to which End can go back.
func (t *Trial) Mark() int { return len(t.undo) }

// Back takes back what was changed since the mark.
func (t *Trial) Back(mark int) {
	for len(t.undo) > mark {
		last := len(t.undo) - 1
		t.undo[last]()
		t.undo = t.undo[:last]
	}
}

// End takes everything back.
func (t *Trial) End() {
	t.Back(0)
	t.s.version = t.version
}

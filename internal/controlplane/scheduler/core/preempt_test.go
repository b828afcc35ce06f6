package core

import (
	"fmt"
	"math/rand/v2"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Whatever the cluster: only Pods of lower priority go, the room is enough, and none of them could have stayed.
func TestRoomThatIsMadeIsEnoughAndNoMoreThanThat(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 23))
	made := 0
	for round := range 5000 {
		s, c := snapshot.New(), New(DefaultProfile())
		nodes := 1 + r.IntN(3)
		for i := range nodes {
			s.SetNode(randomNode(t, r, i))
		}
		for i := range r.IntN(8) {
			p := randomPod(t, r, fmt.Sprintf("p%d", i))
			priority := int32(r.IntN(4))
			p.Spec.Priority = &priority
			s.Place(snapshot.NewPod(p), fmt.Sprintf("n%d", r.IntN(nodes)))
		}
		if r.IntN(2) == 0 {
			s.SetBudget(scheduletest.Budget(t, "web app:web 1"))
		}
		p := randomPod(t, r, "waits")
		priority := int32(2)
		p.Spec.Priority = &priority
		pod := snapshot.NewPod(p)
		d := c.Decide(pod, s)
		if d.Preempts == nil {
			continue
		}
		made++
		fits := func(without map[types.UID]bool) bool {
			trial := s.Try()
			defer trial.End()
			for uid := range without {
				trial.Without(uid)
			}
			if c.prepare(pod, s) != nil {
				return false
			}
			return firstFailing(c.checks, s.Node(d.Preempts.Node)) == nil
		}
		gone := map[types.UID]bool{}
		for _, v := range d.Preempts.Victims {
			gone[v.Object.UID] = true
			if v.Priority >= pod.Priority {
				t.Fatalf("round %d: a Pod of priority %d goes for one of priority %d", round, v.Priority, pod.Priority)
			}
			if node, _, _ := s.Placed(v.Object.UID); node != d.Preempts.Node {
				t.Fatalf("round %d: a Pod on %s goes for room on %s", round, node, d.Preempts.Node)
			}
		}
		if !fits(gone) {
			t.Fatalf("round %d: without %d Pods the Pod still does not fit on %s", round, len(gone), d.Preempts.Node)
		}
		for uid := range gone {
			delete(gone, uid)
			// A Pod that two others could spare may stay if both go; each one by itself has to be needed.
			if fits(gone) && !needsCompany(d.Preempts) {
				t.Fatalf("round %d: %s goes although the Pod fits on %s with it", round, uid, d.Preempts.Node)
			}
			gone[uid] = true
		}
	}
	if made < 100 {
		t.Errorf("room was made in %d rounds only; this test proves nothing", made)
	}
}

func TestAnAnswerThatIsGivenAgainIsTheOneThatWouldBeFound(t *testing.T) {
	r := rand.New(rand.NewPCG(29, 31))
	again := 0
	for round := range 300 {
		s, c := snapshot.New(), New(DefaultProfile())
		nodes := 1 + r.IntN(3)
		for i := range nodes {
			s.SetNode(randomNode(t, r, i))
		}
		var replica *corev1.Pod
		for step := range 30 {
			switch r.IntN(6) {
			case 0:
				p := snapshot.NewPod(randomPod(t, r, fmt.Sprintf("p%d", step%6)))
				s.Place(p, fmt.Sprintf("n%d", r.IntN(nodes)))
			case 1:
				randomEvent(t, r, s, nodes)
			case 2:
				s.Nominate(snapshot.NewPod(randomPod(t, r, "promised")), fmt.Sprintf("n%d", r.IntN(nodes)))
			}
			p := randomPod(t, r, fmt.Sprintf("waits%d", step))
			if r.IntN(2) == 0 {
				priority := int32(5)
				p.Spec.Priority = &priority
			}
			if replica != nil && r.IntN(2) == 0 {
				p = replica.DeepCopy()
				p.UID = types.UID(fmt.Sprint("replica", step))
			}
			replica = p
			pod := snapshot.NewPod(p)
			if _, ok := c.again(pod, s); ok {
				again++
			}
			got, want := c.Decide(pod, s), New(DefaultProfile()).decide(pod, s)
			if got.Message() != want.Message() || got.Filters != want.Filters || (got.Node == "") != (want.Node == "") || (got.Preempts == nil) != (want.Preempts == nil) {
				t.Fatalf("round %d: got %q, %+v; a fresh scheduler says %q, %+v", round, got.Message(), got, want.Message(), want)
			}
		}
	}
	if again < 100 {
		t.Errorf("an answer was given again %d times only; this test proves nothing", again)
	}
}

// needsCompany says whether victims attract each other or the Pod: then putting one back alone is another question than the one that was asked.
func needsCompany(p *Preemption) bool {
	for _, v := range p.Victims {
		if v.Affinity != nil || len(v.Object.Spec.TopologySpreadConstraints) > 0 {
			return true
		}
	}
	return false
}

package snapshot

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
)

// sums is everything a Snapshot adds up.
type sums struct {
	Requested map[string]Resources
	Workloads map[string]map[Workload]int32
	Groups    map[string]int
	PerGroup  map[string]int32
	Ports     map[string]int
	Zones     map[string]map[Workload]int32
	Images    map[string]int
}

func sumsOf(s *Snapshot) sums {
	out := sums{
		Requested: map[string]Resources{}, Workloads: map[string]map[Workload]int32{}, Groups: map[string]int{}, PerGroup: map[string]int32{},
		Ports: map[string]int{}, Zones: map[string]map[Workload]int32{}, Images: s.images,
	}
	for _, n := range s.nodes {
		out.Requested[n.Name()] = n.Requested
		out.Workloads[n.Name()] = n.Workloads
		out.Ports[n.Name()] = len(n.ports)
		for g, c := range n.Groups {
			out.PerGroup[n.Name()+fmt.Sprint(g.Labels)] = c
		}
	}
	for k, g := range s.groups {
		out.Groups[k] = g.pods
	}
	for name, z := range s.zones {
		out.Zones[name] = z.workloads
	}
	return out
}

func TestSumsKeptUpToDateEqualSumsCountedAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	for round := range 200 {
		s := New()
		nodes := map[string]*corev1.Node{}
		pods := map[types.UID]*corev1.Pod{}
		for range 60 {
			switch r.IntN(5) {
			case 0:
				n := &corev1.Node{}
				n.Name = fmt.Sprintf("n%d", r.IntN(4))
				n.Labels = map[string]string{corev1.LabelTopologyZone: string('a' + rune(r.IntN(2)))}
				n.Status.Images = []corev1.ContainerImage{{Names: []string{fmt.Sprintf("i%d", r.IntN(3))}, SizeBytes: 1}}
				nodes[n.Name] = n
				s.SetNode(n)
			case 1:
				name := fmt.Sprintf("n%d", r.IntN(4))
				delete(nodes, name)
				s.RemoveNode(name)
			case 2, 3:
				p := podtest.Line(t, fmt.Sprintf("p%d node=n%d cpu=%dm gpu=%d port=%d owner=ReplicaSet/w%d labels=v:%d",
					r.IntN(8), r.IntN(4), r.IntN(900), r.IntN(2), 80+r.IntN(2), r.IntN(2), r.IntN(2)))
				pods[p.UID] = p
				s.Place(NewPod(p), p.Spec.NodeName)
			case 4:
				uid := types.UID(fmt.Sprintf("uid-p%d", r.IntN(8)))
				delete(pods, uid)
				s.Remove(uid)
			}
		}
		fresh := New()
		for _, n := range nodes {
			fresh.SetNode(n)
		}
		for _, p := range pods {
			fresh.Place(NewPod(p), p.Spec.NodeName)
		}
		got, want := sumsOf(s), sumsOf(fresh)
		zero := cmp.Transformer("withoutZeros", func(r Resources) map[string]int64 {
			m := map[string]int64{"cpu": r.MilliCPU, "memory": r.Memory, "storage": r.Storage, "pods": r.Pods}
			for k, v := range r.Extended {
				if v != 0 {
					m[string(k)] = v
				}
			}
			return m
		})
		if diff := cmp.Diff(want, got, zero, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("round %d (-counted anew +kept up to date):\n%s", round, diff)
		}
	}
}

func TestAnAssumedPodTakesItsPlaceBeforeTheAPIServerSaysSo(t *testing.T) {
	s := New()
	n := &corev1.Node{}
	n.Name = "n1"
	s.SetNode(n)
	p := podtest.Line(t, "web cpu=500m")
	s.Assume(NewPod(p), "n1")
	if got := s.Node("n1").Requested.MilliCPU; got != 500 {
		t.Errorf("%dm are requested, want 500m", got)
	}
	bound := p.DeepCopy()
	bound.Spec.NodeName = "n1"
	if !s.Confirm(bound, "n1") {
		t.Error("what was assumed is not recognised when it is confirmed")
	}
	if _, assumed, _ := s.Placed(p.UID); assumed {
		t.Error("confirmed, and still only assumed")
	}
	if s.Confirm(bound, "n2") {
		t.Error("another node than the one assumed is confirmed")
	}
	if got := s.Node("n1").Requested.MilliCPU; got != 500 {
		t.Errorf("after the confirmation %dm are requested, want 500m", got)
	}
}

func TestPodsOfANodeThatGoesAndComesBackStillCount(t *testing.T) {
	s := New()
	n := &corev1.Node{}
	n.Name = "n1"
	s.SetNode(n)
	s.Place(NewPod(podtest.Line(t, "web node=n1 cpu=500m")), "n1")
	s.RemoveNode("n1")
	if s.Node("n1") != nil || len(s.Nodes()) != 0 {
		t.Error("the node is still there")
	}
	s.SetNode(n)
	if got := s.Node("n1").Requested.MilliCPU; got != 500 {
		t.Errorf("%dm are requested, want 500m", got)
	}
}

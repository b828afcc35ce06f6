package snapshot

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
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
	Domains   map[string]int32 // Pods of a group in a domain
	Nodes     map[string]int32 // nodes of a domain
	Labelled  map[string]int
}

// nameOf also knows the nodes that only Pods speak of.
func (s *Snapshot) nameOf(n *Node) string {
	for name, have := range s.byName {
		if have == n {
			return name
		}
	}
	return "?"
}

func sumsOf(s *Snapshot) sums {
	out := sums{
		Requested: map[string]Resources{}, Workloads: map[string]map[Workload]int32{}, Groups: map[string]int{}, PerGroup: map[string]int32{},
		Ports: map[string]int{}, Zones: map[string]map[Workload]int32{}, Images: s.images,
		Domains: map[string]int32{}, Nodes: map[string]int32{}, Labelled: map[string]int{},
	}
	for _, n := range s.nodes {
		out.Requested[n.Name()] = n.Requested
		out.Workloads[n.Name()] = n.Workloads
		out.Ports[n.Name()] = len(n.ports)
	}
	for ns, groups := range s.groups {
		for k, g := range groups {
			out.Groups[ns+k] = g.pods
			for n, c := range g.nodes {
				out.PerGroup[fmt.Sprint(s.nameOf(n), k)] = c
			}
			for _, t := range s.topologies {
				for d, c := range s.Counts(g, t) {
					out.Domains[fmt.Sprint(t.Key, "=", t.Value(d), k)] = c
				}
			}
		}
		for p, at := range s.labelled[ns] {
			out.Groups[fmt.Sprint(ns, p)] = len(at)
		}
	}
	for kind, in := range map[string]interests{"repelling": s.repelling, "attracting": s.attracting} {
		for alike, i := range in {
			out.Groups[kind+alike] = i.Of.pods
			for _, t := range s.topologies {
				for d, c := range s.Counts(i.Of, t) {
					out.Domains[fmt.Sprint(kind, t.Key, "=", t.Value(d), alike)] = c
				}
			}
		}
	}
	for _, t := range s.topologies {
		out.Labelled[t.Key] = t.Labelled()
		for value, d := range t.ids {
			out.Nodes[t.Key+"="+value] = t.nodes[d]
		}
	}
	for name, z := range s.zones {
		out.Zones[name] = z.workloads
	}
	return out
}

var followed = []string{corev1.LabelTopologyZone, "rack", "nobody-has-it"}

func term(key string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: key, LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"v": "1"}}}
}

var affinities = []*corev1.Affinity{
	nil,
	{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term("rack")}}},
	{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{term("rack")}}},
	{PodAffinity: &corev1.PodAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.WeightedPodAffinityTerm{{Weight: 1, PodAffinityTerm: term("rack")}}}},
}

var withoutZeros = cmp.Transformer("withoutZeros", func(r Resources) map[string]int64 {
	m := map[string]int64{"cpu": r.MilliCPU, "memory": r.Memory, "storage": r.Storage, "pods": r.Pods}
	for k, v := range r.Extended {
		if v != 0 {
			m[string(k)] = v
		}
	}
	return m
})

func TestSumsKeptUpToDateEqualSumsCountedAnew(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 11))
	for round := range 200 {
		s := New()
		nodes := map[string]*corev1.Node{}
		pods := map[types.UID]*corev1.Pod{}
		for range 60 {
			switch r.IntN(6) {
			case 5:
				// From when on a label is followed must make no difference.
				s.Topology(followed[r.IntN(len(followed))])
				sumsOf(s)
			case 0:
				n := &corev1.Node{}
				n.Name = fmt.Sprintf("n%d", r.IntN(4))
				n.Labels = map[string]string{corev1.LabelTopologyZone: string('a' + rune(r.IntN(2)))}
				if r.IntN(3) > 0 {
					n.Labels["rack"] = fmt.Sprint(r.IntN(3))
				}
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
				p.Spec.Affinity = affinities[r.IntN(len(affinities))]
				if r.IntN(5) == 0 {
					p.DeletionTimestamp = &metav1.Time{Time: podtest.Now}
				}
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
		for _, key := range followed {
			s.Topology(key)
			fresh.Topology(key)
		}
		got, want := sumsOf(s), sumsOf(fresh)
		if diff := cmp.Diff(want, got, withoutZeros, cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("round %d (-counted anew +kept up to date):\n%s", round, diff)
		}
	}
}

func TestATrialLeavesNothingBehind(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 17))
	for round := range 100 {
		s := New()
		for i := range 3 {
			n := &corev1.Node{}
			n.Name = fmt.Sprintf("n%d", i)
			n.Labels = map[string]string{corev1.LabelTopologyZone: string('a' + rune(i%2)), "rack": fmt.Sprint(i)}
			s.SetNode(n)
		}
		pod := func(name string) *Pod {
			p := podtest.Line(t, fmt.Sprintf("%s cpu=%dm port=%d owner=ReplicaSet/w labels=v:%d priority=%d", name, r.IntN(900), 80+r.IntN(2), r.IntN(2), r.IntN(3)))
			p.Spec.Affinity = affinities[r.IntN(len(affinities))]
			return NewPod(p)
		}
		for i := range 6 {
			s.Place(pod(fmt.Sprintf("p%d", i)), fmt.Sprintf("n%d", r.IntN(3)))
		}
		for _, key := range followed {
			s.Topology(key)
		}
		before := sumsOf(s)
		trial := s.Try()
		for i := range r.IntN(8) {
			uid := types.UID(fmt.Sprintf("uid-p%d", i%6))
			if _, _, placed := s.Placed(uid); placed && r.IntN(2) == 0 {
				trial.Without(uid)
			} else {
				trial.With(pod(fmt.Sprintf("new%d", i)), fmt.Sprintf("n%d", r.IntN(3)))
			}
			if r.IntN(4) == 0 {
				trial.Back(max(0, trial.Mark()-2))
			}
		}
		trial.End()
		if diff := cmp.Diff(before, sumsOf(s), cmpopts.EquateEmpty(), withoutZeros); diff != "" {
			t.Fatalf("round %d (-before +after):\n%s", round, diff)
		}
	}
}

func TestPromisesAreKeptForANodeThatGoesAndComesBack(t *testing.T) {
	s := New()
	n := &corev1.Node{}
	n.Name = "n1"
	s.SetNode(n)
	p := NewPod(podtest.Line(t, "web"))
	s.Nominate(p, "n1")
	s.RemoveNode("n1")
	if got := len(s.SetNode(n).Nominated()); got != 1 {
		t.Errorf("%d Pods are promised room on the node that came back, want 1", got)
	}
	s.Assume(p, "n1")
	if s.NominatedNode(p.Object.UID) != "" || len(s.Node("n1").Nominated()) != 0 {
		t.Error("a Pod that has its place is still promised one")
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

func TestLabelsThatAnyoneMayNameAreNotAllFollowedForEver(t *testing.T) {
	s := New()
	n := &corev1.Node{}
	n.Name, n.Labels = "n1", map[string]string{"rack": "r1"}
	s.SetNode(n)
	s.Place(NewPod(podtest.Line(t, "web node=n1")), "n1")
	for i := range maxTopologies + 1 {
		s.Topology(fmt.Sprint("label-", i))
	}
	s.Tidy()
	if len(s.topologies) != 0 {
		t.Fatalf("%d labels are followed after tidying up, want none", len(s.topologies))
	}
	s.Select("default", labels.Everything(), func(g *Group) {
		rack := s.Topology("rack")
		want := map[Domain]int32{s.Node("n1").Domain(rack): 1}
		if diff := cmp.Diff(want, s.Counts(g, rack)); diff != "" {
			t.Errorf("Pods per domain (-want +got):\n%s", diff)
		}
	})
}

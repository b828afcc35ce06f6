package plugins

import "github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"

// PodPreference prefers domains by the weights of preferred Pod affinity and anti-affinity: the Pod's own, and those of the Pods that are there.
type PodPreference struct {
	// RequiredWeight is what the required affinity of a Pod that is there counts, when the Pod in question matches it: the two want to be together.
	RequiredWeight int32
}

var _ Score = PodPreference{}

// Name is the score's name.
func (PodPreference) Name() string { return "InterPodAffinity" }

// Prepare adds up the weights per domain.
func (f PodPreference) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	var w weights
	if a := pod.Affinity; a != nil {
		for i := range a.Preferred {
			t := &a.Preferred[i]
			s.GroupsMatching(t, func(g *snapshot.Group) { w.add(s, t.Key, g, t.Weight) })
		}
	}
	s.Attracting(func(i *snapshot.Interest) {
		if !s.Matches(&i.Term, pod) {
			return
		}
		times := i.Term.Weight
		if i.Required {
			times = f.RequiredWeight
		}
		w.add(s, i.Term.Key, i.Of, times)
	})
	if len(w) == 0 {
		return nil
	}
	return w.rating(nodes)
}

// weights are sums per domain, for each label.
type weights []weight

type weight struct {
	topology *snapshot.Topology
	sums     []int64
}

func (w *weights) add(s *snapshot.Snapshot, key string, g *snapshot.Group, times int32) {
	at := len(*w)
	for i := range *w {
		if (*w)[i].topology.Key == key {
			at = i
		}
	}
	if at == len(*w) {
		t := s.Topology(key)
		*w = append(*w, weight{t, make([]int64, t.Size())})
	}
	sums := (*w)[at].sums
	for d, pods := range s.Counts(g, (*w)[at].topology) {
		sums[d] += int64(pods) * int64(times)
	}
}

func (w weights) of(n *snapshot.Node) (sum int64) {
	for i := range w {
		if d := n.Domain(w[i].topology); d != snapshot.NoDomain {
			sum += w[i].sums[d]
		}
	}
	return sum
}

// rating stretches the sums from 0 for the lowest to MaxRating for the highest; nil if they are all the same.
func (w weights) rating(nodes []*snapshot.Node) Rating {
	lowest, highest := w.of(nodes[0]), w.of(nodes[0])
	for _, n := range nodes[1:] {
		v := w.of(n)
		lowest, highest = min(lowest, v), max(highest, v)
	}
	if lowest == highest {
		return nil
	}
	return func(n *snapshot.Node) int64 { return MaxRating * (w.of(n) - lowest) / (highest - lowest) }
}

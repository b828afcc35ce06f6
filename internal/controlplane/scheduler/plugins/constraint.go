package plugins

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// constraint is one topologySpreadConstraint with what was counted for it.
type constraint struct {
	key        string
	maxSkew    int32
	minDomains int32
	selector   labels.Selector
	workload   snapshot.Workload // instead of a selector, in a default constraint: the replicas that the Pod is one of
	self       int32             // 1 if the Pod itself is counted once placed
	affinity   bool              // only nodes that the Pod selects are counted
	taints     bool              // only nodes that the Pod tolerates are counted

	topology *snapshot.Topology
	matching []int32 // Pods per domain; notCounted where no node counts
	lowest   int32
	domains  int32 // how many there are for the Pod
}

// notCounted marks numbers of domains that do not exist for the Pod.
const notCounted = -1

// constraintsOf are those that a Pod has, or else the defaults, if it is one of several replicas.
func constraintsOf(pod *snapshot.Pod, defaults []corev1.TopologySpreadConstraint, mode corev1.UnsatisfiableConstraintAction) []constraint {
	said, workload := pod.Object.Spec.TopologySpreadConstraints, snapshot.Workload("")
	if len(said) == 0 && pod.Workload != "" {
		said, workload = defaults, pod.Workload
	}
	var out []constraint
	for i := range said {
		c := &said[i]
		if c.WhenUnsatisfiable != mode {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil {
			continue // the API server refuses it
		}
		k := constraint{
			key: c.TopologyKey, maxSkew: c.MaxSkew, minDomains: 1, affinity: true,
			selector: snapshot.WithLabelKeys(selector, pod.Object, c.MatchLabelKeys, selection.In), workload: workload,
		}
		if c.MinDomains != nil {
			k.minDomains = *c.MinDomains
		}
		if c.NodeAffinityPolicy != nil {
			k.affinity = *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
		}
		if c.NodeTaintsPolicy != nil {
			k.taints = *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		}
		if k.selects(pod) {
			k.self = 1
		}
		out = append(out, k)
	}
	return out
}

func (c *constraint) selects(pod *snapshot.Pod) bool {
	if c.workload != "" {
		return pod.Workload == c.workload
	}
	return c.selector.Matches(labels.Set(pod.Object.Labels))
}

// groups calls f for all that is counted.
func (c *constraint) groups(namespace string, s *snapshot.Snapshot, f func(*snapshot.Group)) {
	if c.workload != "" {
		s.Replicas(namespace, c.workload, f)
		return
	}
	s.Select(namespace, c.selector, f)
}

// count fills in the matching Pods per domain. Nodes that lack the key of any constraint are in no domain of any.
func count(pod *corev1.Pod, constraints []constraint, s *snapshot.Snapshot) {
	labelled := true // every node has every key
	for i := range constraints {
		c := &constraints[i]
		c.topology = s.Topology(c.key)
		c.matching = make([]int32, c.topology.Size())
		labelled = labelled && c.topology.Labelled() == len(s.Nodes())
	}
	labelled = labelled || len(constraints) == 1
	nodes := eligible{
		selected: NodeAffinity{}.Prepare(&snapshot.Pod{Object: pod}, s), tolerated: taintCheck{pod.Spec.Tolerations}, constraints: constraints,
	}
	for i := range constraints {
		c := &constraints[i]
		var groups []*snapshot.Group
		c.groups(pod.Namespace, s, func(g *snapshot.Group) {
			if !g.Terminating {
				groups = append(groups, g)
			}
		})
		// The sums that the snapshot keeps are right where every node of a domain counts.
		if labelled && !c.taints && (!c.affinity || nodes.selected == nil) {
			c.countDomains(s, groups)
		} else {
			c.countNodes(s, groups, &nodes)
		}
	}
}

func (c *constraint) countDomains(s *snapshot.Snapshot, groups []*snapshot.Group) {
	for d := range c.matching {
		if !c.topology.Exists(snapshot.Domain(d)) {
			c.matching[d] = notCounted
		}
	}
	for _, g := range groups {
		for d, pods := range s.Counts(g, c.topology) {
			c.matching[d] += pods
		}
	}
}

func (c *constraint) countNodes(s *snapshot.Snapshot, groups []*snapshot.Group, nodes *eligible) {
	for d := range c.matching {
		c.matching[d] = notCounted
	}
	for _, n := range s.Nodes() {
		if !nodes.counts(c, n) {
			continue
		}
		m := &c.matching[n.Domain(c.topology)]
		*m = max(*m, 0)
		if len(n.Pods) == 0 {
			continue
		}
		for _, g := range groups {
			*m += g.On(n)
		}
	}
}

// eligible says which nodes count for a Pod.
type eligible struct {
	selected    Check // nil for all
	tolerated   taintCheck
	constraints []constraint
}

func (e *eligible) counts(c *constraint, n *snapshot.Node) bool {
	for i := range e.constraints {
		if n.Domain(e.constraints[i].topology) == snapshot.NoDomain {
			return false
		}
	}
	return (!c.affinity || e.selected == nil || e.selected.Passes(n)) && (!c.taints || e.tolerated.Passes(n))
}

// findLowest sets the count of the emptiest domain, which is 0 while there are fewer domains than minDomains asks for.
func (c *constraint) findLowest() {
	var lowest int32
	for _, m := range c.matching {
		if m == notCounted {
			continue
		}
		if c.domains == 0 || m < lowest {
			lowest = m
		}
		c.domains++
	}
	if c.domains >= c.minDomains {
		c.lowest = lowest
	}
}

// in is how many matching Pods a domain has.
func (c *constraint) in(d snapshot.Domain) int32 { return max(c.matching[d], 0) }

func (c *constraint) passes(n *snapshot.Node) bool {
	d := n.Domain(c.topology)
	return d != snapshot.NoDomain && c.in(d)+c.self-c.lowest <= c.maxSkew
}

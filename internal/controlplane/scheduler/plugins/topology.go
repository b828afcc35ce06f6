package plugins

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// TopologySpread turns away from domains (nodes, zones, …) where the Pod would break a topologySpreadConstraint with whenUnsatisfiable DoNotSchedule.
// The rules are those of the field's own documentation (KEP-895, KEP-3022, KEP-3094, KEP-3243).
type TopologySpread struct{}

var _ Filter = TopologySpread{}

// Name is the filter's name.
func (TopologySpread) Name() string { return "PodTopologySpread" }

// Prepare counts the matching Pods per domain for each constraint.
func (TopologySpread) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	constraints := constraintsOf(pod.Object, corev1.DoNotSchedule)
	if len(constraints) == 0 {
		return nil
	}
	count(pod.Object, constraints, s)
	for i := range constraints {
		constraints[i].findLowest()
	}
	return topologyCheck(constraints)
}

// Helped by whatever changes the domains or the Pods that are counted in them: one Pod less in one domain allows one more in every other.
func (TopologySpread) Helped(pod *snapshot.Pod, e Event) bool {
	if e.Change&(Added|Labels|Taints) != 0 {
		return true
	}
	return e.Pod != nil && e.Pod.Object.Namespace == pod.Object.Namespace
}

type topologyCheck []constraint

func (t topologyCheck) Passes(n *snapshot.Node) bool {
	for i := range t {
		if !t[i].passes(n) {
			return false
		}
	}
	return true
}

func (t topologyCheck) Explain(n *snapshot.Node) []string {
	for i := range t {
		if _, ok := n.Labels[t[i].key]; !ok {
			return []string{"node(s) didn't match pod topology spread constraints (missing required label)"}
		}
	}
	return []string{"node(s) didn't match pod topology spread constraints"}
}

// TopologyPreference prefers domains with few matching Pods, for constraints with whenUnsatisfiable ScheduleAnyway.
type TopologyPreference struct{}

var _ Score = TopologyPreference{}

// Name is the score's name.
func (TopologyPreference) Name() string { return "TopologyPreference" }

// Prepare counts the matching Pods per domain.
func (TopologyPreference) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	constraints := constraintsOf(pod.Object, corev1.ScheduleAnyway)
	if len(constraints) == 0 {
		return nil
	}
	count(pod.Object, constraints, s)
	return fewest(nodes, func(n *snapshot.Node) (sum int64) {
		for i := range constraints {
			c := &constraints[i]
			v, ok := n.Labels[c.key]
			if !ok {
				return unlabelled
			}
			// What is below the tolerated skew is no worse than nothing.
			sum += max(0, int64(c.matching[v])-int64(c.maxSkew)+1)
		}
		return sum
	})
}

// unlabelled is the count of a node that belongs to no domain: more than any other's.
const unlabelled = 1 << 20

// constraint is one topologySpreadConstraint with what was counted for it.
type constraint struct {
	key        string
	maxSkew    int32
	minDomains int32
	selector   labels.Selector
	self       int32             // 1 if the Pod itself is counted once placed
	affinity   bool              // only nodes that the Pod selects are counted
	taints     bool              // only nodes that the Pod tolerates are counted
	groups     []*snapshot.Group // that the selector matches
	matching   map[string]int32  // Pods per domain
	lowest     int32
}

func constraintsOf(pod *corev1.Pod, mode corev1.UnsatisfiableConstraintAction) []constraint {
	var out []constraint
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != mode {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil {
			continue // the API server refuses it
		}
		for _, k := range c.MatchLabelKeys {
			if v, ok := pod.Labels[k]; ok {
				if r, err := labels.NewRequirement(k, "in", []string{v}); err == nil {
					selector = selector.Add(*r)
				}
			}
		}
		k := constraint{key: c.TopologyKey, maxSkew: c.MaxSkew, minDomains: 1, selector: selector, affinity: true, matching: map[string]int32{}}
		if c.MinDomains != nil {
			k.minDomains = *c.MinDomains
		}
		if c.NodeAffinityPolicy != nil {
			k.affinity = *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor
		}
		if c.NodeTaintsPolicy != nil {
			k.taints = *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor
		}
		if selector.Matches(labels.Set(pod.Labels)) {
			k.self = 1
		}
		out = append(out, k)
	}
	return out
}

// count fills in the matching Pods per domain. Nodes that lack the key of any constraint are in no domain of any.
func count(pod *corev1.Pod, constraints []constraint, s *snapshot.Snapshot) {
	s.Groups(pod.Namespace, func(g *snapshot.Group) {
		for i := range constraints {
			if constraints[i].selector.Matches(labels.Set(g.Labels)) {
				constraints[i].groups = append(constraints[i].groups, g)
			}
		}
	})
	affinity := NodeAffinity{}.Prepare(&snapshot.Pod{Object: pod}, s)
	for _, n := range s.Nodes() {
		if slices.ContainsFunc(constraints, func(c constraint) bool { _, ok := n.Labels[c.key]; return !ok }) {
			continue
		}
		selected := affinity == nil || affinity.Passes(n)
		tolerated := len(n.Taints) == 0 || taintCheck{pod.Spec.Tolerations}.Passes(n)
		for i := range constraints {
			c := &constraints[i]
			if c.affinity && !selected || c.taints && !tolerated {
				continue
			}
			c.matching[n.Labels[c.key]] += c.on(n)
		}
	}
}

// on counts the matching Pods of one node.
func (c *constraint) on(n *snapshot.Node) (sum int32) {
	if len(n.Groups) == 0 {
		return 0
	}
	for _, g := range c.groups {
		sum += n.Groups[g]
	}
	return sum
}

// findLowest sets the count of the emptiest domain, which is 0 while there are fewer domains than minDomains asks for.
func (c *constraint) findLowest() {
	if int32(len(c.matching)) < c.minDomains {
		return
	}
	first := true
	for _, m := range c.matching {
		if first || m < c.lowest {
			c.lowest, first = m, false
		}
	}
}

func (c *constraint) passes(n *snapshot.Node) bool {
	v, ok := n.Labels[c.key]
	return ok && c.matching[v]+c.self-c.lowest <= c.maxSkew
}

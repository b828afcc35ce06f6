package plugins

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// TopologySpread turns away from domains (nodes, zones, …) where the Pod would break a topologySpreadConstraint with whenUnsatisfiable DoNotSchedule.
// The rules are those of the field's own documentation (KEP-895, KEP-3022, KEP-3094, KEP-3243).
//
// Defaults are for Pods without constraints of their own; what is counted is the Pod's workload then.
type TopologySpread struct {
	Defaults []corev1.TopologySpreadConstraint
}

var _ Filter = TopologySpread{}

// Name is the filter's name.
func (TopologySpread) Name() string { return "PodTopologySpread" }

// Prepare counts the matching Pods per domain for each constraint.
func (t TopologySpread) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	constraints := constraintsOf(pod, t.Defaults, corev1.DoNotSchedule)
	if len(constraints) == 0 {
		return nil
	}
	count(pod.Object, constraints, s)
	for i := range constraints {
		constraints[i].findLowest()
	}
	return topologyCheck(constraints)
}

// Concerns are nearly all changes.
func (TopologySpread) Concerns() Change {
	return Added | Labels | Taints | Removed | PodGone | PodPlaced
}

// Helped by whatever changes the domains or the Pods that are counted in them: one Pod less in one domain allows one more there, and one more in the
// emptiest allows one more in every other.
func (t TopologySpread) Helped(pod *snapshot.Pod, e Event) bool {
	if e.Change&(Added|Labels|Taints|Removed) != 0 {
		return true
	}
	if e.Pod == nil || e.Pod.Object.Namespace != pod.Object.Namespace {
		return false
	}
	for _, c := range constraintsOf(pod, t.Defaults, corev1.DoNotSchedule) {
		if c.selects(e.Pod) {
			return true
		}
	}
	return false
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
		if n.Domain(t[i].topology) == snapshot.NoDomain {
			return []string{"node(s) didn't match pod topology spread constraints (missing required label)"}
		}
	}
	return []string{"node(s) didn't match pod topology spread constraints"}
}

func (t topologyCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	for i := range t {
		c := &t[i]
		d := n.Domain(c.topology)
		switch {
		case d == snapshot.NoDomain:
			out = append(out, fmt.Sprintf("topologySpreadConstraints ask for a label %s, the node has none: kubectl label node %s %s=…", c.key, n.Name(), c.key))
		case !c.passes(n):
			skew := c.in(d) + c.self - c.lowest
			what := "the emptiest domain has"
			if c.domains < c.minDomains {
				what = fmt.Sprintf("with fewer than minDomains %d domains the emptiest counts as", c.minDomains)
			}
			out = append(out, fmt.Sprintf("%s=%s has %d matching Pods, %s %d: maxSkew is %d, %d would allow it; or make room in another domain",
				c.key, c.topology.Value(d), c.in(d), what, c.lowest, c.maxSkew, skew))
		}
	}
	return out
}

// Lasting where the node is in no domain.
func (t topologyCheck) Lasting(n *snapshot.Node) bool {
	for i := range t {
		if n.Domain(t[i].topology) == snapshot.NoDomain {
			return true
		}
	}
	return false
}

// TopologyPreference prefers domains with few matching Pods, for constraints with whenUnsatisfiable ScheduleAnyway.
// Defaults are as in TopologySpread.
type TopologyPreference struct {
	Defaults []corev1.TopologySpreadConstraint
}

var _ Score = TopologyPreference{}

// Name is the score's name.
func (TopologyPreference) Name() string { return "PodTopologySpread" }

// Prepare counts the matching Pods per domain.
func (t TopologyPreference) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot, nodes []*snapshot.Node) Rating {
	constraints := constraintsOf(pod, t.Defaults, corev1.ScheduleAnyway)
	if len(constraints) == 0 {
		return nil
	}
	count(pod.Object, constraints, s)
	crowd := func(n *snapshot.Node) (sum int64) {
		for i := range constraints {
			c := &constraints[i]
			d := n.Domain(c.topology)
			if d == snapshot.NoDomain {
				return unlabelled
			}
			// What is below the tolerated skew is no worse than nothing.
			sum += max(0, int64(c.in(d))-int64(c.maxSkew)+1)
		}
		return sum
	}
	// A node that is in no domain is the worst of all, whatever the others have: it does not enter the scale.
	byCrowd := fewest(nodes, func(n *snapshot.Node) int64 { return max(0, crowd(n)) })
	return func(n *snapshot.Node) int64 {
		switch {
		case crowd(n) == unlabelled:
			return 0
		case byCrowd == nil:
			return MaxRating
		}
		return byCrowd(n)
	}
}

// unlabelled is the crowd of a node that belongs to no domain.
const unlabelled = -1

package why

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// State is what a Pod's scheduling has come to.
type State string

// States.
const (
	Waits    State = "Waits"    // it has no node
	Placed   State = "Placed"   // it has one
	Gated    State = "Gated"    // its gates hold it
	Foreign  State = "Foreign"  // another scheduler's
	Finished State = "Finished" // it has ended
	Deleted  State = "Deleted"  // it is being deleted and will get no node
)

// Report is the answer.
type Report struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	State     State  `json:"state"`
	Scheduler string `json:"schedulerName"`
	Priority  int32  `json:"priority"`
	Node      string `json:"node,omitempty"`     // where it is
	Promised  string `json:"promised,omitempty"` // where room is being made for it
	Says      string `json:"says,omitempty"`     // what its condition PodScheduled says
	// NeverPreempts says that it takes nobody's place, whatever its priority.
	NeverPreempts bool `json:"neverPreempts,omitempty"`
	// Hints are about the Pod as a whole, one sentence each.
	Hints []string `json:"hints,omitempty"`
	Nodes []Node   `json:"nodes,omitempty"` // those that come closest first; of a placed Pod those with most points
}

// Node is how the Pod and one node get on, as things are now and without the Pod itself.
type Node struct {
	Name     string    `json:"name"`
	Fits     bool      `json:"fits"`
	Points   int64     `json:"points"` // only where it fits
	Scores   []Score   `json:"scores,omitempty"`
	Failures []Failure `json:"failures,omitempty"`
	Room     *Room     `json:"room,omitempty"`
}

// Score is the points of one score, times its weight.
type Score struct {
	Name   string `json:"name"`
	Points int64  `json:"points"`
}

// Failure is why one filter turns the node away.
type Failure struct {
	Filter   string   `json:"filter"`
	Reasons  []string `json:"reasons"`
	Remedies []string `json:"remedies"`
}

// Room is what would have to go from the node for the Pod to fit.
type Room struct {
	Pods           []string `json:"pods"`
	AgainstBudgets int      `json:"againstBudgets,omitempty"` // how many of them a PodDisruptionBudget would keep
	// Priority is the lowest with which the Pod could take their place. It is above the Pod's own if the Pod cannot now.
	Priority int64 `json:"priority"`
}

// Ask answers for one Pod.
func Ask(pod *corev1.Pod, w *World, config profile.Config) Report {
	p := snapshot.NewPod(pod)
	r := Report{
		Namespace: pod.Namespace, Name: pod.Name, Scheduler: pod.Spec.SchedulerName, Priority: p.Priority, Node: pod.Spec.NodeName, Promised: pod.Status.NominatedNodeName,
	}
	if c := podstate.Condition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse {
		r.Says = c.Message
	}
	prof, known := config.Profiles[pod.Spec.SchedulerName]
	r.State = stateOf(pod, known)
	switch r.State {
	case Finished:
		r.hint("it has ended (%s): what has ended needs no node", pod.Status.Phase)
		return r
	case Deleted:
		r.hint("it is being deleted, and gets no node any more")
		return r
	case Gated:
		var gates []string
		for _, g := range pod.Spec.SchedulingGates {
			gates = append(gates, g.Name)
		}
		r.hint("its scheduling gates hold it (%s): whoever set them has to remove them", strings.Join(gates, ", "))
	case Foreign:
		r.hint("spec.schedulerName %q has no profile here (%s): a scheduler of that name has to run, or a profile of that name to be configured",
			pod.Spec.SchedulerName, strings.Join(sortedNames(config), ", "))
		prof = core.DefaultProfile()
	case Placed:
		w.Snapshot.Lift(pod.UID)
	}
	c := core.New(prof)
	for _, v := range c.Verdicts(p, w.Snapshot) {
		r.Nodes = append(r.Nodes, node(c, p, w.Snapshot, v))
	}
	slices.SortFunc(r.Nodes, func(a, b Node) int {
		return cmp.Or(cmp.Compare(len(a.Failures), len(b.Failures)), cmp.Compare(b.Points, a.Points), rooms(a)-rooms(b), cmp.Compare(a.Name, b.Name))
	})
	if r.State == Waits {
		r.waits(p, w, c, prof)
	}
	return r
}

func stateOf(pod *corev1.Pod, known bool) State {
	switch {
	case podstate.Finished(pod):
		return Finished
	case pod.Spec.NodeName != "":
		return Placed
	case pod.DeletionTimestamp != nil:
		return Deleted
	case len(pod.Spec.SchedulingGates) > 0:
		return Gated
	case !known:
		return Foreign
	}
	return Waits
}

func sortedNames(config profile.Config) (out []string) {
	for name := range config.Profiles {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

func (r *Report) hint(format string, args ...any) {
	r.Hints = append(r.Hints, fmt.Sprintf(format, args...))
}

// rooms sorts nodes where room can be made before the others.
func rooms(n Node) int {
	if n.Room == nil {
		return 1
	}
	return 0
}

func node(c *core.Scheduler, p *snapshot.Pod, s *snapshot.Snapshot, v core.Verdict) Node {
	out := Node{Name: v.Node, Fits: len(v.Failures) == 0, Points: v.Total}
	for _, x := range v.Ratings {
		out.Scores = append(out.Scores, Score{x.Score, x.Value})
	}
	lasting := false
	for _, f := range v.Failures {
		out.Failures = append(out.Failures, Failure{f.Filter, f.Reasons, f.Remedies})
		lasting = lasting || f.Lasting
	}
	if out.Fits || lasting {
		return out
	}
	// What a Pod of the highest priority would have to take away is what has to go, whatever this one's is.
	if room := c.Room(p, math.MaxInt32, s, v.Node); room != nil && len(room.Victims) > 0 {
		out.Room = &Room{AgainstBudgets: room.Violations, Priority: math.MinInt32}
		for _, victim := range room.Victims {
			out.Room.Pods = append(out.Room.Pods, victim.Object.Namespace+"/"+victim.Object.Name)
			out.Room.Priority = max(out.Room.Priority, int64(victim.Priority)+1)
		}
	}
	return out
}

// waits adds what can be said about a Pod that has no node though it might.
func (r *Report) waits(p *snapshot.Pod, w *World, c *core.Scheduler, prof core.Profile) {
	if len(r.Nodes) == 0 {
		r.hint("there are no nodes: let one join (gitopsd token)")
		return
	}
	if g := p.Gang; g != nil {
		r.gang(p, w, c)
	}
	if r.Promised != "" {
		r.hint("room is being made for it on %s: it waits for Pods there to end", r.Promised)
	}
	if fits := slices.IndexFunc(r.Nodes, func(n Node) bool { return n.Fits }); fits >= 0 && p.Gang == nil {
		r.hint("it fits on %s as things are now: the scheduler looks at it again within seconds, if it runs", r.Nodes[fits].Name)
	} else if when := again(r.Nodes, prof.Filters); when != "" {
		r.hint("%s", when)
	}
	if policy := p.Object.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		r.NeverPreempts = true
		r.hint("it never takes the place of others, whatever its priority (preemptionPolicy Never)")
	} else if prof.NeverPreempt {
		r.NeverPreempts = true
		r.hint("its profile lets no Pod take the place of others (DefaultPreemption is disabled)")
	}
}

func (r *Report) gang(p *snapshot.Pod, w *World, c *core.Scheduler) {
	g := p.Gang
	if g.Fault != "" {
		r.hint("%s", g.Fault)
		return
	}
	var waiting []*snapshot.Pod
	for _, q := range w.Waiting {
		if q.Gang != nil && q.Gang.Key == g.Key {
			waiting = append(waiting, q)
		}
	}
	have := w.Snapshot.GangPlaced(g.Key)
	if have+len(waiting) < g.Minimum {
		r.hint("%d Pods of its gang have to be placed together; %d have their place and %d wait: %d have still to be created, or to lose their gates",
			g.Minimum, have, len(waiting), g.Minimum-have-len(waiting))
		return
	}
	var keep []string // what the scheduler keeps for it, if it is its turn
	if slices.ContainsFunc(waiting, func(q *snapshot.Pod) bool { return w.Snapshot.NominatedNode(q.Object.UID) != "" }) {
		keep = c.PlanGang(waiting, have, g.Minimum, w.Snapshot)
	}
	for i, d := range c.DecideGang(waiting, have, g.Minimum, keep, w.Snapshot) {
		if waiting[i].Object.UID != p.Object.UID || d.Node != "" {
			continue
		}
		if d.Message() != r.Says {
			r.hint("%s", d.Message())
		}
		r.hint("the nodes below are asked about this Pod alone; it gets a place once all do")
	}
}

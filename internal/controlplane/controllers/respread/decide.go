package respread

import (
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// Pace is how soon, how often and for how long Pods are moved for a node that has come.
type Pace struct {
	Settle time.Duration // how long a node has to be usable first: one that comes and goes is not worth it
	Pause  time.Duration // between two looks at the cluster, which cost time for each of its Pods
	Fresh  time.Duration // after which a node is one like any other
}

// DefaultPace is that of a control plane.
var DefaultPace = Pace{Settle: time.Minute, Pause: 5 * time.Second, Fresh: time.Hour}

// atOnce is how many workloads may have a Pod on the move.
const atOnce = 4

// Observed is everything a decision rests on.
type Observed struct {
	Pods     []*corev1.Pod        // those that opted in
	Usable   map[string]time.Time // since when each node takes Pods; those that do not are not in it
	Moving   map[snapshot.Workload]int
	Snapshot func() *snapshot.Snapshot // the cluster; only asked for when a Pod might be moved, and changed by Decide
	Config   profile.Config
	Pace     Pace
	Now      time.Time
}

// Move is a Pod that would be better off.
type Move struct {
	Pod      *corev1.Pod
	Workload snapshot.Workload
	Replicas int    // how many its workload has, with it
	To       string // where the scheduler would put it now
}

// Actions is what is to be done now.
type Actions struct {
	Evict   []Move
	Recheck time.Duration // when to look again without an event; 0 never
}

// Asks says whether a Pod's owner wants it spread again.
func Asks(p *corev1.Pod) bool { return p.Annotations[v1alpha1.AnnotationSpreadAgain] == "true" }

// Decide chooses Pods to evict: at most one of each workload, of workloads that are whole.
func Decide(o Observed) Actions {
	var a Actions
	workloads := map[snapshot.Workload][]*snapshot.Pod{}
	for _, p := range o.Pods {
		if !podstate.Finished(p) {
			s := snapshot.NewPod(p)
			workloads[s.Workload] = append(workloads[s.Workload], s)
		}
	}
	delete(workloads, "") // nobody would make new ones
	names := make([]snapshot.Workload, 0, len(workloads))
	for w := range workloads {
		names = append(names, w)
	}
	slices.Sort(names)
	var s *snapshot.Snapshot
	for _, w := range names {
		if len(o.Moving)+len(a.Evict) >= atOnce {
			break
		}
		pods := workloads[w]
		if _, moving := o.Moving[w]; moving || !whole(pods) {
			continue // the events of its Pods bring the next look
		}
		var candidates []candidate
		for _, p := range pods {
			to, wait := o.newer(p.Object)
			if wait > 0 && (a.Recheck == 0 || wait < a.Recheck) {
				a.Recheck = wait
			}
			if prof, ok := o.Config.Profiles[p.Object.Spec.SchedulerName]; ok && len(to) > 0 && p.Gang == nil {
				candidates = append(candidates, candidate{p, to, prof})
			}
		}
		if len(candidates) == 0 {
			continue
		}
		if s == nil {
			s = o.Snapshot()
		}
		if p, to := best(candidates, s); p != nil {
			a.Evict = append(a.Evict, Move{p.Object, w, len(pods), to})
			s.Lift(p.Object.UID) // the next workloads are asked with this Pod where it is going
			s.Place(p, to)
		}
	}
	return a
}

// whole says that all Pods of a workload run and are ready.
func whole(pods []*snapshot.Pod) bool {
	return !slices.ContainsFunc(pods, func(p *snapshot.Pod) bool {
		return p.Object.Spec.NodeName == "" || p.Object.DeletionTimestamp != nil || !podstate.Ready(p.Object)
	})
}

// newer are the nodes that came after a Pod was given its place, and the time until the next one has been there for long enough.
func (o Observed) newer(p *corev1.Pod) (nodes map[string]bool, wait time.Duration) {
	placed := podstate.Condition(p, corev1.PodScheduled)
	if placed == nil || placed.Status != corev1.ConditionTrue {
		return nil, 0
	}
	for name, since := range o.Usable {
		if name == p.Spec.NodeName || !since.After(placed.LastTransitionTime.Time) || o.Now.Sub(since) > o.Pace.Fresh {
			continue
		}
		if left := since.Add(o.Pace.Settle).Sub(o.Now); left > 0 {
			if wait == 0 || left < wait {
				wait = left
			}
			continue
		}
		if nodes == nil {
			nodes = map[string]bool{}
		}
		nodes[name] = true
	}
	return nodes, wait
}

type candidate struct {
	pod     *snapshot.Pod
	to      map[string]bool
	profile core.Profile
}

// best is the Pod that gains most by being placed anew, and where it would be; nil for none.
func best(candidates []candidate, s *snapshot.Snapshot) (pod *snapshot.Pod, to string) {
	slices.SortFunc(candidates, func(a, b candidate) int { return strings.Compare(a.pod.Object.Name, b.pod.Object.Name) })
	most := int64(0)
	for _, c := range candidates {
		uid := c.pod.Object.UID
		placed, from := s.Lift(uid)
		if from == nil {
			continue // the cluster has changed since
		}
		if name, gain := better(core.New(c.profile).Verdicts(c.pod, s), from.Name(), c.to); gain > most {
			pod, to, most = c.pod, name, gain
		}
		s.Place(placed, from.Name())
	}
	return pod, to
}

// spreading are the plugins that say how Pods are to be spread.
var spreading = []string{plugins.WorkloadSpread{}.Name(), plugins.TopologyPreference{}.Name(), plugins.PodPreference{}.Name()}

// better is the node that the scheduler would choose, if that is one of to and spreads the Pods better than where the Pod is; more room alone is no reason.
func better(verdicts []core.Verdict, from string, to map[string]bool) (node string, gain int64) {
	var own, top *core.Verdict
	for i := range verdicts {
		v := &verdicts[i]
		if v.Node == from {
			own = v
		}
		if len(v.Failures) == 0 && (top == nil || v.Total > top.Total || v.Total == top.Total && to[v.Node] && !to[top.Node]) {
			top = v
		}
	}
	switch {
	case own == nil || top == nil || !to[top.Node]:
		return "", 0
	case len(own.Failures) > 0:
		// Its own place is forbidden by now. If it is so for the sake of spreading, that is what is to be mended; of anything else, such as a cordon, others decide.
		name := plugins.TopologySpread{}.Name()
		if slices.ContainsFunc(own.Failures, func(f core.Failure) bool { return f.Filter != name }) {
			return "", 0
		}
		return top.Node, math.MaxInt64
	case spread(top) <= spread(own):
		return "", 0
	}
	return top.Node, top.Total - own.Total
}

func spread(v *core.Verdict) (sum int64) {
	for _, r := range v.Ratings {
		if slices.Contains(spreading, r.Score) {
			sum += r.Value
		}
	}
	return sum
}

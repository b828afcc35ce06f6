package core

import (
	"fmt"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// DecideGang chooses nodes for the waiting Pods of a gang at once, or for none of them: at least minimum have to have a place, of which have have it already.
// Where room has to be made for some, none is placed yet, and the others are promised the place that was found for them.
//
// Nothing is kept for a gang that cannot be placed, so that two gangs that need the same room never hold half of it against each other; unless it is this one's turn.
// Then keep has the node of each Pod that is to become free for it, as PlanGang found them, and these are promised.
func (c *Scheduler) DecideGang(pods []*snapshot.Pod, have, minimum int, keep []string, s *snapshot.Snapshot) []Decision {
	out := make([]Decision, len(pods))
	places := make([]string, len(pods))
	t := s.Try()
	defer t.End()
	placed, waits := have, false
	var lacking Result // of the last Pod that was turned away, with the filters of all
	for i, p := range pods {
		d := c.Decide(p, s)
		out[i], places[i] = d, d.Node
		switch {
		case d.Awaits:
			waits = true
			places[i] = s.NominatedNode(p.Object.UID)
		case d.Preempts != nil:
			waits = true
			places[i] = d.Preempts.Node
			for _, v := range d.Preempts.Victims {
				t.Without(v.Object.UID)
			}
		case d.Node == "":
			filters := lacking.Filters | d.Filters
			lacking = d.Result
			lacking.Filters = filters
			continue
		}
		t.With(p, places[i])
		placed++
	}
	switch {
	case placed < minimum:
		kept := ""
		if keep != nil {
			kept = ", and room is kept for all of them"
		}
		lacking.Gang = fmt.Sprintf("%d of the %d Pods that have to be placed together can be%s, the next cannot: ", placed, minimum, kept)
		for i := range out {
			d := Decision{Result: lacking, Frees: out[i].Frees}
			if keep != nil && keep[i] != "" {
				d.Promised, d.Frees = keep[i], nil // it can be where its devices are
			}
			out[i] = d
		}
	case waits:
		for i := range out {
			if out[i].Node != "" {
				out[i] = Decision{
					Result:   Result{Nodes: len(s.Nodes()), Refused: "room is being made for other Pods of its gang", Filters: Incomplete},
					Promised: places[i],
				}
			}
		}
	}
	return out
}

// PlanGang says where the waiting Pods of a gang could go if all Pods left that end by themselves, "" for those beyond the minimum that could go nowhere. It is nil if too
// few could: room that others never leave is not worth waiting for. What a Pod was promised before it keeps.
func (c *Scheduler) PlanGang(pods []*snapshot.Pod, have, minimum int, s *snapshot.Snapshot) []string {
	t := s.Try()
	defer t.End()
	for _, p := range s.Ending() {
		t.Without(p.Object.UID)
	}
	places := make([]string, len(pods))
	for i, p := range pods {
		if places[i] = s.NominatedNode(p.Object.UID); s.Node(places[i]) == nil {
			places[i] = c.Schedule(p, s).Node
		}
		if places[i] != "" {
			t.With(p, places[i])
			have++
		}
	}
	if have < minimum {
		return nil
	}
	return places
}

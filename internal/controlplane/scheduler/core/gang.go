package core

import (
	"fmt"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// DecideGang chooses nodes for the waiting Pods of a gang at once, or for none of them: at least minimum have to have a place, of which have have it already.
// Where room has to be made for some, none is placed yet, and the others are promised the place that was found for them.
//
// Nothing is kept for a gang that cannot be placed: two gangs that need the same room never hold half of it against each other.
func (c *Scheduler) DecideGang(pods []*snapshot.Pod, have, minimum int, s *snapshot.Snapshot) []Decision {
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
		lacking.Gang = fmt.Sprintf("%d of the %d Pods that have to be placed together can be, the next cannot: ", placed, minimum)
		for i := range out {
			out[i] = Decision{Result: lacking}
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

package scheduler

import (
	"context"
	"fmt"
	"time"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/core"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// gang decides about a Pod together with all others of its gang that wait, and returns the API calls. s.mu is held.
func (s *Scheduler) gang(ctx context.Context, e *queue.Entry, now time.Time) []call {
	g := e.Pod.Gang
	if g.Fault != "" {
		return s.act(ctx, e, s.refused(g.Fault), now)
	}
	if until := e.Patience(); !until.IsZero() && !until.After(now) {
		return s.act(ctx, e, s.core(e).Decide(e.Pod, s.snap), now)
	}
	have := s.snap.GangPlaced(g.Key)
	if have+s.queue.Gang(g.Key)+1 < g.Minimum {
		s.queue.Hold(e, now)
		d := s.refused(fmt.Sprintf("%d Pods have to be placed together, and not all of them are there yet", g.Minimum))
		report := pending{pod: e.Pod.Object, message: d.Message(), nominated: s.snap.NominatedNode(e.Pod.Object.UID)}
		return []call{{report.pod.UID, func() { s.reportPending(ctx, report) }}}
	}
	entries := append([]*queue.Entry{e}, s.queue.TakeGang(g.Key)...)
	pods := make([]*snapshot.Pod, len(entries))
	for i, m := range entries {
		pods[i], m.Popped = m.Pod, now
	}
	d := s.core(e).DecideGang(pods, have, g.Minimum, s.snap)
	var calls []call
	for i, m := range entries {
		calls = append(calls, s.act(ctx, m, d[i], now)...)
	}
	return calls
}

// refused is the decision about a Pod that no node is asked about.
func (s *Scheduler) refused(why string) core.Decision {
	return core.Decision{Result: core.Result{Nodes: len(s.snap.Nodes()), Refused: why, Filters: core.Incomplete}}
}

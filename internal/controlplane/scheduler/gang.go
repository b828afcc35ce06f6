package scheduler

import (
	"context"
	"fmt"
	"slices"
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
	d := s.decideGang(entries, pods, have, now)
	var calls []call
	for i, m := range entries {
		calls = append(calls, s.act(ctx, m, d[i], now)...)
	}
	return calls
}

// decideGang decides about the waiting Pods of one gang, and whose turn it is to have room kept. s.mu is held.
func (s *Scheduler) decideGang(entries []*queue.Entry, pods []*snapshot.Pod, have int, now time.Time) []core.Decision {
	c, g := s.core(entries[0]), pods[0].Gang
	d := c.DecideGang(pods, have, g.Minimum, nil, s.snap)
	if d[0].Gang == "" {
		s.turns.End(g.Key)
		return d
	}
	// Nobody waits any more in the queue but the others: these Pods have been taken out.
	since := slices.MinFunc(entries, func(a, b *queue.Entry) int { return a.Since.Compare(b.Since) }).Since
	waits := func(gang string) bool { return s.queue.Gang(gang) > 0 }
	if !s.turns.Has(g.Key, now) && !s.turns.Take(g.Key, since, now, waits) {
		return d
	}
	keep := c.PlanGang(pods, have, g.Minimum, s.snap)
	if keep == nil {
		s.turns.End(g.Key)
		return d
	}
	return c.DecideGang(pods, have, g.Minimum, keep, s.snap)
}

// refused is the decision about a Pod that no node is asked about.
func (s *Scheduler) refused(why string) core.Decision {
	return core.Decision{Result: core.Result{Nodes: len(s.snap.Nodes()), Refused: why, Filters: core.Incomplete}}
}

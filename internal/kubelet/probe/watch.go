package probe

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Kind of a probe.
type Kind string

// The kinds, as events name them.
const (
	Startup   Kind = "Startup"
	Readiness Kind = "Readiness"
	Liveness  Kind = "Liveness"
)

// Listener is told what probes find. Its methods are called from several goroutines.
type Listener interface {
	// Judged tells that a judgement changed: started, ready or not ready; or that a liveness or startup probe failed for good.
	Judged(kind Kind, ok bool, message string)
	// Checked tells that a check was made, whether or not its result counts.
	Checked(kind Kind, ok bool, took time.Duration)
	// Failed tells of one failed check.
	Failed(kind Kind, message string)
}

// earliest is the pause before a container that does not listen yet is asked again; it doubles up to the probe's period. Those extra
// checks do not count as failures, so a program that starts in 30 ms is found ready after 30 ms and not after a whole period.
const earliest = 10 * time.Millisecond

// Known is what was found out about a container before, by an earlier daemon; zero for one that has just started.
type Known struct {
	Running        time.Duration // for how long
	Started, Ready bool
}

// Watch asks a running container until ctx ends.
func Watch(ctx context.Context, t Target, k Known, l Listener) {
	c := t.Container
	if c.StartupProbe != nil && !k.Started {
		if !watchOne(ctx, Startup, c.StartupProbe, t, k, l) {
			return
		}
	}
	var wg sync.WaitGroup
	if c.LivenessProbe != nil {
		wg.Go(func() { watchOne(ctx, Liveness, c.LivenessProbe, t, k, l) })
	}
	if c.ReadinessProbe != nil {
		wg.Go(func() { watchOne(ctx, Readiness, c.ReadinessProbe, t, k, l) })
	}
	wg.Wait()
}

// watchOne runs one probe; a startup probe ends with its first success, which is what it returns.
func watchOne(ctx context.Context, kind Kind, p *v1.Probe, t Target, k Known, l Listener) bool {
	count := Counter{Success: int(p.SuccessThreshold), Failure: int(p.FailureThreshold), OK: kind == Liveness || kind == Readiness && k.Ready}
	wait := max(time.Duration(p.InitialDelaySeconds)*time.Second-k.Running, 0)
	if k.Running > time.Minute {
		// After a restart of the daemon all probes of a node would start together.
		wait = rand.N(period(p))
	}
	soon, first := earliest, k.Running == 0
	timer := time.NewTimer(wait)
	defer timer.Stop()
	due := time.Now().Add(wait) // of the next check that counts
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
		}
		one, cancel := context.WithTimeout(ctx, timeout(p))
		began := time.Now()
		r := Check(one, p.ProbeHandler, t)
		cancel()
		if ctx.Err() != nil {
			return false
		}
		l.Checked(kind, r.OK, time.Since(began))
		counts := !time.Now().Before(due)
		if counts {
			due = time.Now().Add(period(p))
		}
		if first && r.Early && kind != Liveness {
			counts = false // it has only just been started; that nothing listens yet is no news
		}
		first = false
		if r.OK || counts {
			if !r.OK {
				l.Failed(kind, r.Message)
			}
			changed := count.Add(r.OK)
			switch {
			case changed && (kind == Readiness || !r.OK):
				l.Judged(kind, r.OK, r.Message)
			case changed && kind == Startup:
				l.Judged(kind, true, "")
				return true
			case kind != Readiness && !r.OK && count.Exhausted():
				l.Judged(kind, false, r.Message)
			}
		}
		next := time.Until(due)
		if !r.OK && r.Early && !count.OK && kind != Liveness {
			next, soon = min(next, soon), min(2*soon, period(p))
		}
		timer.Reset(max(next, 0))
	}
}

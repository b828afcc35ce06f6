package gitops_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// BenchmarkWebhookToApplied measures from the webhook's request being sent to the changed Deployment being written, over smart HTTP, with a
// commit that changes one of three objects.
func BenchmarkWebhookToApplied(b *testing.B) {
	w := start(b, nil)
	w.applied(w.push(shop("web:0")))
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		commit := w.repo.Push(shop(fmt.Sprintf("web:%d", n)))
		b.StartTimer()
		sent := time.Now()
		w.tell()
		app := w.until("applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
		took = append(took, app.Status.LastAppliedTime.Sub(sent))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
}

// BenchmarkDriftToReverted measures from a change against Git being acknowledged to its revert being written.
func BenchmarkDriftToReverted(b *testing.B) {
	w := start(b, nil)
	w.applied(w.push(shop("web:0")))
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		// Another object each time, so that it is not the guard against fights that is measured.
		w.applied(w.push(shop(fmt.Sprintf("web:%d", n))))
		b.StartTimer()
		w.editAs("alice", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
		for *w.deployment().Spec.Replicas != 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

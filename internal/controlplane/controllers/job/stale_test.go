package job

import (
	"cmp"
	"context"
	"testing"

	utilrand "k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

func TestLateWatchesAndLostAnswersNeitherDoubleNorLoseAPodOfAJob(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "sum"}
	seeds := uint64(5000)
	if testing.Short() {
		seeds = 200
	}
	creates, complete := 0, 0
	for seed := range seeds {
		utilrand.Seed(int64(seed)) // of the Pods' names
		w := newWorld(t, seed)
		c := w.controller()
		reconcileOnce := func() { _, _ = c.reconcile(context.Background(), key) } // errors are meant to be retried, which a later turn does
		for range 200 {
			switch n := w.rand.IntN(20); {
			case n < 8:
				reconcileOnce()
			case n < 12:
				w.deliver()
			case n < 14:
				w.deliverJob()
			case n < 18:
				w.meddle()
			case n == 18:
				if names := w.names(); len(names) > 0 {
					_, _ = c.releaseOrphan(context.Background(), reconcile.Key{Namespace: "default", Name: names[w.rand.IntN(len(names))]})
				}
			case w.rand.IntN(4) == 0:
				w.relist()
			}
		}
		// Left in peace, the nodes end what runs, the caches catch up, and the Job comes to its end.
		w.steady = true
		if *w.job.Spec.Suspend && !Finished(w.job) {
			job := w.job.DeepCopy()
			job.Spec.Suspend = ptr.To(false)
			w.showJob(job)
		}
		for range 150 {
			for _, n := range w.names() {
				w.run(n, true)
			}
			for len(w.late) > 0 {
				w.deliver()
			}
			for len(w.lateJob) > 0 {
				w.deliverJob()
			}
			reconcileOnce()
		}
		w.check()
		creates += w.creates
		complete += cmp.Compare(len(w.job.Status.CompletedIndexes)+int(w.job.Status.Succeeded), 0)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d Jobs, %d with successes, %d Pods", seeds, complete, creates)
}

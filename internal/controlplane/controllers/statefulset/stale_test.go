package statefulset

import (
	"context"
	"testing"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

func TestLateWatchesLostAnswersAndDeathNeitherDoubleNorLoseAMember(t *testing.T) {
	key := reconcile.Key{Namespace: "default", Name: "db"}
	seeds := uint64(5000)
	if testing.Short() {
		seeds = 200
	}
	creates, deletes, deaths := 0, 0, 0
	for seed := range seeds {
		w := newWorld(t, seed)
		c := w.controller()
		reconcileOnce := func() {
			_, _ = c.reconcile(context.Background(), key) // errors are meant to be retried, which a later turn does
			if w.lives == 0 {
				c = w.controller()
				deaths++
			}
		}
		for range 200 {
			switch n := w.rand.IntN(24); {
			case n < 8:
				reconcileOnce()
			case n < 12:
				w.pods.Deliver()
			case n < 14:
				w.sets.Deliver()
			case n < 16:
				w.revisions.Deliver()
			case n < 17:
				w.claims.Deliver()
			case n < 22:
				w.meddle()
			case n == 22 && w.rand.IntN(4) == 0:
				w.pods.Relist(w.version)
			case n == 23 && w.lives < 0 && w.rand.IntN(4) == 0:
				w.lives = w.rand.IntN(4) // it dies in the middle of what it does next
				reconcileOnce()
			}
		}
		// Left in peace, everything comes to be as it is to be. A Pod of a broken revision somebody has to delete, so all are well.
		w.steady = true
		w.change(func(s *appsv1.StatefulSetSpec) { s.UpdateStrategy.RollingUpdate.Partition = nil })
		for range 60 {
			for _, n := range w.names() {
				w.run(n, true)
			}
			w.collect()
			for range 20 {
				w.pods.Deliver()
				w.sets.Deliver()
				w.revisions.Deliver()
				w.claims.Deliver()
			}
			reconcileOnce()
		}
		w.check()
		creates, deletes = creates+w.creates, deletes+w.deletes
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d StatefulSets, %d Pods created, %d deleted, %d deaths", seeds, creates, deletes, deaths)
}

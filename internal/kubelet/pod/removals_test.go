package pod

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

func TestAnAttemptWaitsForTheRemovalOfItsFirstTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r removals
		if err := r.over(t.Context(), "web"); err != nil {
			t.Fatalf("nothing is being removed: %v", err)
		}
		letGo, removed := make(chan struct{}), 0
		remove := func() { <-letGo; removed++ }
		r.begin("web", remove)
		r.begin("web", remove) // is under way already
		over := false
		go func() {
			if err := r.over(t.Context(), "web"); err != nil {
				t.Error(err)
			}
			over = true
		}()
		if err := r.over(t.Context(), "other"); err != nil {
			t.Errorf("another container is not waited for: %v", err)
		}
		ended, end := context.WithCancel(t.Context())
		end()
		if err := r.over(ended, "web"); !errors.Is(err, context.Canceled) {
			t.Errorf("who may wait no longer gets %v", err)
		}
		synctest.Wait()
		if over {
			t.Fatal("the second try does not wait")
		}
		close(letGo)
		synctest.Wait()
		if !over || removed != 1 {
			t.Errorf("let go, the second try goes on: %t, after %d removals", over, removed)
		}
		r.begin("web", remove) // and what the second leaves is removed too
		synctest.Wait()
		if removed != 2 {
			t.Errorf("%d removals", removed)
		}
	})
}

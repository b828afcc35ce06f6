package e2e

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/test/shop"
)

func TestNodePortAnswersOnEveryWorkerFromOutside(t *testing.T) {
	ctx, s := begin(t)
	for worker, host := range s.Workers() {
		seen, err := s.EveryReplica(ctx, worker, 3)
		if err != nil {
			t.Errorf("%s: %v", host.Name, err)
		}
		t.Logf("%s: %v", host.Name, seen)
	}
}

func TestRequestsAreSpreadWithinTenPercent(t *testing.T) {
	ctx, s := begin(t)
	// One standard deviation of a replica's share is 1.8% at 6,000 requests: a fair spread stays within 10% by more than five.
	const requests = 6000
	users := s.Load(4)
	for users.Requests() < requests {
		select {
		case <-ctx.Done():
			t.Fatalf("%d requests until the test's time was over", users.Stop().Requests)
		case <-time.After(10 * time.Millisecond):
		}
	}
	r := users.Stop()
	noErrors(t, r)
	if len(r.Pods) != 3 {
		t.Fatalf("%d replicas answered, want 3: %v", len(r.Pods), r.Pods)
	}
	share := r.Requests / 3
	for pod, n := range r.Pods {
		if n < share*9/10 || n > share*11/10 {
			t.Errorf("%s answered %d of %d requests, want %d within 10%%: %v", pod, n, r.Requests, share, r.Pods)
		}
	}
}

func TestRollingUpdateUnderLoadFailsNoRequest(t *testing.T) {
	ctx, s := begin(t)
	users := s.Load(4)
	release(t, ctx, "v2", 4)
	everyReplica(t, ctx, 4)
	release(t, ctx, "v1", 3)
	everyReplica(t, ctx, 3)
	r := users.Stop()
	noErrors(t, r)
	if r.Versions["v1"] == 0 || r.Versions["v2"] == 0 {
		t.Errorf("answers by version: %v, want both", r.Versions)
	}
	t.Logf("%d requests, slowest %s", r.Requests, r.Slowest)
}

// A program need not know that it runs in a cluster: one that closes its port as soon as it is told to stop fails no client either, as
// its node tells it only when nobody is sent to it any more.
func TestRollingUpdateOfAnAbruptProgramFailsNoRequest(t *testing.T) {
	ctx, s := begin(t)
	err := s.Write(shop.Manifest, func(text string) string {
		return strings.Replace(text, "        env:\n", "        env:\n        - {name: LINGER, value: 0s}\n", 1)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := s.Write(shop.Manifest, func(text string) string {
			return strings.Replace(text, "        - {name: LINGER, value: 0s}\n", "", 1)
		})
		if err != nil {
			t.Error(err)
		}
	})
	release(t, ctx, "v2", 4)
	users := s.Load(4)
	release(t, ctx, "v1", 3)
	everyReplica(t, ctx, 3)
	noErrors(t, users.Stop())
}

func everyReplica(t *testing.T, ctx context.Context, n int) {
	t.Helper()
	for worker := range theShop.Workers() {
		if _, err := theShop.EveryReplica(ctx, worker, n); err != nil {
			t.Error(err)
		}
	}
}

func noErrors(t *testing.T, r shop.Report) {
	t.Helper()
	if r.Requests == 0 {
		t.Error("no request was sent")
	}
	if r.Failed > 0 {
		t.Errorf("%d of %d requests failed: %v", r.Failed, r.Requests, errors.Join(r.Errors...))
	}
}

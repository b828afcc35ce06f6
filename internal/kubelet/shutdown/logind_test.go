package shutdown

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/test/logind"
)

const patience = 20 * time.Second

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func receive[T any](t *testing.T, what string, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatalf("waited %s for %s", patience, what)
		panic("unreachable")
	}
}

// host is a logind, and a node's follower of it whose Pods end when the test says so.
type host struct {
	*logind.Logind
	began, pods chan struct{}
	calledOff   chan error
	follower    *Logind
}

func newHost(t *testing.T, delay, needs time.Duration) *host {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		t.Skip("SKIPPED: following logind needs a bus; install dbus-daemon")
	}
	dir, err := os.MkdirTemp("/tmp", "ld") // short, because the path of a Unix socket may have 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &host{Logind: logind.Start(t, dir, delay), began: make(chan struct{}), pods: make(chan struct{}), calledOff: make(chan error, 1)}
	t.Setenv("DBUS_SYSTEM_BUS_ADDRESS", h.Address)
	h.follower = &Logind{Needs: needs, Config: h.Config, ShutDown: func(ctx context.Context) {
		h.began <- struct{}{}
		select {
		case <-h.pods:
		case <-ctx.Done():
			h.calledOff <- context.Cause(ctx)
		}
	}}
	return h
}

func (h *host) follow(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); h.follower.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "the lock", func() bool { return h.Held() == 1 })
}

func TestAShutdownWaitsUntilThePodsHaveEnded(t *testing.T) {
	h := newHost(t, time.Minute, 30*time.Second)
	h.follow(t)
	h.Prepare(true)
	receive(t, "the Pods to be told", h.began)
	if h.Held() != 1 {
		t.Error("the lock is released while Pods run")
	}
	h.Prepare(true) // told again, it does nothing again: began would not be received
	close(h.pods)
	eventually(t, "the lock to be released", func() bool { return h.Held() == 0 })
	if _, err := os.Stat(filepath.Join(h.Config, dropIn)); err == nil {
		t.Error("logind's delay was long enough, and is set all the same")
	}
}

func TestAShutdownThatIsCalledOffLeavesTheNodeReadyForTheNext(t *testing.T) {
	h := newHost(t, time.Minute, 30*time.Second)
	h.follow(t)
	h.Prepare(true)
	receive(t, "the Pods to be told", h.began)
	h.Prepare(false)
	if err := receive(t, "the shutdown to be called off", h.calledOff); err != errCalledOff {
		t.Errorf("called off: %v", err)
	}
	eventually(t, "a lock anew", func() bool { return h.Held() == 1 })
	h.Prepare(true)
	receive(t, "the Pods to be told again", h.began)
	close(h.pods)
	eventually(t, "the lock to be released", func() bool { return h.Held() == 0 })
}

func TestLogindIsMadeToWaitAsLongAsPodsNeed(t *testing.T) {
	h := newHost(t, 5*time.Second, 90*time.Second)
	h.follow(t)
	b, err := os.ReadFile(filepath.Join(h.Config, dropIn))
	if err != nil || !strings.Contains(string(b), "\n[Login]\nInhibitDelayMaxSec=90\n") {
		t.Errorf("the drop-in file is %q, %v", b, err)
	}
	if err := Clean(h.Config); err != nil {
		t.Error(err)
	}
	if err := Clean(h.Config); err != nil {
		t.Errorf("cleaning again: %v", err)
	}
	if left, _ := os.ReadDir(h.Config); len(left) > 0 {
		t.Errorf("cleaning left %v", left)
	}
}

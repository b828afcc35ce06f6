package shutdown

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

func TestTheCommandWaitsForTheDaemonAndSaysWhatItSays(t *testing.T) {
	dir, err := os.MkdirTemp("/tmp", "sd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if _, err := Ask(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "no node daemon runs with --data-dir "+dir) {
		t.Errorf("without a daemon: %v", err)
	}
	answers := make(chan error)
	serve := func() (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			done <- Serve(ctx, dir, func(context.Context) (string, error) { return "3 Pods", <-answers })
		}()
		eventually(t, "the socket", func() bool {
			i, err := os.Stat(socket(dir))
			return err == nil && i.Mode()&os.ModeSocket != 0
		})
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	for range 2 { // the second daemon finds what the first has left
		stop := serve()
		type answer struct {
			text string
			err  error
		}
		got := make(chan answer, 1)
		ask := func() {
			text, err := Ask(t.Context(), dir)
			got <- answer{text, err}
		}
		go ask()
		send(t, answers, nil)
		if a := receive(t, "the answer", got); a.text != "3 Pods" || a.err != nil {
			t.Errorf("got %+v", a)
		}
		go ask()
		send(t, answers, errors.New("no period is set"))
		if a := receive(t, "the answer", got); a.err == nil || a.err.Error() != "no period is set" {
			t.Errorf("got %+v", a)
		}
		stop()
		if err := os.WriteFile(socket(dir), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Ask(t.Context(), dir); err == nil || !strings.Contains(err.Error(), "no node daemon runs") {
		t.Errorf("after the daemon: %v", err)
	}
}

func send[T any](t *testing.T, to chan<- T, v T) {
	t.Helper()
	select {
	case to <- v:
	case <-time.After(patience):
		t.Fatalf("waited %s for the daemon to be asked", patience)
	}
}

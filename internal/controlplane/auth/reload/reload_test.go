package reload

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsAppliedWhenItsContentChangesAndWhatIsRefusedIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config")
	// Written aside and moved into place: no half of it is ever seen.
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	asked, outcome := make(chan string, 100), make(chan string, 100)
	f := File{
		Path: path, Flag: "--test", Content: []byte("one"),
		Apply: func(_ context.Context, content []byte) error {
			asked <- string(content)
			if string(content) == "wrong" {
				return errors.New("it is wrong")
			}
			return nil
		},
		Applied: func(content []byte) { outcome <- "applied " + string(content) },
		Refused: func() { outcome <- "refused" },
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Follow(ctx)
	}()
	// next skips repetitions: several events may come of one change.
	next := func(want string) {
		t.Helper()
		for {
			select {
			case got := <-outcome:
				if got == want {
					return
				}
				if got != "refused" {
					t.Fatalf("got %q, want %q", got, want)
				}
			case <-t.Context().Done():
				t.Fatalf("never: %s", want)
			}
		}
	}
	write("two")
	next("applied two")
	write("wrong")
	next("refused")
	write("two") // as it was: nothing is to be done
	write("three")
	next("applied three")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	next("refused")
	cancel()
	<-done
	close(asked)
	applied := 0
	for content := range asked {
		switch content {
		case "one":
			t.Error("what was in force already was applied")
		case "two", "three":
			applied++
		}
	}
	if applied != 2 {
		t.Errorf("two right changes were applied %d times", applied)
	}
}

package logs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// shim opens a container's pipes as containerd's shim does: for writing, and for reading as well, so that they outlive their readers.
func shim(t *testing.T, s Streams) (stdout, stderr *os.File) {
	t.Helper()
	open := func(path string) *os.File {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	return open(s.Stdout()), open(s.Stderr())
}

func streams(t *testing.T, dir, id string) Streams {
	t.Helper()
	s := Streams{Dir: filepath.Join(dir, id), Log: filepath.Join(dir, "logs", "0.log")}
	if err := s.make(); err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, s Streams) string {
	t.Helper()
	var b bytes.Buffer
	if err := Read(context.Background(), s.Log, Options{Tail: -1}, nil, &b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEverythingWrittenBeforeTheEndIsInTheLog(t *testing.T) {
	dir := t.TempDir()
	for round := range 50 { // the end comes while the collector reads, waits, or has not begun to
		id := fmt.Sprint("c", round)
		s := streams(t, dir, id)
		s.Log = filepath.Join(dir, id+".log")
		if err := s.make(); err != nil {
			t.Fatal(err)
		}
		c, err := NewCollector(dir, DefaultRotation())
		if err != nil {
			t.Fatal(err)
		}
		out, _ := shim(t, s)
		want := strings.Repeat(strings.Repeat("x", 99)+"\n", 300) + "no newline at the end"
		if _, err := out.WriteString(want); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(id); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, read(t, s)); diff != "" {
			t.Fatalf("round %d (-written +logged):\n%s", round, diff)
		}
		if _, err := os.Stat(s.Dir); err == nil {
			t.Fatalf("round %d: the pipes were not removed", round)
		}
	}
}

func TestANewCollectorGoesOnWhereADeadOneStopped(t *testing.T) {
	dir := t.TempDir()
	s := streams(t, dir, "c")
	out, errOut := shim(t, s)
	// Written while no collector runs at all: it waits in the pipe.
	fmt.Fprintln(out, "before")
	fmt.Fprintln(errOut, "on stderr")
	c, err := NewCollector(dir, DefaultRotation())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(out, "after")
	if err := c.Close("c"); err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(read(t, s)), "\n")
	count := map[string]int{}
	for _, l := range got {
		count[l]++
	}
	if diff := cmp.Diff(map[string]int{"before": 1, "after": 1, "on stderr": 1}, count); diff != "" {
		t.Errorf("(-written +logged):\n%s", diff)
	}
}

func TestALongLineIsSplitAndReadBackWhole(t *testing.T) {
	dir := t.TempDir()
	s := streams(t, dir, "c")
	c, err := NewCollector(dir, DefaultRotation())
	if err != nil {
		t.Fatal(err)
	}
	out, _ := shim(t, s)
	want := strings.Repeat("0123456789", 5000) + "\n"
	if _, err := out.WriteString(want); err != nil {
		t.Fatal(err)
	}
	if err := c.Close("c"); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		if len(line) > MaxLine+100 {
			t.Errorf("a line of the file is %d bytes long", len(line))
		}
	}
	if read(t, s) != want {
		t.Error("the line read back differs from the one written")
	}
}

func TestWhoeverIsAttachedSeesWhatIsWrittenUntilTheEnd(t *testing.T) {
	dir := t.TempDir()
	s := streams(t, dir, "c")
	c, err := NewCollector(dir, DefaultRotation())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	serving := make(chan struct{})
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.Chdir(wd); err != nil { // Serve changes it
			t.Error(err)
		}
	})
	go c.Serve(ctx, "v/"+DefaultRotation().String(), func() { close(serving) })
	<-serving
	out, errOut := shim(t, s)
	client := NewClient(dir, "v", DefaultRotation(), "/bin/false")
	var stdout, stderr bytes.Buffer
	attached := make(chan struct{})
	done := make(chan error, 1)
	go func() { done <- client.Attach(ctx, "c", &stdout, &stderr, func() { close(attached) }) }()
	<-attached
	fmt.Fprint(out, "$ ") // a prompt has no newline
	fmt.Fprint(errOut, "oh")
	if err := client.Close(ctx, "c"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"$ ", "oh"}, []string{stdout.String(), stderr.String()}); diff != "" {
		t.Errorf("(-written +seen):\n%s", diff)
	}
}

func TestRequestsForWhatIsNoContainerAreRefused(t *testing.T) {
	c, err := NewCollector(t.TempDir(), DefaultRotation())
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Open("none"); err == nil {
		t.Error("opening streams that were never made gave no error")
	}
	if err := c.Close("none"); err != nil {
		t.Errorf("closing them must be no error: %v", err)
	}
}

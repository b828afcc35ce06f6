package logs

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// TestRead plays the scripts in testdata: "log" writes files of a log, the oldest first, separated by "rotated" lines, each line as
// SECOND STREAM TAG TEXT; "read" prints what a reader with the given options sees.
func TestRead(t *testing.T) {
	datadriven.Walk(t, "testdata/read", func(t *testing.T, path string) {
		dir := t.TempDir()
		log := filepath.Join(dir, "0.log")
		base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "log":
				files := strings.Split(d.Input, "rotated\n")
				for i, text := range files {
					name := log
					if i < len(files)-1 {
						name = fmt.Sprintf("%s.2026%02d", log, i)
					}
					var b []byte
					for line := range strings.Lines(text) {
						f := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
						var second int
						if _, err := fmt.Sscan(f[0], &second); err != nil {
							b = append(b, line...) // garbage, as it is
							continue
						}
						b = appendLine(b, base.Add(time.Duration(second)*time.Second), Stream(f[1]), []byte(f[3]), f[2] == "P")
					}
					if err := os.WriteFile(name, b, 0o600); err != nil {
						t.Fatal(err)
					}
				}
				return ""
			case "read":
				o := Options{Tail: -1, Timestamps: d.HasArg("timestamps")}
				scan := func(key string, to any) bool {
					if d.HasArg(key) {
						d.ScanArgs(t, key, to)
					}
					return d.HasArg(key)
				}
				scan("tail", &o.Tail)
				scan("limit", &o.Limit)
				var since int64
				if scan("since", &since) {
					o.Since = base.Add(time.Duration(since) * time.Second)
				}
				var stream string
				if scan("stream", &stream) {
					o.Stream = Stream(stream)
				}
				var out bytes.Buffer
				if err := Read(context.Background(), log, o, nil, &out); err != nil {
					return err.Error() + "\n"
				}
				return out.String()
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

func TestAFollowingReaderSeesEveryLineOfALogThatIsRotatedUnderIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c", "0.log")
	f, err := openFile(path, DefaultRotation())
	if err != nil {
		t.Fatal(err)
	}
	r, w := io.Pipe()
	ended := make(chan struct{})
	done := make(chan error, 1)
	go func() {
		done <- Read(context.Background(), path, Options{Follow: true, Tail: -1}, ended, w)
		w.Close()
	}()
	const lines = 2000
	go func() {
		for i := range lines {
			if i%300 == 299 {
				f.mu.Lock()
				f.size = f.rotation.Size // the next line makes it rotate
				f.mu.Unlock()
			}
			if err := f.write(Stdout, fmt.Appendf(nil, "line %d", i), false); err != nil {
				t.Error(err)
			}
			if i%300 == 299 {
				time.Sleep(5 * time.Millisecond) // the reader keeps up with one rotation at a time, as it does with 10 MiB between them
			}
		}
		close(ended)
	}()
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(b)), "\n")
	for i := range min(len(got), lines) {
		if want := fmt.Sprintf("line %d", i); got[i] != want {
			t.Fatalf("line %d of %d read is %q, want %q", i, len(got), got[i], want)
		}
	}
	if len(got) != lines {
		t.Errorf("read %d lines, want %d", len(got), lines)
	}
}

func TestOldFilesOfALogAreRemoved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "0.log")
	f, err := openFile(path, DefaultRotation())
	if err != nil {
		t.Fatal(err)
	}
	for range f.rotation.Files + 3 {
		f.size = f.rotation.Size
		if err := f.write(Stdout, []byte("x"), false); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(rotated(path)) + 1; got != f.rotation.Files {
		t.Errorf("%d files are kept, want %d", got, f.rotation.Files)
	}
}

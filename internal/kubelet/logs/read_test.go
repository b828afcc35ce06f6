package logs

import (
	"bufio"
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

// Whether it reads more slowly than the log is rotated, or began amid a rotation: it sees each line, as long as the files are there.
func TestAReaderSeesEveryLineOfALogThatIsRotatedUnderIt(t *testing.T) {
	const files, perFile, lines = 20, 100, 2000
	for name, follow := range map[string]bool{"from before the first line on, and on": true, "again and again to the end": false} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "c", "0.log")
			f, err := openFile(path, Rotation{Size: 1 << 20, Files: files + 1})
			if err != nil {
				t.Fatal(err)
			}
			ended := make(chan struct{})
			write := func() {
				defer close(ended)
				for i := range lines {
					if i%perFile == perFile-1 {
						f.mu.Lock()
						f.size = f.rotation.Size // the next line makes it rotate
						f.mu.Unlock()
					}
					if err := f.write(Stdout, fmt.Appendf(nil, "line %d", i), false); err != nil {
						t.Error(err)
					}
				}
			}
			if follow {
				r, w := io.Pipe()
				done := make(chan error, 1)
				go func() {
					done <- Read(context.Background(), path, Options{Follow: true, Tail: -1}, ended, w)
					w.Close()
				}()
				if err := f.write(Stdout, []byte("line -1"), false); err != nil {
					t.Fatal(err)
				}
				first := make([]byte, len("line -1\n"))
				if _, err := io.ReadFull(r, first); err != nil {
					t.Fatal(err)
				}
				write() // while it waits for somebody to take the next line from it
				checkLines(t, r, lines)
				if err := <-done; err != nil {
					t.Fatal(err)
				}
				return
			}
			go write()
			for {
				var out bytes.Buffer
				last := false
				select {
				case <-ended:
					last = true
				default:
				}
				if err := Read(context.Background(), path, Options{Tail: -1}, nil, &out); err != nil {
					t.Fatal(err)
				}
				if n := checkLines(t, &out, 0); last && n != lines {
					t.Errorf("read %d lines, want %d", n, lines)
				}
				if last {
					return
				}
			}
		})
	}
}

// checkLines reads lines that must come in order, at least as many as are wanted.
func checkLines(t *testing.T, r io.Reader, want int) int {
	t.Helper()
	n := 0
	for scan := bufio.NewScanner(r); scan.Scan(); n++ {
		if line := fmt.Sprintf("line %d", n); scan.Text() != line {
			t.Fatalf("line %d read is %q", n, scan.Text())
		}
	}
	if n < want {
		t.Errorf("read %d lines, want %d", n, want)
	}
	return n
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

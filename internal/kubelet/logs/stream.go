package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Streams are the pipes of one container attempt, in a directory named after its ID.
type Streams struct {
	Dir string `json:"-"`
	Log string `json:"log"` // file to write to
	TTY bool   `json:"tty,omitempty"`
	// HasStdin says that the container reads its standard input from a pipe.
	HasStdin bool `json:"stdin,omitempty"`
}

// The pipes and the description within a stream's directory.
const (
	stdinName  = "in"
	stdoutName = "out"
	stderrName = "err"
	metaName   = "meta.json"
)

// Stdin, Stdout and Stderr are the pipes for the shim to open; empty where the container has none.
func (s Streams) Stdin() string {
	if !s.HasStdin {
		return ""
	}
	return filepath.Join(s.Dir, stdinName)
}
func (s Streams) Stdout() string { return filepath.Join(s.Dir, stdoutName) }
func (s Streams) Stderr() string {
	if s.TTY {
		return ""
	}
	return filepath.Join(s.Dir, stderrName)
}

// make makes the pipes; what is there already is kept.
func (s Streams) make() error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("making container streams: %w", err)
	}
	for _, p := range []string{s.Stdin(), s.Stdout(), s.Stderr()} {
		if p == "" {
			continue
		}
		if err := unix.Mkfifo(p, 0o600); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("making container stream %s: %w", p, err)
		}
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	// Renamed into place: a description that is there is whole, however this process ends.
	tmp := filepath.Join(s.Dir, metaName+".tmp")
	if err := os.WriteFile(tmp, b, 0o600); err != nil {
		return fmt.Errorf("describing container streams: %w", err)
	}
	return os.Rename(tmp, filepath.Join(s.Dir, metaName))
}

// LoadStreams reads the description of a stream directory.
func LoadStreams(dir string) (Streams, error) {
	s := Streams{Dir: dir}
	b, err := os.ReadFile(filepath.Join(dir, metaName))
	if err != nil {
		return s, fmt.Errorf("container streams %s: %w", dir, err)
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return s, fmt.Errorf("container streams %s: %w", dir, err)
	}
	return s, nil
}

// openPipe opens a pipe for reading without waiting for a writer. It is opened for writing as well, so that it never reports its end:
// a container's streams end when the node says that the container has, not when a shim closes and opens them.
func openPipe(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", path, err)
	}
	// A larger pipe keeps containers going for longer while no collector reads; the kernel may refuse, which is no loss.
	unix.FcntlInt(uintptr(fd), unix.F_SETPIPE_SZ, 256<<10)
	return os.NewFile(uintptr(fd), path), nil
}

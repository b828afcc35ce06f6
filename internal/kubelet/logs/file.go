package logs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Rotation is how large a log's file becomes before another one is begun, and how many there are at most.
type Rotation struct {
	Size  int64 // in bytes
	Files int
}

// DefaultRotation is what a KubeletConfiguration's containerLogMaxSize and containerLogMaxFiles default to.
func DefaultRotation() Rotation { return Rotation{Size: 10 << 20, Files: 5} }

func (r Rotation) String() string { return fmt.Sprintf("%dx%d", r.Size, r.Files) }

// ParseRotation reads what String writes.
func ParseRotation(s string) (Rotation, error) {
	var r Rotation
	if _, err := fmt.Sscanf(s, "%dx%d", &r.Size, &r.Files); err != nil {
		return r, fmt.Errorf("rotation of logs %q: must be BYTESxFILES: %w", s, err)
	}
	return r, nil
}

// file is one container's log; both its streams write to it.
type file struct {
	rotation Rotation

	mu   sync.Mutex
	path string
	f    *os.File
	size int64
	buf  []byte
}

func openFile(path string, r Rotation) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	l := &file{path: path, rotation: r}
	return l, l.open()
}

func (l *file) open() error {
	f, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return err
	}
	l.f, l.size = f, info.Size()
	return nil
}

// write appends one line. A full disk must not stop the container, so the line is dropped then; the caller reports it once.
func (l *file) write(s Stream, text []byte, partial bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = appendLine(l.buf[:0], time.Now(), s, text, partial)
	n, err := l.f.Write(l.buf)
	if err != nil {
		if n > 0 { // half a line would take the next one's beginning for its end
			err = errors.Join(err, l.f.Truncate(l.size))
		}
		return fmt.Errorf("writing container log %s: %w", l.path, err)
	}
	l.size += int64(n)
	if l.size >= l.rotation.Size {
		return l.rotate()
	}
	return nil
}

// rotate gives the file a name that ends in the time and starts a new one; of the old ones the newest are kept.
func (l *file) rotate() error {
	before, to := l.f, l.path+"."+time.Now().UTC().Format("20060102-150405.000000000")
	if err := os.Rename(l.path, to); err != nil {
		return fmt.Errorf("rotating container log: %w", err)
	}
	if err := l.open(); err != nil {
		// There may be no room for another file. The old one goes on, and rotating it is tried again with the next line.
		return fmt.Errorf("rotating container log: %w", errors.Join(err, os.Rename(to, l.path)))
	}
	before.Close()
	old := rotated(l.path)
	for _, f := range old[:max(0, len(old)-(l.rotation.Files-1))] {
		os.Remove(f)
	}
	return nil
}

func (l *file) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.f.Close()
}

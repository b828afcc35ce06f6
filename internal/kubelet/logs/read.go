package logs

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options say which part of a log is wanted, as the API's PodLogOptions do.
type Options struct {
	Follow     bool
	Timestamps bool
	Since      time.Time
	Tail       int64  // lines; negative for all
	Limit      int64  // bytes; zero for all
	Stream     Stream // only this one; empty for both
}

// Read copies the wanted part of a container attempt's log to out. With Follow it goes on until ended is closed (the container has
// ended and its log is complete), ctx ends, or the limit is reached.
func Read(ctx context.Context, path string, o Options, ended <-chan struct{}, out io.Writer) error {
	r := &reader{path: path, opts: o, out: &limited{w: out, left: o.Limit, unlimited: o.Limit <= 0}, newLine: true}
	defer r.close()
	watch := (*fsnotify.Watcher)(nil)
	if o.Follow {
		// The watch comes before the first read, so that no write falls between the two.
		w, err := fsnotify.NewWatcher()
		if err != nil {
			return fmt.Errorf("following log %s: %w; raise fs.inotify.max_user_instances", path, err)
		}
		defer w.Close()
		if err := w.Add(filepath.Dir(path)); err != nil {
			return fmt.Errorf("following log %s: %w", path, err)
		}
		watch = w
	}
	err := r.start()
	if err == nil {
		err = r.drain()
	}
	if errors.Is(err, errLimit) {
		return nil
	}
	if err != nil || !o.Follow {
		return err
	}
	for {
		last := false
		select {
		case <-ctx.Done():
			return nil
		case <-ended:
			last = true
		case <-watch.Events:
			discard(watch.Events) // one reading serves all that are queued
		case err := <-watch.Errors:
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				break // what was not told of is found all the same
			}
			return fmt.Errorf("following log %s: %w", path, err)
		}
		if err := r.drain(); errors.Is(err, errLimit) {
			return nil
		} else if err != nil {
			return err
		}
		if last {
			return nil
		}
	}
}

func discard(events <-chan fsnotify.Event) {
	for {
		select {
		case <-events:
		default:
			return
		}
	}
}

// reader reads a log through its rotations.
type reader struct {
	path string
	opts Options
	out  *limited

	f       *os.File
	in      *bufio.Reader
	pending []byte // an incomplete line at the end of what has been written so far
	newLine bool   // the next text starts an output line
}

func (r *reader) close() {
	if r.f != nil {
		r.f.Close()
	}
}

// start positions the reader: at the beginning of the oldest kept file, or far enough back from the end for the wanted lines.
func (r *reader) start() error {
	files, err := openAll(r.path)
	if err != nil {
		return err
	}
	defer func() { closeAll(files) }()
	if len(files) == 0 {
		return nil // nothing was written yet; a following reader opens it when it appears
	}
	first, offset := 0, int64(0)
	if left := r.opts.Tail; left >= 0 {
		for first = len(files) - 1; ; first-- {
			n, at, err := tailOffset(files[first], left, r.opts.Stream)
			if err != nil {
				return err
			}
			if offset, left = at, left-n; left <= 0 || first == 0 {
				break
			}
		}
	}
	f := files[first]
	files = slices.Delete(files, first, first+1)
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		f.Close()
		return err
	}
	r.use(f)
	return nil
}

func (r *reader) use(f *os.File) {
	r.close()
	r.f, r.in = f, bufio.NewReaderSize(f, 32<<10)
}

// drain copies what is there now, from file to file as the log was rotated.
func (r *reader) drain() error {
	for {
		if r.f != nil {
			if err := r.lines(); err != nil {
				return err
			}
		}
		f, err := following(r.path, r.f)
		if err != nil || f == nil {
			return err
		}
		if r.f != nil {
			// What was written between the reading above and the rotation is still in the old file.
			if err := r.lines(); err != nil {
				f.Close()
				return err
			}
		}
		r.use(f)
	}
}

func (r *reader) lines() error {
	for {
		b, err := r.in.ReadSlice('\n')
		if err == io.EOF || errors.Is(err, bufio.ErrBufferFull) {
			r.pending = append(r.pending, b...)
			if err == io.EOF {
				return nil
			}
			continue
		}
		if err != nil {
			return fmt.Errorf("reading container log: %w", err)
		}
		line := b[:len(b)-1]
		if len(r.pending) > 0 {
			r.pending = append(r.pending, line...)
			line = r.pending
		}
		err = r.emit(line)
		r.pending = r.pending[:0]
		if err != nil {
			return err
		}
	}
}

func (r *reader) emit(b []byte) error {
	l, err := parseLine(b)
	if err != nil {
		return nil // a line cut short by a full disk: the rest of the log is still worth reading
	}
	if !r.opts.Since.IsZero() && l.Time.Before(r.opts.Since) || r.opts.Stream != "" && l.Stream != r.opts.Stream {
		return nil
	}
	if r.opts.Timestamps && r.newLine {
		stamp, _, _ := bytes.Cut(b, []byte{' '})
		if _, err := r.out.Write(append(bytes.Clone(stamp), ' ')); err != nil {
			return err
		}
	}
	if _, err := r.out.Write(l.Text); err != nil {
		return err
	}
	r.newLine = !l.Partial
	if l.Partial {
		return nil
	}
	_, err = r.out.Write([]byte{'\n'})
	return err
}

// tailOffset finds where the last n lines of a file begin, and how many whole lines there are from there on, reading backwards in blocks.
func tailOffset(f *os.File, n int64, only Stream) (count, offset int64, err error) {
	end, err := f.Seek(0, io.SeekEnd)
	if err != nil || n <= 0 {
		return 0, end, err
	}
	const block = 64 << 10
	var tail []byte
	for pos := end; ; {
		lines := wholeLines(tail, pos == 0, only)
		if int64(len(lines)) >= n {
			return n, pos + int64(lines[int64(len(lines))-n]), nil
		}
		if pos == 0 {
			return int64(len(lines)), 0, nil
		}
		step := min(block, pos)
		b := make([]byte, step, step+int64(len(tail)))
		if _, err := f.ReadAt(b, pos-step); err != nil && err != io.EOF {
			return 0, 0, err
		}
		tail = append(b, tail...)
		pos -= step
	}
}

// wholeLines gives the offsets at which output lines start in b; what comes before the first newline counts only if b is the file's beginning.
// A split line counts once, at its first part.
func wholeLines(b []byte, fromStart bool, only Stream) (starts []int) {
	pos := 0
	if !fromStart {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return nil
		}
		pos = i + 1
	}
	continued := false
	for pos < len(b) {
		i := bytes.IndexByte(b[pos:], '\n')
		if i < 0 {
			break
		}
		l, err := parseLine(b[pos : pos+i])
		if err == nil && (only == "" || l.Stream == only) {
			if !continued {
				starts = append(starts, pos)
			}
			continued = l.Partial
		}
		pos += i + 1
	}
	return starts
}

var errLimit = errors.New("limit reached")

// limited passes on at most left bytes.
type limited struct {
	w         io.Writer
	left      int64
	unlimited bool
}

func (l *limited) Write(b []byte) (int, error) {
	if l.unlimited {
		return l.w.Write(b)
	}
	cut := b[:min(int64(len(b)), l.left)]
	n, err := l.w.Write(cut)
	l.left -= int64(n)
	if err == nil && l.left == 0 {
		err = errLimit
	}
	return n, err
}

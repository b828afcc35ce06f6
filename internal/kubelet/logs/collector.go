package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Collector reads containers' pipes and writes their log files. It holds nothing that its directory does not.
type Collector struct {
	dir      string
	rotation Rotation

	mu   sync.Mutex
	open map[string]*collected
}

// collected is one container being read.
type collected struct {
	log   *file
	pumps []*pump
	done  sync.WaitGroup

	mu    sync.Mutex
	taps  map[chan<- Chunk]struct{} // attached clients
	ended bool
}

// Chunk is output as it came, for attached clients.
type Chunk struct {
	Stream Stream
	Data   []byte
}

// NewCollector makes a Collector for the stream directories below dir and reads those that are there.
func NewCollector(dir string, r Rotation) (*Collector, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of container streams: %w", err)
	}
	c := &Collector{dir: dir, rotation: r, open: map[string]*collected{}}
	found, err := filepath.Glob(filepath.Join(dir, "*", metaName))
	if err != nil {
		return nil, err
	}
	for _, m := range found {
		if err := c.Open(filepath.Base(filepath.Dir(m))); err != nil {
			slog.Error("reading a container's streams", "err", err)
		}
	}
	return c, nil
}

// Open starts reading a container's pipes; it may be repeated.
func (c *Collector) Open(id string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open[id] != nil {
		return nil
	}
	s, err := LoadStreams(filepath.Join(c.dir, id))
	if err != nil {
		return err
	}
	log, err := openFile(s.Log, c.rotation)
	if err != nil {
		return fmt.Errorf("container %s: opening its log: %w", id, err)
	}
	col := &collected{log: log, taps: map[chan<- Chunk]struct{}{}}
	for path, stream := range map[string]Stream{s.Stdout(): Stdout, s.Stderr(): Stderr} {
		if path == "" {
			continue
		}
		f, err := openPipe(path)
		if err != nil {
			log.close()
			for _, p := range col.pumps {
				p.f.Close()
			}
			return fmt.Errorf("container %s: %w", id, err)
		}
		col.pumps = append(col.pumps, &pump{f: f, stream: stream, to: col})
	}
	for _, p := range col.pumps {
		col.done.Go(p.run)
	}
	c.open[id] = col
	return nil
}

// Close reads what is still in a container's pipes, ends its log and removes its directory; it may be repeated.
// It is to be called when the container has ended and its shim has passed on all its output.
func (c *Collector) Close(id string) error {
	c.mu.Lock()
	col := c.open[id]
	delete(c.open, id)
	c.mu.Unlock()
	if col != nil {
		for _, p := range col.pumps {
			// A read that would wait fails at once now, so a pump ends when its pipe is empty.
			if err := p.f.SetReadDeadline(time.Unix(1, 0)); err != nil {
				return fmt.Errorf("container %s: ending its streams: %w", id, err)
			}
		}
		col.done.Wait()
		col.mu.Lock()
		col.ended = true
		for t := range col.taps {
			close(t)
		}
		clear(col.taps)
		col.mu.Unlock()
		col.log.close()
	}
	return os.RemoveAll(filepath.Join(c.dir, id))
}

// tapBuffer is how many chunks an attached client may lag behind before it is cut off: a slow terminal must not stop the container.
const tapBuffer = 256

// Attach hands out what a container writes from now on, until it ends (the channel is closed) or ctx does.
func (c *Collector) Attach(ctx context.Context, id string) (<-chan Chunk, error) {
	c.mu.Lock()
	col := c.open[id]
	c.mu.Unlock()
	if col == nil {
		return nil, fmt.Errorf("container %s is not running", id)
	}
	ch := make(chan Chunk, tapBuffer)
	col.mu.Lock()
	defer col.mu.Unlock()
	if col.ended {
		close(ch)
		return ch, nil
	}
	col.taps[ch] = struct{}{}
	context.AfterFunc(ctx, func() { col.drop(ch) })
	return ch, nil
}

func (c *collected) drop(ch chan<- Chunk) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.taps[ch]; ok {
		delete(c.taps, ch)
		close(ch)
	}
}

func (c *collected) tap(s Stream, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.taps) == 0 {
		return
	}
	chunk := Chunk{s, bytes.Clone(data)}
	for t := range c.taps {
		select {
		case t <- chunk:
		default:
			delete(c.taps, t)
			close(t)
		}
	}
}

// pump reads one pipe, cuts it into lines and writes them.
type pump struct {
	f      *os.File
	stream Stream
	to     *collected
	broken bool // a failure to write was reported; it is not repeated for each line
}

func (p *pump) run() {
	defer p.f.Close()
	raw, err := p.f.SyscallConn()
	if err != nil {
		slog.Error("reading a container's output", "pipe", p.f.Name(), "err", err)
		return
	}
	buf := make([]byte, 0, MaxLine)
	take := func(n int) {
		p.to.tap(p.stream, buf[len(buf):len(buf)+n])
		buf = p.lines(buf[:len(buf)+n])
	}
	for {
		n, err := p.f.Read(buf[len(buf):cap(buf)])
		take(n)
		if err != nil {
			if !errors.Is(err, os.ErrDeadlineExceeded) {
				slog.Error("reading a container's output", "pipe", p.f.Name(), "err", err)
			}
			break
		}
	}
	// Past its deadline a read fails whatever the pipe holds; what is in it was written before the container ended and belongs to its log.
	for {
		n, err := rawRead(raw, buf[len(buf):cap(buf)])
		if n == 0 || err != nil {
			break
		}
		take(n)
	}
	if len(buf) > 0 {
		p.write(buf, true) // without the newline that the container did not write either
	}
}

// lines writes the whole lines of buf and gives back the rest, moved to the front; a rest that fills the buffer is written as partial.
func (p *pump) lines(buf []byte) []byte {
	rest := buf
	for {
		line, after, ok := bytes.Cut(rest, []byte{'\n'})
		if !ok {
			break
		}
		p.write(line, false)
		rest = after
	}
	if len(rest) == cap(buf) {
		p.write(rest, true)
		rest = nil
	}
	return buf[:copy(buf[:cap(buf)], rest)]
}

func (p *pump) write(line []byte, partial bool) {
	err := p.to.log.write(p.stream, line, partial)
	switch {
	case err != nil && !p.broken:
		slog.Error("a container's output is being dropped; make room on the disk of the log directory", "err", err)
		p.broken = true
	case err == nil:
		p.broken = false
	}
}

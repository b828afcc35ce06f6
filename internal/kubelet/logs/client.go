package logs

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Client talks to the node's collector process, and starts it when there is none.
type Client struct {
	dir     string
	version string
	rotates Rotation
	command []string // of the collector, without its directory

	mu   sync.Mutex
	conn net.Conn
	in   *bufio.Reader
}

// NewClient makes a Client for the collector of dir. command starts one ("/usr/local/bin/node", "logger", …); it is given dir, version and the rotation as its last
// arguments. One that rotates otherwise is replaced, as one of another release is.
func NewClient(dir, release string, r Rotation, command ...string) *Client {
	return &Client{dir: dir, version: release + "/" + r.String(), rotates: r, command: command}
}

// Open makes a container's pipes and has them read.
func (c *Client) Open(ctx context.Context, id string, s Streams) (Streams, error) {
	s.Dir = filepath.Join(c.dir, id)
	if err := s.make(); err != nil {
		return s, err
	}
	return s, c.request(ctx, "open "+id)
}

// Close ends a container's log; it may be repeated, also for a container that never had one.
func (c *Client) Close(ctx context.Context, id string) error {
	return c.request(ctx, "close "+id)
}

// Streams finds the pipes of a container that has not been closed.
func (c *Client) Streams(id string) (Streams, error) { return LoadStreams(filepath.Join(c.dir, id)) }

// IDs lists the containers whose streams are open.
func (c *Client) IDs() []string {
	found, _ := filepath.Glob(filepath.Join(c.dir, "*", metaName))
	for i, f := range found {
		found[i] = filepath.Base(filepath.Dir(f))
	}
	return found
}

// Ensure sees to it that a collector runs; it is called at start, and again whenever a request finds none.
func (c *Client) Ensure(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connect(ctx)
}

// Attach copies what a container writes from the moment that it calls attached, until it ends or ctx does. A nil writer discards its stream.
func (c *Client) Attach(ctx context.Context, id string, stdout, stderr io.Writer, attached func()) error {
	conn, err := dial(ctx, c.dir)
	if err != nil {
		return fmt.Errorf("attaching to container %s: %w", id, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	in := bufio.NewReader(conn)
	if err := ask(conn, in, "attach "+id); err != nil {
		return err
	}
	attached()
	for {
		var head [5]byte
		if _, err := io.ReadFull(in, head[:]); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return ctx.Err()
		}
		to := stdout
		if head[0] == '2' {
			to = stderr
		}
		if to == nil {
			to = io.Discard
		}
		if _, err := io.CopyN(to, in, int64(binary.BigEndian.Uint32(head[1:]))); err != nil {
			return err
		}
	}
}

// request asks the collector, starting it anew once if it has gone away: its successor finds all it needs in the directory.
func (c *Client) request(ctx context.Context, line string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for try := 0; ; try++ {
		if c.conn == nil {
			if err := c.connect(ctx); err != nil {
				return err
			}
		}
		err := ask(c.conn, c.in, line)
		var refused refusal
		if err == nil || errors.As(err, &refused) || try > 0 {
			return err
		}
		slog.Warn("the log collector went away; starting it again", "err", err)
		c.conn.Close()
		c.conn = nil
	}
}

// refusal is the collector's own answer, as opposed to a failure to get one.
type refusal string

func (r refusal) Error() string { return "log collector: " + string(r) }

func ask(conn net.Conn, in *bufio.Reader, line string) error {
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return err
	}
	answer, err := in.ReadString('\n')
	if err != nil {
		return err
	}
	if text, bad := strings.CutPrefix(strings.TrimSpace(answer), "error "); bad {
		return refusal(text)
	}
	return nil
}

// startTimeout bounds the wait for a new collector's socket; it starts in about 20 ms.
const startTimeout = 10 * time.Second

// connect finds a collector of this version, or starts one.
func (c *Client) connect(ctx context.Context) error {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
	for end := time.Now().Add(startTimeout); ; {
		err := c.hello(ctx)
		if err == nil {
			return nil
		}
		if !lockHeld(c.dir) {
			return c.start(ctx)
		}
		// One is on its way up, started by a daemon that was killed meanwhile, or on its way down.
		if time.Now().After(end) {
			return fmt.Errorf("the log collector of %s runs but does not answer (%w); kill it (`fuser %s` shows it), another one takes over", c.dir, err, filepath.Join(c.dir, lockName))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// hello connects to a running collector. One of another version ends because of it; this waits until its connection has ended too.
func (c *Client) hello(ctx context.Context) error {
	conn, err := dial(ctx, c.dir)
	if err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	if err := ask(conn, in, "hello "+c.version); err != nil {
		conn.SetReadDeadline(time.Now().Add(startTimeout))
		io.Copy(io.Discard, in)
		conn.Close()
		return err
	}
	c.conn, c.in = conn, in
	return nil
}

func (c *Client) start(ctx context.Context) error {
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return fmt.Errorf("starting the log collector: %w", err)
	}
	ready, up, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the log collector: %w", err)
	}
	defer ready.Close()
	cmd := exec.Command(c.command[0], append(c.command[1:], c.dir, c.version, c.rotates.String())...)
	out, err := os.OpenFile(filepath.Join(c.dir, "collector.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("starting the log collector: %w", err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{up}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this process and its terminal
	err = cmd.Start()
	up.Close()
	if err != nil {
		return fmt.Errorf("starting the log collector: %w", err)
	}
	go cmd.Wait()
	ready.SetReadDeadline(time.Now().Add(startTimeout))
	if b, _ := io.ReadAll(ready); string(b) != "up\n" {
		return fmt.Errorf("starting the log collector: it did not come up; see %s", out.Name())
	}
	if err := c.hello(ctx); err != nil {
		return fmt.Errorf("starting the log collector: %w", err)
	}
	return nil
}

// dial connects to the socket in dir by way of an open directory, whatever the length of its path.
func dial(ctx context.Context, dir string) (net.Conn, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	var nd net.Dialer
	return nd.DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), sockName))
}

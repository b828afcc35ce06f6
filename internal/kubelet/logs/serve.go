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
	"path/filepath"
	"strings"
)

// The collector's protocol: a connection to the Unix socket in its directory, one line per request ("open ID", "close ID", "attach ID",
// "hello VERSION"), one line per answer ("ok …" or "error …"). After "attach" the answer is followed by chunks: stream ('1' or '2'), length (4 bytes, big-endian), data.
const sockName = "sock"

// Serve calls up once it can be reached and answers requests until ctx ends or a node of another version says hello: that node then starts its own collector, which takes over
// the pipes where this one leaves them.
func (c *Collector) Serve(ctx context.Context, version string, up func()) error {
	// Socket paths are limited to 107 bytes and data directories are not; the collector's working directory is its own to choose.
	if err := os.Chdir(c.dir); err != nil {
		return fmt.Errorf("log collector: %w", err)
	}
	if err := os.Remove(sockName); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("log collector: removing the socket of an earlier one: %w", err)
	}
	l, err := net.Listen("unix", sockName)
	if err != nil {
		return fmt.Errorf("log collector: listening in %s: %w", c.dir, err)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	context.AfterFunc(ctx, func() { l.Close() })
	up()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("log collector: %w", err)
		}
		go func() {
			defer conn.Close()
			if c.serve(ctx, conn, version) {
				stop()
			}
		}()
	}
}

// serve answers one connection's requests and says whether the collector is to end.
func (c *Collector) serve(ctx context.Context, conn net.Conn, version string) (end bool) {
	answer := func(err error) bool {
		text := "ok"
		if err != nil {
			text = "error " + strings.ReplaceAll(err.Error(), "\n", " ")
		}
		_, werr := fmt.Fprintln(conn, text)
		return werr == nil
	}
	for in := bufio.NewScanner(conn); in.Scan(); {
		verb, arg, _ := strings.Cut(in.Text(), " ")
		if verb != "hello" && (arg == "" || arg != filepath.Base(arg)) {
			answer(fmt.Errorf("%s: %q is no container ID", verb, arg))
			return false
		}
		switch verb {
		case "hello":
			if arg != version {
				answer(fmt.Errorf("this collector is of version %s and ends now", version))
				return true
			}
			answer(nil)
		case "open":
			answer(c.Open(arg))
		case "close":
			answer(c.Close(arg))
		case "attach":
			if err := c.serveAttach(ctx, conn, arg, answer); err != nil {
				slog.Debug("attached client went away", "container", arg, "err", err)
			}
			return false
		default:
			answer(fmt.Errorf("unknown request %q", verb))
		}
	}
	return false
}

func (c *Collector) serveAttach(ctx context.Context, conn net.Conn, id string, answer func(error) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chunks, err := c.Attach(ctx, id)
	if !answer(err) || err != nil {
		return err
	}
	go func() { // the client says nothing more; its going away shows as the end of its input
		io.Copy(io.Discard, conn)
		cancel()
	}()
	for ch := range chunks {
		head := [5]byte{'1'}
		if ch.Stream == Stderr {
			head[0] = '2'
		}
		binary.BigEndian.PutUint32(head[1:], uint32(len(ch.Data)))
		if _, err := conn.Write(append(head[:], ch.Data...)); err != nil {
			return err
		}
	}
	return nil
}

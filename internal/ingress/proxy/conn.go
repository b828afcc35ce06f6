package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/ingress/http1"
)

// conn is a connection to an endpoint by HTTP/1.1, which carries one request at a time. It is used by the goroutine of that request alone: there is
// nothing to hand over, which is most of what a request costs elsewhere.
type conn struct {
	net.Conn
	br    *bufio.Reader
	limit *limited // what br reads from
	bw    *bufio.Writer
	since time.Time      // when it began to wait
	by    http1.Deadline // of both directions
	used  bool           // it has answered before

	raw  syscall.RawConn // the socket; nil: it speaks TLS
	step func(fd uintptr) bool
	turn turn
	peek [1]byte

	usual usual
}

// turn is what step knows of the request that is sent.
type turn struct {
	body []byte // what follows its header
	sent bool
	err  error
}

// maxResponseHeader bounds what an endpoint may say before its body.
const maxResponseHeader = 256 << 10

var (
	errHeaderTooLarge = errors.New("the header of the answer is too large")
	errUnasked        = errors.New("an answer to nothing that was asked")
	errUnquiet        = errors.New("the endpoint has closed the connection, or said something unasked")
)

func dial(ctx context.Context, e *endpoint, secure bool, timeout time.Duration) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", e.name)
	if err != nil {
		return nil, err
	}
	if secure {
		t := tls.Client(nc, backendTLS())
		if err := t.HandshakeContext(ctx); err != nil {
			nc.Close()
			return nil, err
		}
		nc = t
	}
	limit := &limited{c: nc}
	c := &conn{Conn: nc, limit: limit, br: bufio.NewReaderSize(limit, 4096), bw: bufio.NewWriterSize(nc, 4096)}
	if socket, ok := nc.(syscall.Conn); ok {
		if c.raw, err = socket.SyscallConn(); err != nil {
			nc.Close()
			return nil, err
		}
		c.step = c.takeTurn
	}
	return c, nil
}

// backendTLS is as ingress-nginx has it: encrypted, and no certificate is asked for, as Pods have none for their addresses.
func backendTLS() *tls.Config {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
}

// limited reads from the connection at most so many bytes, until the limit is set anew.
type limited struct {
	c    net.Conn
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errHeaderTooLarge
	}
	n, err := l.c.Read(p)
	l.left -= int64(n)
	return n, err
}

// send sends what is in bw, and body after it, unless the endpoint has closed the connection or said something unasked: that would be taken for the answer, and
// is meant for another request or for none. The error is errUnquiet then, and no more has been sent than
// the beginning of a header that is larger than bw.
//
// The look at what is there takes the place of a read that would come after the request, find nothing and wait: it costs no system call.
func (c *conn) send(body []byte) error {
	if !c.used {
		_, _ = c.bw.Write(body)
		return c.unlessAnswered(c.bw.Flush())
	}
	c.turn.body = body
	err := c.raw.Read(c.step)
	t := c.turn
	c.turn = turn{}
	switch {
	case err != nil:
		return err
	case !t.sent:
		return errUnquiet
	}
	return c.unlessAnswered(t.err)
}

// takeTurn is called before the request, and again once there is something to be read.
func (c *conn) takeTurn(fd uintptr) (over bool) {
	t := &c.turn
	if t.sent || !c.silent(fd) {
		return true
	}
	t.sent = true
	_, _ = c.bw.Write(t.body)
	t.err = c.bw.Flush()
	return t.err != nil
}

// unlessAnswered forgets what went wrong with sending if there is something to be read: the endpoint may have answered before it closed.
func (c *conn) unlessAnswered(err error) error {
	if err == nil || c.by.Set(time.Now().Add(time.Second), c.SetDeadline) != nil {
		return err
	}
	if _, nothing := c.br.Peek(1); nothing != nil {
		return err
	}
	return nil
}

// silent says whether nothing is there to be read, not even an end. If something is, the connection is of no use any more.
func (c *conn) silent(fd uintptr) bool {
	_, err := unix.Read(int(fd), c.peek[:])
	return err == unix.EAGAIN //nolint:errorlint // a number
}

// quiet is silent where no request waits to be sent.
func (c *conn) quiet() (quiet bool) {
	err := c.raw.Control(func(fd uintptr) { quiet = c.silent(fd) })
	return err == nil && quiet
}

// response reads the answer's header. hint is told of those that come before it, such as early hints.
func (c *conn) response(r *http.Request, hint func(int, textproto.MIMEHeader)) (*http.Response, error) {
	for n := 0; ; n++ {
		c.limit.left = maxResponseHeader
		if resp, ok := c.usual.read(c, r.Method); ok {
			c.limit.left = 1<<63 - 1
			return resp, nil
		}
		resp, err := http.ReadResponse(c.br, r)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			c.limit.left = 1<<63 - 1
			return resp, nil
		}
		if n == 8 {
			return nil, errUnasked
		}
		hint(resp.StatusCode, textproto.MIMEHeader(resp.Header))
	}
}

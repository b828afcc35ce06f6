package proxy

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/textproto"
	"sync/atomic"
	"syscall"
	"time"
)

// conn is a connection to an endpoint by HTTP/1.1, which carries one request at a time. It is used by the goroutine of that request alone: there is
// nothing to hand over, which is most of what a request costs elsewhere.
type conn struct {
	net.Conn
	br    *bufio.Reader
	limit *limited // what br reads from
	bw    *bufio.Writer
	since time.Time    // when it began to wait
	by    atomic.Int64 // the deadline, in Unix nanoseconds, where patience was the last to set it
	used  bool         // it has answered before
}

// maxResponseHeader bounds what an endpoint may say before its body.
const maxResponseHeader = 256 << 10

var (
	errHeaderTooLarge = errors.New("the header of the answer is too large")
	errUnasked        = errors.New("an answer to nothing that was asked")
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
	return &conn{Conn: nc, limit: limit, br: bufio.NewReaderSize(limit, 4096), bw: bufio.NewWriterSize(nc, 4096)}, nil
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

// alive says whether the other end still has the connection: one that closed it has said so, which reading without waiting shows.
func (c *conn) alive() bool {
	if c.br.Buffered() > 0 {
		return false
	}
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return true // TLS: its records may wait for us without meaning an end
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	open := false
	err = raw.Read(func(fd uintptr) bool {
		var one [1]byte
		n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = n < 0 && (errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EWOULDBLOCK)) || errors.Is(err, syscall.EINTR)
		return true
	})
	return err == nil && open
}

// response reads the answer's header. hint is told of those that come before it, such as early hints.
func (c *conn) response(r *http.Request, hint func(int, textproto.MIMEHeader)) (*http.Response, error) {
	for n := 0; ; n++ {
		c.limit.left = maxResponseHeader
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

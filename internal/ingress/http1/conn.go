package http1

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// bufferSize is what a connection has for reading and for writing.
	bufferSize = 4 << 10
	// lingering is how long, and lingeringSize how much, what a client goes on sending is read after its last answer: one that finds the connection reset
	// may never read that.
	lingering     = time.Second
	lingeringSize = 1 << 20
)

var past = time.Unix(1, 0)

// What a connection does.
const (
	idle   int32 = iota // between requests
	active              // a request, or a part of one, has come
	taken               // it is the handler's
)

// conn is one connection. All but state, body, the deadlines and what is in gone.go is its own goroutine's.
type conn struct {
	srv             *Server
	nc              net.Conn
	br              *bufio.Reader
	bw              *bufio.Writer
	head            head
	resp            response
	ctx             context.Context
	state           atomic.Int32
	body            atomic.Pointer[body] // of the request under way
	readBy, writeBy Deadline

	raw    syscall.RawConn
	timer  *time.Timer
	armed  atomic.Bool
	cancel context.CancelCauseFunc

	goneMu   sync.Mutex
	gone     bool
	onGone   func()
	stopGone func() bool // forget, made once
}

func (c *conn) SetReadDeadline(t time.Time) error  { return c.readBy.Set(t, c.nc.SetReadDeadline) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.writeBy.Set(t, c.nc.SetWriteDeadline) }

// serve answers requests until there are no more. It says whether the connection is its own to close.
func (c *conn) serve() (own bool) {
	own = true
	defer func() {
		if err := recover(); err != nil {
			if err != http.ErrAbortHandler { //nolint:errorlint // what is thrown is that value
				slog.Error("answering a request failed", "component", "ingress", "err", err, "stack", string(debug.Stack()))
			}
			if b := c.body.Load(); b != nil {
				b.end()
			}
			own = c.state.Load() != taken
		}
	}()
	var state *tls.ConnectionState
	if t, ok := c.nc.(*tls.Conn); ok {
		if state = c.handshake(t); state == nil {
			return true
		}
		if state.NegotiatedProtocol == "h2" {
			c.srv.HTTP2(c.nc)
			return false
		}
	}
	c.prepare(state)
	for wait := c.srv.HeaderTimeout; ; wait = c.srv.IdleTimeout {
		text, err := c.readHead(wait)
		if err == errHTTP2 { //nolint:errorlint // it is this one
			c.srv.HTTP2(&replayed{Conn: c.nc, br: c.br})
			return false
		}
		if err == nil {
			err = c.head.parse(text)
		}
		if err != nil {
			if r := (*refusal)(nil); errors.As(err, &r) {
				c.refuse(r)
			}
			return true
		}
		if !c.answer() {
			return c.state.Load() != taken
		}
	}
}

func (c *conn) handshake(t *tls.Conn) *tls.ConnectionState {
	_ = t.SetDeadline(time.Now().Add(c.srv.HeaderTimeout))
	if err := t.HandshakeContext(c.ctx); err != nil {
		if r := (tls.RecordHeaderError{}); errors.As(err, &r) && r.Conn != nil && bytes.IndexByte([]byte("GHPCOTD"), r.RecordHeader[0]) >= 0 {
			_, _ = io.WriteString(r.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis port speaks HTTPS.\n")
		}
		c.srv.Complain(err)
		return nil
	}
	_ = t.SetDeadline(time.Time{})
	state := t.ConnectionState()
	return &state
}

func (c *conn) prepare(state *tls.ConnectionState) {
	c.br, c.bw = bufio.NewReaderSize(c.nc, bufferSize), bufio.NewWriterSize(c.nc, bufferSize)
	c.head.req = (&http.Request{Header: http.Header{}, URL: &url.URL{}, TLS: state, RemoteAddr: c.nc.RemoteAddr().String()}).WithContext(c.ctx)
	c.resp = response{c: c, header: http.Header{}}
	c.raw, c.stopGone = rawOf(c.nc), c.forget
	c.timer = time.AfterFunc(time.Hour, c.look)
	c.timer.Stop()
}

var (
	errHTTP2    = errors.New("the client speaks HTTP/2")
	errDraining = errors.New("the server ends")
	errSilent   = &refusal{http.StatusRequestTimeout, "the request did not come in time"}
)

// readHead waits for a request for at most wait, and reads its head.
func (c *conn) readHead(wait time.Duration) (string, error) {
	if c.br.Buffered() == 0 {
		if c.br.Size() > bufferSize {
			c.br = bufio.NewReaderSize(c.nc, bufferSize)
		}
		_ = c.readBy.Extend(wait, c.nc.SetReadDeadline)
		if c.srv.draining.Load() {
			return "", errDraining
		}
		if _, err := c.br.Peek(1); err != nil {
			return "", err
		}
	}
	c.state.Store(active)
	b, _ := c.br.Peek(c.br.Buffered())
	end := bytes.Index(b, headEnd)
	for began := false; end < 0; end = bytes.Index(b, headEnd) {
		switch {
		case bareLineFeed(b):
			return "", bad("a line ends in a bare line feed")
		case len(b) >= c.srv.MaxHeader:
			return "", &refusal{http.StatusRequestHeaderFieldsTooLarge, "the header is too large"}
		case len(b) == c.br.Size():
			c.br = bufio.NewReaderSize(io.MultiReader(bytes.NewReader(bytes.Clone(b)), c.nc), c.srv.MaxHeader)
		}
		if !began { // it has so long for all of it, however many bytes it sends now and then
			began = true
			_ = c.SetReadDeadline(time.Now().Add(c.srv.HeaderTimeout))
		}
		if _, err := c.br.Peek(len(b) + 1); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = errSilent
			}
			return "", err
		}
		b, _ = c.br.Peek(c.br.Buffered())
	}
	text := string(b[:end+len(headEnd)])
	if text == preface && c.head.req.TLS == nil {
		return "", errHTTP2
	}
	_, err := c.br.Discard(len(text))
	return text, err
}

// answer has the handler answer the request, and says whether another may follow.
func (c *conn) answer() bool {
	r := c.head.req
	r.Body = http.NoBody
	c.body.Store(nil)
	if r.ContentLength != 0 {
		b := newBody(c, r.ContentLength, c.head.expect)
		c.body.Store(b)
		r.Body = b
	}
	c.resp.reset(c.head.close)
	_ = c.writeBy.Extend(c.srv.WriteTimeout, c.nc.SetWriteDeadline)
	c.attend()
	c.srv.Handler.ServeHTTP(&c.resp, r)
	if c.state.Load() == taken {
		return false
	}
	more := c.resp.finish()
	if b := c.body.Load(); b != nil {
		more = more && b.ended.Load()
		b.end()
	}
	c.head.forget()
	clear(c.resp.header)
	c.state.Store(idle)
	if b := c.body.Load(); b != nil && !b.ended.Load() || !more && c.br.Buffered() > 0 {
		c.linger()
	}
	return more
}

// linger reads what a client goes on sending, for a while: it may not have read the answer.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.CopyN(io.Discard, c.br, lingeringSize)
}

// close lets go of what the connection has.
func (c *conn) close(own bool) {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.cancel(nil)
	if own {
		c.nc.Close()
	}
}

// replayed is a connection of which something has been read already.
type replayed struct {
	net.Conn
	br *bufio.Reader
}

// Read implements net.Conn.
func (r *replayed) Read(p []byte) (int, error) {
	if r.br == nil {
		return r.Conn.Read(p)
	}
	if r.br.Buffered() == 0 {
		r.br = nil
		return r.Conn.Read(p)
	}
	return r.br.Read(p)
}

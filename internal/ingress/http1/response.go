package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

var errTooLong = errors.New("more than the length that was told")

// response is the answer to the request under way. It implements what http.ResponseController asks for.
type response struct {
	c      *conn
	header http.Header

	mu       sync.Mutex // a body that is asked for in another goroutine says 100 before the answer begins
	begun    bool
	hijacked bool

	last    bool  // nothing follows on this connection
	silent  bool  // the answer has no body, whatever is written
	chunked bool  // its body's length is not known
	length  int64 // what the body's length is said to be; -1: nothing is said
	written int64
}

var (
	_ http.ResponseWriter = (*response)(nil)
	_ http.Hijacker       = (*response)(nil)
	_ io.StringWriter     = (*response)(nil)
)

func (w *response) reset(last bool) {
	clear(w.header)
	w.begun, w.last, w.silent, w.chunked, w.length, w.written = false, last, false, false, -1, 0
}

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// goOn tells a client that waits for it to send its body.
func (w *response) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		_, _ = w.c.bw.WriteString("HTTP/1.1 100 Continue\r\n\r\n")
		_ = w.c.bw.Flush() // what is wrong with the connection shows when it is read
	}
}

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.begun {
		return
	}
	if status < 200 {
		w.statusLine(status)
		for name, values := range w.header {
			w.field(name, values)
		}
		_, _ = w.c.bw.Write(lineEnd)
		_ = w.c.bw.Flush()
		return
	}
	w.begun = true
	w.frame(status)
}

func (w *response) statusLine(status int) {
	bw := w.c.bw
	if status == http.StatusOK {
		_, _ = bw.WriteString("HTTP/1.1 200 OK\r\n")
		return
	}
	_, _ = bw.WriteString("HTTP/1.1 ")
	_, _ = bw.Write(strconv.AppendInt(bw.AvailableBuffer(), int64(status), 10))
	_ = bw.WriteByte(' ')
	_, _ = bw.WriteString(http.StatusText(status))
	_, _ = bw.Write(lineEnd)
}

// frame writes the head of the answer, with how the end of its body is known (RFC 9112, section 6.3).
func (w *response) frame(status int) {
	c, req := w.c, w.c.head.req
	if b := c.body.Load(); b != nil {
		if b.skip(); !b.ended.Load() {
			w.last = true // its rest would be read as the next request
		}
	}
	if c.srv.draining.Load() {
		w.last = true
	}
	w.statusLine(status)
	dated := false
	for name, values := range w.header {
		switch name {
		case "Content-Length":
			if n, ok := int64(-1), len(values) == 1; ok {
				if n, ok = parseLength(values[0]); ok {
					w.length = n
				}
			}
		case "Connection":
			w.last = w.last || httpguts.HeaderValuesContainsToken(values, "close")
		case "Transfer-Encoding", "Keep-Alive":
		case "Date":
			dated = len(values) > 0
			w.field(name, values)
		default:
			if !strings.HasPrefix(name, http.TrailerPrefix) {
				w.field(name, values)
			}
		}
	}
	if !dated {
		_, _ = c.bw.WriteString(dateLine(time.Now()))
	}
	w.silent = req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	switch {
	case w.length >= 0 && status != http.StatusNoContent:
		_, _ = c.bw.WriteString("Content-Length: ")
		_, _ = c.bw.Write(strconv.AppendInt(c.bw.AvailableBuffer(), w.length, 10))
		_, _ = c.bw.Write(lineEnd)
	case w.silent:
	case req.ProtoMinor > 0:
		w.chunked = true
		_, _ = c.bw.WriteString("Transfer-Encoding: chunked\r\n")
	default:
		w.last = true
	}
	switch {
	case w.last:
		_, _ = c.bw.WriteString("Connection: close\r\n")
	case c.head.persist:
		_, _ = c.bw.WriteString("Connection: keep-alive\r\n")
	}
	_, _ = c.bw.Write(lineEnd)
}

// noBreaks takes what would end a line out of a header's value.
var noBreaks = strings.NewReplacer("\r", " ", "\n", " ", "\x00", " ")

// field writes a header. Each of an answer's is looked at, since what an endpoint says is not believed either.
func (w *response) field(name string, values []string) {
	if len(values) == 0 || !httpguts.ValidHeaderFieldName(name) {
		return
	}
	bw := w.c.bw
	for _, v := range values {
		if !httpguts.ValidHeaderFieldValue(v) {
			v = noBreaks.Replace(v)
		}
		_, _ = bw.WriteString(name)
		_, _ = bw.WriteString(": ")
		_, _ = bw.WriteString(v)
		_, _ = bw.Write(lineEnd)
	}
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) { return write(w, p, w.c.bw.Write) }

// WriteString implements io.StringWriter.
func (w *response) WriteString(s string) (int, error) { return write(w, s, w.c.bw.WriteString) }

func write[T []byte | string](w *response, p T, to func(T) (int, error)) (int, error) {
	if w.hijacked {
		return 0, http.ErrHijacked
	}
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	if w.written += int64(len(p)); w.length >= 0 && w.written > w.length && !w.silent {
		w.last = true
		return 0, errTooLong
	}
	if w.silent || len(p) == 0 {
		return len(p), nil
	}
	if !w.chunked {
		return to(p)
	}
	bw := w.c.bw
	_, _ = bw.Write(append(strconv.AppendInt(bw.AvailableBuffer(), int64(len(p)), 16), "\r\n"...))
	if n, err := to(p); err != nil {
		return n, err
	}
	_, err := bw.Write(lineEnd)
	return len(p), err
}

// FlushError is what http.ResponseController calls Flush by.
func (w *response) FlushError() error {
	if !w.begun {
		w.WriteHeader(http.StatusOK)
	}
	return w.c.bw.Flush()
}

// finish ends the answer. It says whether another may follow.
func (w *response) finish() bool {
	if !w.begun {
		w.header["Content-Length"] = []string{"0"}
		w.WriteHeader(http.StatusOK)
	}
	switch {
	case w.silent:
	case w.chunked:
		_, _ = w.c.bw.WriteString("0\r\n")
		for name, values := range w.header {
			if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok {
				w.field(name, values)
			}
		}
		_, _ = w.c.bw.Write(lineEnd)
	case w.length >= 0 && w.written != w.length:
		w.last = true // the client notices that something is missing
	}
	return w.c.bw.Flush() == nil && !w.last
}

// Hijack implements http.Hijacker.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hijacked || w.begun {
		return nil, nil, http.ErrHijacked
	}
	c := w.c
	w.hijacked = true
	c.state.Store(taken)
	_ = c.nc.SetDeadline(time.Time{})
	return c.nc, bufio.NewReadWriter(c.br, c.bw), nil
}

// SetReadDeadline and SetWriteDeadline are the handler's, until its request is over.
func (w *response) SetReadDeadline(t time.Time) error { return w.c.SetReadDeadline(t) }

// SetWriteDeadline is as SetReadDeadline.
func (w *response) SetWriteDeadline(t time.Time) error { return w.c.SetWriteDeadline(t) }

// EnableFullDuplex has nothing to do: a body may be read while the answer is written.
func (w *response) EnableFullDuplex() error { return nil }

// WhenGone calls f in a goroutine of its own once the client has left. stop undoes it, and says whether f will not be called.
func (w *response) WhenGone(f func()) (stop func() bool) { return w.c.whenGone(f) }

// dates is the last line that was made.
var dates atomic.Pointer[date]

type date struct {
	second int64
	line   string
}

func dateLine(now time.Time) string {
	d := dates.Load()
	if d == nil || d.second != now.Unix() {
		d = &date{now.Unix(), "Date: " + now.UTC().Format(http.TimeFormat) + "\r\n"}
		dates.Store(d)
	}
	return d.line
}

// refuse answers a request that is not taken. There is nothing that could follow it.
func (c *conn) refuse(r *refusal) {
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 " + strconv.Itoa(r.status) + " " + http.StatusText(r.status) + "\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n")
	b.WriteString("Content-Length: " + strconv.Itoa(len(r.text)+1) + "\r\n\r\n" + r.text + "\n")
	_ = c.SetWriteDeadline(time.Now().Add(lingering))
	_, _ = c.nc.Write(b.Bytes())
	c.srv.Refused(c.nc.RemoteAddr(), r.status)
	c.linger()
}

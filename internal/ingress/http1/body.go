package http1

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/net/http/httpguts"
)

var (
	errBodyEnded  = errors.New("the request is over")
	errBadTrailer = errors.New("what follows the last chunk is no header")
)

// maxTrailer bounds what may follow the last chunk.
const maxTrailer = 4 << 10

// body is what follows a request's head. It may be read by another goroutine than its connection's, until the request is over.
type body struct {
	c *conn
	// ended says that all of it has been read, so that the next request follows.
	ended atomic.Bool

	mu     sync.Mutex
	begun  bool      // somebody has asked for it
	left   int64     // of a body whose length is known
	chunks io.Reader // of one that is not
	expect bool
	err    error
}

func newBody(c *conn, length int64, expect bool) *body {
	b := &body{c: c, left: length, expect: expect}
	if length < 0 {
		b.chunks = httputil.NewChunkedReader(c.br)
	}
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun = true
	if b.err != nil {
		return 0, b.err
	}
	if b.expect {
		b.expect = false
		b.c.resp.goOn()
	}
	n, err := b.read(p)
	if err != nil {
		b.err = err
		b.ended.Store(errors.Is(err, io.EOF))
	}
	return n, err
}

func (b *body) read(p []byte) (int, error) {
	if b.chunks != nil {
		n, err := b.chunks.Read(p)
		if errors.Is(err, io.EOF) {
			err = readTrailer(b.c.br, b.c.head.req.Trailer)
		}
		return n, err
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.c.br.Read(p)
	b.left -= int64(n)
	switch {
	case b.left == 0:
		return n, io.EOF
	case errors.Is(err, io.EOF):
		return n, io.ErrUnexpectedEOF
	}
	return n, err
}

// readTrailer reads what follows the last chunk, and returns io.EOF. Of the headers there, those are kept that the request has announced (RFC 9110, section 6.6.2):
// the keys of into.
func readTrailer(br *bufio.Reader, into http.Header) error {
	for left := maxTrailer; left > 0; {
		line, err := br.ReadSlice('\n')
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		left -= len(line)
		text, ok := strings.CutSuffix(string(line), "\r\n")
		if !ok {
			return errBadTrailer
		}
		if text == "" {
			return io.EOF
		}
		name, value, ok := strings.Cut(text, ":")
		value = strings.Trim(value, " \t")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return errBadTrailer
		}
		name = textproto.CanonicalMIMEHeaderKey(name)
		if had, announced := into[name]; announced {
			into[name] = append(had, value)
		}
	}
	return errBadTrailer
}

// Close implements io.Closer. What is left is the connection's to deal with.
func (b *body) Close() error { return nil }

// skip takes what is left, if nobody has asked for it and all of it has come.
func (b *body) skip() {
	if !b.mu.TryLock() {
		return // it is being read
	}
	defer b.mu.Unlock()
	if b.begun || b.chunks != nil || b.expect || b.left > int64(b.c.br.Buffered()) {
		return
	}
	if _, err := b.c.br.Discard(int(b.left)); err == nil {
		b.left, b.err = 0, io.EOF
		b.ended.Store(true)
	}
}

// end has later reads fail. One that waits for the client is ended; its connection is not used again.
func (b *body) end() {
	if !b.ended.Load() {
		_ = b.c.SetReadDeadline(past)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.err = errBodyEnded
}

package proxy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

type bodyKind int

const (
	noBody bodyKind = iota
	wholeBody
	streamedBody
)

// body is what the client sends after its header.
type body struct {
	kind   bodyKind
	length int64 // -1: unknown
	whole  []byte
	// trailer has what the client announces to follow, and its values once the body has ended.
	trailer http.Header

	from io.Reader
	rc   *http.ResponseController
	// left is how much may still come, where there is a limit.
	left    int64
	limited bool

	begun, ended, big, bad atomic.Bool

	// over says that nobody wants the rest. Who sends it may learn that late, over HTTP/2 after the client has been answered: from then on the client's time
	// is the next request's, and over HTTP/2 there is nothing left to set it at. mu is held while it is set.
	mu   sync.Mutex
	over atomic.Bool
}

// clientPause is how long a client may pause in the middle of a body.
const clientPause = time.Minute

var (
	errTooLarge = errors.New("the body is larger than the route allows")
	errOver     = errors.New("the answer is over")
)

// body prepares the request's body: a small one is read. A status says what is wrong with it.
func (x *exchange) body() (*body, int) {
	r := x.r
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return &x.bodiless, 0
	}
	b := &body{kind: streamedBody, length: r.ContentLength, from: r.Body, rc: http.NewResponseController(x.w), left: x.policy.BodyLimit, limited: x.policy.BodyLimit > 0}
	maps.DeleteFunc(r.Trailer, func(name string, _ []string) bool { return !trailing(name) })
	b.trailer = r.Trailer
	if r.ContentLength < 0 || r.ContentLength > bufferedBody {
		if r.ProtoMajor == 1 {
			_ = b.rc.EnableFullDuplex() // the answer may begin before the body ends
		}
		return b, 0
	}
	b.kind = wholeBody
	_ = b.rc.SetReadDeadline(time.Now().Add(clientPause))
	var err error
	if b.whole, err = readWhole(r.Body, int(r.ContentLength)); err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return b, http.StatusRequestTimeout
		}
		return b, http.StatusBadRequest
	}
	_ = b.rc.SetReadDeadline(time.Time{})
	return b, 0
}

// firstRead is how much memory a body gets before any of it has come. Beyond that it has no more than four times what its client has sent.
const firstRead = 4 << 10

// readWhole reads a body of the given length.
func readWhole(from io.Reader, length int) ([]byte, error) {
	p := make([]byte, min(length, firstRead))
	for have := 0; ; {
		n, err := io.ReadFull(from, p[have:])
		if have += n; err != nil || have == length {
			return p, err
		}
		more := make([]byte, min(length, 4*len(p)))
		copy(more, p)
		p = more
	}
}

func (b *body) end() {
	b.mu.Lock()
	b.over.Store(true)
	b.mu.Unlock()
}

// repeatable says whether the body can be sent a second time.
func (b *body) repeatable() bool { return b.kind != streamedBody }

// started says that some of a body that cannot be sent again has been taken.
func (b *body) started() bool { return b.kind == streamedBody && b.begun.Load() }

// failed says that it is the client whose body ended early or is too large.
func (b *body) failed() bool   { return b.bad.Load() }
func (b *body) tooLarge() bool { return b.big.Load() }

// Read implements io.Reader, within the limits of size and time.
func (b *body) Read(p []byte) (int, error) {
	b.begun.Store(true)
	if !b.setReadDeadline(time.Now().Add(clientPause)) {
		return 0, errOver
	}
	n, err := b.from.Read(p)
	if b.left -= int64(n); b.limited && b.left < 0 {
		b.big.Store(true)
		b.bad.Store(true)
		return 0, errTooLarge
	}
	switch {
	case errors.Is(err, io.EOF):
		b.ended.Store(true)
		b.setReadDeadline(time.Time{}) // from here on it is the server that waits, for the client to leave
	case err != nil:
		b.bad.Store(true)
	}
	return n, err
}

// send writes the body while the answer may be read already. The channel tells whether all of it was sent.
func (b *body) send(c *conn, pause time.Duration) <-chan bool {
	b.begun.Store(true)
	sent := make(chan bool, 1)
	go func() {
		ok := b.copy(c, pause)
		if !ok && b.failed() {
			_ = c.SetDeadline(past) // nobody can answer a request that has no end
		}
		sent <- ok
	}()
	return sent
}

func (b *body) copy(c *conn, pause time.Duration) bool {
	buf := buffers.Get().(*[]byte)
	defer buffers.Put(buf)
	if err := c.bw.Flush(); err != nil {
		return false
	}
	for {
		n, err := b.Read(*buf)
		if n > 0 {
			_ = c.by.Set(time.Now().Add(pause), c.SetDeadline) // both: while the body goes on, so may the endpoint's silence
			if b.over.Load() {
				return false
			}
			if b.length < 0 {
				_, _ = c.bw.Write(append(strconv.AppendInt(c.bw.AvailableBuffer(), int64(n), 16), "\r\n"...))
			}
			_, _ = c.bw.Write((*buf)[:n])
			if b.length < 0 {
				_, _ = c.bw.WriteString("\r\n")
			}
			if c.bw.Flush() != nil {
				return false
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			if b.length < 0 {
				_, _ = c.bw.WriteString("0\r\n")
				_ = b.trailer.Write(c.bw)
				_, _ = c.bw.WriteString("\r\n")
			}
			return c.bw.Flush() == nil
		case err != nil:
			return false
		}
	}
}

// stop ends sending once the answer is over, and says whether the body had been sent whole by then.
func (b *body) stop(c *conn, sent <-chan bool) bool {
	select {
	case ok := <-sent:
		return ok
	default:
	}
	b.interrupt()
	_ = c.SetDeadline(past)
	<-sent
	return false
}

// setReadDeadline gives the client so long, unless the body is over.
func (b *body) setReadDeadline(t time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.over.Load() {
		return false
	}
	_ = b.rc.SetReadDeadline(t)
	return true
}

// interrupt ends a read that waits for the client, and all later ones. A body of which nothing was read may go to another endpoint.
func (b *body) interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.begun.Load() || b.over.Swap(true) || b.ended.Load() {
		return
	}
	_ = b.rc.SetReadDeadline(past)
}

package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"os"
	"sync"
	"time"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

const (
	// maxTries bounds how many endpoints a request is tried at.
	maxTries = 3
	// bufferedBody is how large a body may be to be read before an endpoint is asked. Such a request goes out as one packet, keeps no endpoint
	// waiting for a slow client, and can be sent again.
	bufferedBody = 64 << 10
)

// statusGone is what is counted and logged of a client that did not wait, as nginx has it. Nobody receives it.
const statusGone = 499

// failure is why an endpoint did not answer.
type failure struct {
	err error
	// unsent says that the endpoint cannot have seen the request.
	unsent bool
	// client says that it is the client who failed.
	client bool
}

// forward passes the request on, to another endpoint when one cannot be reached.
func (x *exchange) forward() {
	if len(x.backend.Endpoints) == 0 {
		x.fail(http.StatusServiceUnavailable, "nobody is there to answer")
		return
	}
	body, status := x.body()
	if status != 0 {
		x.w.Header().Set("Connection", "close")
		x.fail(status, "the body is not as it should be")
		return
	}
	defer body.end()
	upgrade := ""
	if body.kind == noBody { // a body would still be read from the connection while the tunnel takes it over
		upgrade = x.upgrade()
	}
	var store [maxTries]*endpoint
	tried := store[:0]
	for {
		e := x.endpointFor(tried)
		if e == nil {
			x.fail(http.StatusServiceUnavailable, "nobody is there to answer")
			return
		}
		x.endpoint = e
		f := x.try(e, body, upgrade)
		if f == nil {
			return
		}
		if f.unsent && !f.client {
			e.shunned.Store(time.Now().Add(shunTime).UnixNano())
		}
		tried = append(tried, e)
		again := f.unsent || body.repeatable() && idempotent(x.r.Method) && !late(f.err)
		if f.client || x.r.Context().Err() != nil || !again || body.started() || len(tried) == maxTries {
			x.unanswered(f, body)
			return
		}
		x.p.count.retries.Add(1)
	}
}

// try asks one endpoint. It returns nil once the client has been answered, for better or worse.
func (x *exchange) try(e *endpoint, body *body, upgrade string) *failure {
	e.active.Add(1)
	defer e.active.Add(-1) // also when the client's connection fails, which ends this goroutine's work by a panic
	if x.policy.Protocol == routes.HTTP || upgrade != "" {
		return x.overHTTP1(e, body, upgrade)
	}
	return x.overHTTP2(e, body)
}

// unanswered tells the client that no endpoint has.
func (x *exchange) unanswered(f *failure, body *body) {
	status, text := http.StatusBadGateway, "the answer could not be had"
	switch {
	case body.tooLarge():
		status, text = http.StatusRequestEntityTooLarge, "the body is too large"
	case x.r.Context().Err() != nil:
		x.status = statusGone
		panic(http.ErrAbortHandler)
	case f.client:
		status, text = http.StatusBadRequest, "the body ended early"
	case late(f.err):
		status, text = http.StatusGatewayTimeout, "the answer did not come in time"
	}
	if body.kind == streamedBody {
		x.w.Header().Set("Connection", "close")
	}
	x.fail(status, text)
}

func late(err error) bool {
	var ne net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}

// idempotent is RFC 9110, section 9.2.2, without what is not passed on.
func idempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// overHTTP1 asks an endpoint by HTTP/1.1.
func (x *exchange) overHTTP1(e *endpoint, body *body, upgrade string) *failure {
	for {
		var c *conn
		if upgrade == "" {
			c = e.take()
		}
		if c == nil {
			var err error
			if c, err = dial(x.r.Context(), e, x.policy.Protocol != routes.HTTP, x.policy.Connect); err != nil {
				return &failure{err: err, unsent: true}
			}
		}
		used := c.used
		resp, done, f := x.ask(c, body, upgrade)
		if f == nil {
			x.answer(resp, c, body, done, e)
			return nil
		}
		done()
		c.Close()
		if errors.Is(f.err, errUnquiet) {
			continue
		}
		// An endpoint may close a connection in the moment in which it is used again: that says nothing about the endpoint.
		if !used || f.client || late(f.err) || body.started() || !idempotent(x.r.Method) || x.r.Context().Err() != nil {
			return f
		}
		x.p.count.retries.Add(1)
		e.mu.Lock()
		e.drop() // the others have waited for longer
		e.mu.Unlock()
	}
}

var past = time.Unix(1, 0)

// ask sends the request and reads the header of its answer. done is to be called when the exchange is over, and says whether the request's body has been
// sent whole.
func (x *exchange) ask(c *conn, body *body, upgrade string) (_ *http.Response, done func() bool, _ *failure) {
	ctx := x.r.Context()
	stop := x.whenGone(func() { _ = c.SetDeadline(past) })
	done = func() bool { return stop() }
	wait := max(x.policy.Send, x.policy.Read)
	if !c.patience(ctx, wait) {
		return nil, done, &failure{err: context.Cause(ctx), client: true}
	}
	x.writeHeader(c.bw, body, upgrade)
	switch body.kind {
	case streamedBody:
		if c.used && !c.quiet() {
			return nil, done, &failure{err: errUnquiet, unsent: true}
		}
		sent := body.send(c, x.policy.Send)
		done = func() bool {
			kept := stop()
			return body.stop(c, sent) && kept
		}
	default:
		if err := c.send(body.whole); err != nil {
			return nil, done, &failure{err: err}
		}
	}
	resp, err := c.response(x.r, x.hint)
	if err != nil {
		return nil, done, &failure{err: err, client: body.failed()}
	}
	if resp.StatusCode == http.StatusSwitchingProtocols && upgrade == "" {
		return nil, done, &failure{err: errUnasked}
	}
	return resp, done, nil
}

// whenGone has f called once the client has left. stop undoes it, and says whether it has not been called and will not be.
func (x *exchange) whenGone(f func()) (stop func() bool) {
	if w, ok := x.w.(interface{ WhenGone(func()) func() bool }); ok {
		return w.WhenGone(f)
	}
	return context.AfterFunc(x.r.Context(), f)
}

// patience gives both directions at least so long from now. It says no when nobody waits any more.
func (c *conn) patience(ctx context.Context, d time.Duration) bool {
	return c.by.Extend(d, c.SetDeadline) == nil && ctx.Err() == nil
}

// hint passes on what comes before an answer.
func (x *exchange) hint(status int, h textproto.MIMEHeader) {
	if status != http.StatusEarlyHints || !x.r.ProtoAtLeast(1, 1) {
		return // 100 and 102 are between neighbours
	}
	own := x.w.Header()
	for _, link := range h["Link"] {
		own.Add("Link", link)
	}
	x.w.WriteHeader(status)
	own.Del("Link")
}

// answer passes the answer on.
func (x *exchange) answer(resp *http.Response, c *conn, body *body, done func() bool, e *endpoint) {
	finished := false
	defer func() {
		whole := done()
		if finished && whole && !resp.Close && c.br.Buffered() == 0 && c.raw != nil {
			c.used = true
			e.give(c)
		} else {
			c.Close()
		}
	}()
	if resp.StatusCode == http.StatusSwitchingProtocols {
		x.tunnel(resp, c)
		return
	}
	x.copyHeader(resp)
	x.closeUnlessRead(body)
	x.begin(resp.StatusCode)
	x.copyBody(resp.Body, resp.ContentLength, resp.Trailer, func() bool { return c.patience(x.r.Context(), x.policy.Read) }, func() bool { return c.br.Buffered() == 0 })
	finished = true
}

// closeUnlessRead has the connection closed after an answer that comes before the end of the request's body: what follows of the body would be read
// as the next request. HTTP/2 has streams for that.
func (x *exchange) closeUnlessRead(b *body) {
	if x.r.ProtoMajor == 1 && b.kind == streamedBody && !b.ended.Load() {
		x.w.Header().Set("Connection", "close")
	}
}

// buffers are for copying bodies.
var buffers = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}

// copyBody passes on a body. more is called before each read, and says no when nobody waits any more; drained says that a read would have to wait, so that
// what there is had better be sent.
func (x *exchange) copyBody(from io.Reader, length int64, trailer http.Header, more, drained func() bool) {
	if from == http.NoBody {
		return
	}
	rc := http.NewResponseController(x.w)
	if drained() && rc.Flush() != nil { // the client of a stream may wait for its header to say more
		x.cut()
	}
	b := buffers.Get().(*[]byte)
	defer buffers.Put(b)
	left := length
	for {
		if drained() {
			x.waits()
		}
		n, err := from.Read(*b)
		if n > 0 {
			x.writes()
			if _, werr := x.w.Write((*b)[:n]); werr != nil {
				x.cut()
			}
			x.sent += int64(n)
			left -= int64(n)
			if err == nil && left != 0 && drained() && rc.Flush() != nil {
				x.cut()
			}
		}
		switch {
		case errors.Is(err, io.EOF):
			for k, v := range trailer {
				if trailing(k) {
					x.w.Header()[http.TrailerPrefix+k] = v
				}
			}
			return
		case err != nil:
			x.cut()
		case !more():
			x.cut()
		}
	}
}

// cut ends an answer that has begun and cannot be finished, in the way that the client notices.
func (x *exchange) cut() {
	if x.r.Context().Err() != nil {
		x.status = statusGone
	}
	panic(http.ErrAbortHandler)
}

package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// h2 holds the connections to endpoints that speak HTTP/2, on each of which many requests are under way at once.
type h2 struct {
	plain, secure *http.Transport
}

func newH2() *h2 {
	transport := func(t *http.Transport) *http.Transport {
		t.DialContext = (&net.Dialer{}).DialContext
		t.DisableCompression = true
		t.MaxIdleConnsPerHost = idleConns
		t.IdleConnTimeout = idleTime
		t.MaxResponseHeaderBytes = maxResponseHeader
		t.Protocols = new(http.Protocols)
		// A connection that has gone silently is noticed by these.
		t.HTTP2 = &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second}
		return t
	}
	h := &h2{plain: transport(&http.Transport{}), secure: transport(&http.Transport{TLSClientConfig: backendTLS()})}
	h.plain.Protocols.SetUnencryptedHTTP2(true)
	h.secure.Protocols.SetHTTP2(true)
	h.secure.Protocols.SetHTTP1(true)
	return h
}

// overHTTP2 asks an endpoint by HTTP/2, or one that speaks only HTTP/1.1 over TLS by that. It returns nil once the client has been answered.
func (x *exchange) overHTTP2(e *endpoint, b *body) *failure {
	ctx, cancel := context.WithCancelCause(x.r.Context())
	defer cancel(nil)
	u, err := url.ParseRequestURI(x.target())
	if err != nil {
		return &failure{err: err, client: true}
	}
	t, scheme := x.p.h2.plain, "http"
	if x.policy.Protocol != routes.GRPC {
		t, scheme = x.p.h2.secure, "https"
	}
	u.Scheme, u.Host = scheme, e.name
	out := (&http.Request{Method: x.r.Method, URL: u, Host: x.host(), Header: http.Header{}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, ContentLength: b.length, Trailer: x.r.Trailer}).WithContext(ctx)
	x.eachHeader(func(name, value string) { out.Header[name] = append(out.Header[name], value) })
	for _, te := range x.r.Header["Te"] {
		if strings.Contains(strings.ToLower(te), "trailers") {
			out.Header["Te"] = []string{"trailers"} // gRPC asks for them
		}
	}
	if out.Header["User-Agent"] == nil {
		out.Header["User-Agent"] = nil // rather than Go's own
	}
	switch b.kind {
	case wholeBody:
		out.Body = newWhole(b.whole)
	case streamedBody:
		out.Body = streamed{b}
	case noBody:
	}
	silence := time.AfterFunc(x.policy.Connect+x.policy.Read, func() { cancel(context.DeadlineExceeded) })
	defer silence.Stop()
	resp, err := t.RoundTrip(out)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		var op *net.OpError
		return &failure{err: err, unsent: errors.As(err, &op) && op.Op == "dial", client: b.failed()}
	}
	defer resp.Body.Close()
	x.copyHeader(resp)
	x.closeUnlessRead(b)
	x.begin(resp.StatusCode)
	more := func() bool { return silence.Reset(x.policy.Read) || ctx.Err() == nil }
	// Trailers may only be known at the end of the body.
	trailers := http.Header{}
	x.copyBody(&atEnd{resp.Body, func() {
		for k, v := range resp.Trailer {
			trailers[k] = v
		}
	}}, resp.ContentLength, trailers, more, func() bool { return true })
	return nil
}

// whole is a body that was read before. The transport may use it until it is closed.
type whole struct{ *bytes.Reader }

func newWhole(b []byte) io.ReadCloser { return whole{bytes.NewReader(bytes.Clone(b))} }

func (whole) Close() error { return nil }

// streamed is a body that is read from the client as it is sent.
type streamed struct{ *body }

// Close has a read that waits for the client end: the answer is over.
func (s streamed) Close() error {
	s.interrupt()
	return nil
}

// atEnd calls f when a body has been read whole.
type atEnd struct {
	io.Reader
	f func()
}

func (a *atEnd) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		a.f()
	}
	return n, err
}

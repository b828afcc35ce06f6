package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"

	"github.com/gitopsd/gitopsd/internal/controlplane/admission"
)

// inProcess is an http.RoundTripper that calls the API server's handler directly. Requests take the whole handler chain, but no
// socket, no TLS and no HTTP framing.
type inProcess struct {
	ready   chan struct{}
	handler http.Handler
}

func newInProcess() *inProcess { return &inProcess{ready: make(chan struct{})} }

// serve lets requests through; those made before have waited.
func (t *inProcess) serve(h http.Handler) {
	t.handler = h
	close(t.ready)
}

func (t *inProcess) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case <-t.ready:
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
	ctx, cancel := context.WithCancel(req.Context())
	in := req.Clone(admission.Inside(ctx))
	in.RequestURI = req.URL.RequestURI()
	in.RemoteAddr = "127.0.0.1:0"
	// As over HTTP/2: the handlers then never ask to take the connection over.
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/2.0", 2, 0
	if in.Body == nil {
		in.Body = http.NoBody
	}
	w := &response{header: http.Header{}, started: make(chan struct{}), closed: ctx.Done()}
	w.cond.L = &w.mu
	go func() {
		defer cancel()
		defer func() {
			// The chain recovers panics of its own; http.ErrAbortHandler is how a handler ends a response half-way.
			if p := recover(); p != nil {
				w.finish(fmt.Errorf("request %s %s was aborted: %v", req.Method, req.URL.Path, p))
			}
		}()
		t.handler.ServeHTTP(w, in)
		w.finish(nil)
	}()
	select {
	case <-w.started:
	case <-req.Context().Done():
		cancel()
		return nil, req.Context().Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return &http.Response{
		Status: http.StatusText(w.code), StatusCode: w.code, Header: w.sent, Request: req, ContentLength: -1,
		Proto: "HTTP/2.0", ProtoMajor: 2, Body: &responseBody{w: w, cancel: cancel},
	}, nil
}

// maxBuffered is how much a handler may be ahead of its reader.
const maxBuffered = 1 << 20

// response is the http.ResponseWriter of one request, and the buffer between handler and reader.
type response struct {
	mu      sync.Mutex
	cond    sync.Cond
	header  http.Header
	sent    http.Header
	code    int
	started chan struct{}
	closed  <-chan struct{}
	buf     bytes.Buffer
	err     error // io.EOF or what ended the response
	gone    bool  // the reader closed the body
}

func (w *response) Header() http.Header { return w.header }

func (w *response) WriteHeader(code int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(code)
}

func (w *response) writeHeader(code int) {
	if w.code != 0 || code < 200 {
		return
	}
	w.code, w.sent = code, w.header.Clone()
	close(w.started)
}

func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	for w.buf.Len() > maxBuffered && !w.gone {
		w.cond.Wait()
	}
	if w.gone {
		return 0, io.ErrClosedPipe
	}
	n, err := w.buf.Write(p)
	w.cond.Broadcast()
	return n, err
}

// Flush starts the response; what was written is visible to the reader at once in any case.
func (w *response) Flush() { w.WriteHeader(http.StatusOK) }

// CloseNotify completes what the library's wrappers expect of a connection.
func (w *response) CloseNotify() <-chan bool {
	c := make(chan bool, 1)
	go func() {
		<-w.closed
		c <- true
	}()
	return c
}

func (w *response) finish(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writeHeader(http.StatusOK)
	w.err = io.EOF
	if err != nil {
		w.err = err
	}
	w.cond.Broadcast()
}

type responseBody struct {
	w      *response
	cancel context.CancelFunc
}

func (b *responseBody) Read(p []byte) (int, error) {
	w := b.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.buf.Len() == 0 && w.err == nil && !w.gone {
		w.cond.Wait()
	}
	if w.gone {
		return 0, io.ErrClosedPipe
	}
	if w.buf.Len() == 0 {
		return 0, w.err
	}
	n, err := w.buf.Read(p)
	w.cond.Broadcast()
	return n, err
}

// Close ends the request: its context is cancelled, and the handler's further writes fail.
func (b *responseBody) Close() error {
	b.w.mu.Lock()
	b.w.gone = true
	b.w.cond.Broadcast()
	b.w.mu.Unlock()
	b.cancel()
	return nil
}

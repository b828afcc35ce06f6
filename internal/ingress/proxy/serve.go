package proxy

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gitopsd/gitopsd/internal/ingress/http1"
)

// What a client may take.
const (
	headerTimeout = 10 * time.Second // for a request's header
	idleTimeout   = 75 * time.Second // between requests
	writeTimeout  = time.Minute      // to take what it asked for, each second's worth anew
	maxHeader     = 36 << 10
	maxStreams    = 128 // of one connection
	// maxConnections are at a listener at once. A connection that waits takes some 10 KiB.
	maxConnections = 32768
	// PerClient are those of one client, unless the Config says otherwise: many for who shares an address with others, few beside all.
	PerClient = maxConnections / 16
)

// Serve answers at a listener until ctx ends, then lets requests under way end for at most grace. secure has it speak TLS.
func (p *Proxy) Serve(ctx context.Context, l net.Listener, secure bool, grace time.Duration) error {
	l = p.bound(l)
	two := &http.Server{
		Handler: p, ReadHeaderTimeout: cmp.Or(p.cfg.HeaderTimeout, headerTimeout), IdleTimeout: idleTimeout, WriteTimeout: p.cfg.WriteTimeout, MaxHeaderBytes: maxHeader, Protocols: new(http.Protocols),
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		ErrorLog: log.New(complaints{}, "", 0),
	}
	one := &http1.Server{
		Handler: p, HeaderTimeout: two.ReadHeaderTimeout, IdleTimeout: idleTimeout, WriteTimeout: p.cfg.WriteTimeout, MaxHeader: maxHeader, Complain: func(err error) { two.ErrorLog.Print(err) }, Refused: p.unread,
	}
	if secure {
		two.Protocols.SetHTTP2(true)
		one.TLS = p.TLS()
	} else {
		two.Protocols.SetUnencryptedHTTP2(true)
	}
	handed := &handed{conns: make(chan net.Conn), closed: make(chan struct{}), addr: l.Addr()}
	one.HTTP2 = handed.give
	ended := make(chan error, 1)
	go func() { ended <- two.Serve(handed) }()
	var wg sync.WaitGroup
	over, end := context.WithCancel(ctx)
	wg.Go(func() {
		<-over.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
		defer cancel()
		if two.Shutdown(last) != nil {
			_ = two.Close()
		}
	})
	err := one.Serve(ctx, l, grace)
	end()
	wg.Wait()
	if ended := <-ended; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, ended)
	}
	return err
}

// handed is where connections arrive whose clients speak HTTP/2.
type handed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	addr   net.Addr
}

func (h *handed) give(c net.Conn) {
	select {
	case h.conns <- c:
	case <-h.closed:
		c.Close()
	}
}

// Accept implements net.Listener.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return c, nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr implements net.Listener.
func (h *handed) Addr() net.Addr { return h.addr }

// complaints are the server's about clients: interesting to somebody who looks for them.
type complaints struct{}

var _ io.Writer = complaints{}

func (complaints) Write(b []byte) (int, error) {
	slog.Debug("a client of the ingress", "component", "ingress", "err", strings.TrimSpace(string(b)))
	return len(b), nil
}

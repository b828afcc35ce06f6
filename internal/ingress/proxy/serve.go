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
)

// What a client may take.
const (
	headerTimeout = 10 * time.Second // for a request's header
	idleTimeout   = 75 * time.Second // between requests
	writeTimeout  = time.Minute      // to take what it asked for, each second's worth anew
	maxHeader     = 32 << 10
	maxStreams    = 128 // of one connection
	// maxConnections are at a listener at once. A connection that waits takes some 10 KiB.
	maxConnections = 32768
)

// Serve answers at a listener until ctx ends, then lets requests under way end for at most grace. secure has it speak TLS.
func (p *Proxy) Serve(ctx context.Context, l net.Listener, secure bool, grace time.Duration) error {
	srv := &http.Server{
		Handler: p, ReadHeaderTimeout: cmp.Or(p.cfg.HeaderTimeout, headerTimeout), IdleTimeout: idleTimeout, WriteTimeout: p.cfg.WriteTimeout, MaxHeaderBytes: maxHeader, Protocols: new(http.Protocols),
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: 30 * time.Second, PingTimeout: 10 * time.Second},
		ErrorLog: log.New(complaints{}, "", 0),
	}
	srv.Protocols.SetHTTP1(true)
	l = &bounded{Listener: l, slots: make(chan struct{}, maxConnections), refused: func() { p.count.refused.Add(1) }}
	if secure {
		srv.Protocols.SetHTTP2(true)
		srv.TLSConfig = p.TLS()
	} else {
		srv.Protocols.SetUnencryptedHTTP2(true)
	}
	ended := make(chan error, 1)
	go func() {
		if secure {
			ended <- srv.ServeTLS(l, "", "")
		} else {
			ended <- srv.Serve(l)
		}
	}()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := srv.Shutdown(last); err != nil {
		_ = srv.Close()
	}
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// complaints are the server's about clients: interesting to somebody who looks for them.
type complaints struct{}

var _ io.Writer = complaints{}

func (complaints) Write(b []byte) (int, error) {
	slog.Debug("a client of the ingress", "component", "ingress", "err", strings.TrimSpace(string(b)))
	return len(b), nil
}

// bounded closes connections that are too many.
type bounded struct {
	net.Listener
	slots   chan struct{}
	refused func()
}

func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case b.slots <- struct{}{}:
			return &slot{Conn: c, leave: sync.OnceFunc(func() { <-b.slots })}, nil
		default:
			b.refused()
			c.Close()
		}
	}
}

// slot is a connection that gives its place back when it is closed.
type slot struct {
	net.Conn
	leave func()
}

func (s *slot) Close() error {
	s.leave()
	return s.Conn.Close()
}

// CloseWrite ends one direction.
func (s *slot) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Close()
}

package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves HTTP/1.1 at one listener. All fields have to be set, but TLS.
type Server struct {
	// Handler answers. It must hold neither request nor response, nor what is in their headers' maps, once it has returned.
	Handler http.Handler
	// TLS is what connections are accepted with; nil: they are not encrypted.
	TLS *tls.Config
	// HTTP2 takes over a connection whose client wants HTTP/2. It is called in the connection's goroutine, and must not wait for its end.
	HTTP2 func(net.Conn)
	// HeaderTimeout is how long a client may take for a handshake or a request's head, IdleTimeout between requests, WriteTimeout to read something,
	// unless the handler says otherwise.
	HeaderTimeout, IdleTimeout, WriteTimeout time.Duration
	// MaxHeader bounds a request's head, in bytes.
	MaxHeader int
	// Complain is told what is wrong with clients, and Refused of each request that was answered without the Handler, as it could not be read.
	Complain func(error)
	Refused  func(client net.Addr, status int)

	draining atomic.Bool
	mu       sync.Mutex
	conns    map[*conn]bool
	wg       sync.WaitGroup // of those that are not taken
}

// Serve answers at a listener, which it closes, until ctx ends. Then it lets requests under way end for at most grace. Connections that handlers have
// taken are closed at once.
func (s *Server) Serve(ctx context.Context, l net.Listener, grace time.Duration) error {
	s.conns = map[*conn]bool{}
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	err := s.accept(ctx, l)
	l.Close()
	s.draining.Store(true)
	ended := make(chan struct{})
	go func() {
		s.wg.Wait()
		close(ended)
	}()
	s.each(func(c *conn) {
		switch c.state.Load() {
		case idle:
			_ = c.nc.SetReadDeadline(past)
		case taken:
			c.nc.Close()
		}
	})
	select {
	case <-ended:
	case <-time.After(grace):
	}
	s.each(func(c *conn) {
		c.cancel(http.ErrServerClosed)
		c.nc.Close()
	})
	<-ended
	return err
}

func (s *Server) each(f func(*conn)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		f(c)
	}
}

// acceptPause is between attempts while the process has no more files to open.
const acceptPause = 50 * time.Millisecond

func (s *Server) accept(ctx context.Context, l net.Listener) error {
	for {
		nc, err := l.Accept()
		switch {
		case ctx.Err() != nil:
			if err == nil {
				nc.Close()
			}
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		case err != nil:
			s.Complain(err)
			time.Sleep(acceptPause)
			continue
		}
		if s.TLS != nil {
			nc = tls.Server(nc, s.TLS)
		}
		c := &conn{srv: s, nc: nc}
		c.ctx, c.cancel = context.WithCancelCause(context.Background())
		s.mu.Lock()
		s.conns[c] = true
		s.mu.Unlock()
		s.wg.Go(func() {
			own := c.serve()
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.close(own)
		})
	}
}

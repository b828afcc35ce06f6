package identity

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"time"
)

// away has watches wait for an API server that nobody reaches, instead of failing: client-go, which tries again after a pause that grows up to a minute, would find it back that late.
// Everything else fails at once, as whoever asked may know what to do without.
type away struct {
	next    http.RoundTripper
	address string        // host:port
	pause   time.Duration // between two looks, and up to twice that: all nodes look for the same server

	turn chan struct{} // of the one watch that looks for all
	back time.Time     // when the server was last found back; had with turn
}

// lookEvery is short enough for "at once", and nothing next to what a node that is connected sends.
const lookEvery = time.Second

func newAway(next http.RoundTripper, server *url.URL) *away {
	port := server.Port()
	if port == "" {
		port = "443"
	}
	return &away{next: next, address: net.JoinHostPort(server.Hostname(), port), pause: lookEvery, turn: make(chan struct{}, 1)}
}

// RoundTrip sends a request.
func (a *away) RoundTrip(r *http.Request) (*http.Response, error) {
	said, err := a.next.RoundTrip(r)
	var op *net.OpError
	if err == nil || r.URL.Query().Get("watch") != "true" || !errors.As(err, &op) || op.Op != "dial" {
		return said, err
	}
	if err := a.wait(r.Context()); err != nil {
		return nil, err
	}
	return a.next.RoundTrip(r)
}

// WrappedRoundTripper is for client-go, which looks for what it can close idle connections of.
func (a *away) WrappedRoundTripper() http.RoundTripper { return a.next }

// wait returns when somebody listens at the address.
func (a *away) wait(ctx context.Context) error {
	since := time.Now()
	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for a.back.Before(since) {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(a.pause + rand.N(a.pause)):
		}
		dialer := net.Dialer{Timeout: 5 * time.Second}
		if conn, err := dialer.DialContext(ctx, "tcp", a.address); err == nil {
			conn.Close()
			a.back = time.Now()
		}
	}
	return nil
}

package identity

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"
)

func TestWatchesGoOnAsSoonAsTheServerIsBack(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	server := &url.URL{Scheme: "http", Host: address}
	a := newAway(&http.Transport{}, server)
	if a.pause != lookEvery || a.address != address {
		t.Errorf("it looks at %s every %s", a.address, a.pause)
	}
	a.pause = 20 * time.Millisecond
	client := &http.Client{Transport: a}
	get := func(ctx context.Context, query string) error {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.String()+"/api/v1/pods"+query, nil)
		if err != nil {
			return err
		}
		said, err := client.Do(r)
		if err != nil {
			return err
		}
		return said.Body.Close()
	}

	if err := get(t.Context(), ""); err == nil {
		t.Fatal("somebody answered")
	}
	short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := get(short, "?watch=true"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a watch that nobody wants any more ended with %v", err)
	}
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if err := get(t.Context(), "?watch=true"); err != nil {
				t.Error(err)
			}
		})
	}
	time.Sleep(200 * time.Millisecond) // it is away for some time
	if l, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	back := time.Now()
	s := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	defer s.Close()
	go s.Serve(l)
	wg.Wait()
	if took := time.Since(back); took > 2*time.Second {
		t.Errorf("the last watch went on %s after the server was back", took)
	}
}

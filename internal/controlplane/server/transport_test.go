package server

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

func serveInProcess(h http.HandlerFunc) *http.Client {
	t := newInProcess()
	t.serve(h)
	return &http.Client{Transport: t}
}

func TestAnInProcessRequestReachesTheHandlerAsItWasSent(t *testing.T) {
	c := serveInProcess(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("X-Seen", r.Method+" "+r.URL.RequestURI()+" "+r.Header.Get("Authorization")+" "+string(body))
		w.WriteHeader(http.StatusCreated)
		w.Header().Set("X-Late", "not sent")
		_, _ = io.WriteString(w, "made")
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://in-process/api/v1?a=b", strings.NewReader("the body"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer t")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := resp.Header.Get("X-Seen"), "POST /api/v1?a=b Bearer t the body"; got != want {
		t.Errorf("the handler saw %q, want %q", got, want)
	}
	if resp.StatusCode != http.StatusCreated || string(body) != "made" || resp.Header.Get("X-Late") != "" {
		t.Errorf("got %d %q, late header %q; want 201, made, none", resp.StatusCode, body, resp.Header.Get("X-Late"))
	}
}

func TestAStreamedResponseIsReadWhileItIsWritten(t *testing.T) {
	read := make(chan struct{})
	c := serveInProcess(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		for _, s := range []string{"one", "two"} {
			_, _ = io.WriteString(w, s)
			select {
			case <-read:
			case <-r.Context().Done():
				return
			}
		}
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://in-process/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	for _, want := range []string{"one", "two"} {
		b := make([]byte, 16)
		n, err := resp.Body.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Fatalf("read %q, %v; want %q", b[:n], err, want)
		}
		read <- struct{}{}
	}
}

func TestClosingTheBodyEndsTheHandler(t *testing.T) {
	ended := make(chan error, 1)
	c := serveInProcess(func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		_, err := io.WriteString(w, "nobody reads this")
		ended <- err
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://in-process/watch", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	select {
	case err := <-ended:
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("the write after the close gave %v, want %v", err, io.ErrClosedPipe)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the handler still runs 10 s after the body was closed")
	}
}

func TestARequestWaitsForTheServerAndNotLongerThanItsContext(t *testing.T) {
	tr := newInProcess()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://in-process/", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tr.RoundTrip(req); !errors.Is(err, context.Canceled) {
		t.Errorf("before the server serves: %v, want %v", err, context.Canceled)
	}
}

func TestAPanickingHandlerEndsItsOwnResponseOnly(t *testing.T) {
	c := serveInProcess(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://in-process/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); err == nil || !strings.Contains(err.Error(), "/x") {
		t.Errorf("reading an aborted response gave %v, want an error that names the request", err)
	}
}

package hangup

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestAClientThatGoesAwayIsNoticedAndWhatItSentEarlyIsNotLost(t *testing.T) {
	said, ended := make(chan string, 1), make(chan error, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w, r, cancel := Watch(w, r)
		defer cancel()
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		line, err := rw.ReadString('\n')
		if err != nil {
			t.Error(err)
		}
		said <- line
		if err := r.Context().Err(); err != nil {
			t.Errorf("the context ended while the client was there: %v", err)
		}
		go io.Copy(io.Discard, rw)
		select {
		case <-r.Context().Done():
			ended <- r.Context().Err()
		case <-time.After(30 * time.Second):
			ended <- nil
		}
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := bufio.NewWriter(conn)
	fmt.Fprint(w, "GET / HTTP/1.1\r\nHost: x\r\n\r\nearly\n") // one segment: the server has read the line when the connection is taken over
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if got := <-said; got != "early\n" {
		t.Errorf("it heard %q", got)
	}
	conn.Close()
	if err := <-ended; err != context.Canceled {
		t.Errorf("the context ended with %v", err)
	}
}

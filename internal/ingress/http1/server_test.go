package http1

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
)

// serve starts a Server on loopback. stop has it end, and waits until it has.
func serve(t *testing.T, h http.HandlerFunc, change func(*Server)) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{
		Handler: h, HeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, WriteTimeout: time.Minute, MaxHeader: 36 << 10, Complain: func(err error) { t.Log(err) }, Refused: func(net.Addr, int) {},
		HTTP2: func(c net.Conn) {
			begin := make([]byte, 24)
			_, err := io.ReadFull(c, begin)
			fmt.Fprintf(c, "handed on with %q, %v", begin, err)
			c.Close()
		},
	}
	if change != nil {
		change(s)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() {
		ended <- s.Serve(ctx, l, 10*time.Second)
		close(ended)
	}()
	stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

// dial has a connection that is given up in time.
func dial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn)
}

// conversations is a handler for testdata/conversations.txt.
func conversations(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/echo":
		text, err := io.ReadAll(r.Body)
		said := fmt.Sprintf("%s %s %q %v", r.Method, r.RequestURI, text, err)
		if len(r.Trailer) > 0 {
			said += fmt.Sprint(" ", r.Trailer)
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(said)))
		_, _ = io.WriteString(w, said)
	case "/chunks":
		for _, text := range []string{"one", "", "three"} {
			_, _ = w.Write([]byte(text))
			_ = http.NewResponseController(w).Flush()
		}
		w.Header()[http.TrailerPrefix+"X-Sum"] = []string{"5"}
	case "/hint":
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	case "/empty":
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusNoContent)
	case "/unchanged":
		w.Header().Set("Content-Length", "7")
		w.WriteHeader(http.StatusNotModified)
	case "/short":
		w.Header().Set("Content-Length", "10")
		_, _ = w.Write([]byte("short"))
	case "/long":
		w.Header().Set("Content-Length", "3")
		if _, err := w.Write([]byte("longer")); err == nil {
			panic("more is written than there should be")
		}
	case "/abort":
		_, _ = w.Write([]byte("begun"))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	case "/breaks":
		w.Header()["X"] = []string{"a\r\nY: b"}
		w.Header()["Y\r\nZ"] = []string{"c"}
	case "/end":
		w.Header().Set("X-End", "1")
		w.Header().Set("Connection", "close")
	}
}

var dateHeader = regexp.MustCompile(`(?m)^Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT\r\n`)

// Each conversation is sent at once, with CRLF for its line ends ("\" at the end of a line: none; "." is an empty line), and a last request after it. Shown is what comes back but for
// the date, which each answer has; and whether the last request was answered.
func TestConversations(t *testing.T) {
	address, _ := serve(t, conversations, nil)
	datadriven.RunTest(t, "testdata/conversations.txt", func(t *testing.T, d *datadriven.TestData) string {
		c := dial(t, address)
		text := strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(d.Input+"\n", "\n.\n", "\n\n"), "\\\n", ""), "\n", "\r\n")
		if _, err := io.WriteString(c, text+"GET /end HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Error(err)
		}
		got, err := io.ReadAll(c)
		if err != nil {
			t.Errorf("%s: %v", d.Pos, err)
		}
		answers := bytes.Count(got, []byte("HTTP/1.1 ")) - bytes.Count(got, []byte("HTTP/1.1 10"))
		said := string(dateHeader.ReplaceAll(got, nil))
		if dates := len(dateHeader.FindAll(got, -1)); dates != answers && !strings.Contains(said, "HTTP/1.1 4") && !strings.Contains(said, "HTTP/1.1 5") {
			t.Errorf("%s: %d answers with %d dates", d.Pos, answers, dates)
		}
		end := "(closed)"
		if at := strings.LastIndex(said, "HTTP/1.1 200 OK\r\n"); at >= 0 && strings.Contains(said[at:], "X-End: 1\r\n") {
			said, end = said[:at], "(open)"
		}
		return strings.TrimRight(strings.ReplaceAll(said, "\r\n", "\n"), "\n") + "\n" + end + "\n"
	})
}

func TestTheServerEndsWhenRequestsUnderWayHave(t *testing.T) {
	began, goOn := make(chan struct{}), make(chan struct{})
	address, stop := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(began)
			<-goOn
		}
		_, _ = io.WriteString(w, "fine")
	}, nil)
	idle, busy := dial(t, address), dial(t, address)
	fmt.Fprint(idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	r := bufio.NewReader(idle)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp, err)
	} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(busy, "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
	<-began
	ended := make(chan struct{})
	go func() {
		stop()
		close(ended)
	}()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("a connection without a request gets %q, %v; want its end", rest, err)
	}
	select {
	case <-ended:
		t.Error("the server has ended, and a request is under way")
	default:
	}
	close(goOn)
	resp, err := http.ReadResponse(bufio.NewReader(busy), nil)
	if err != nil || !resp.Close {
		t.Fatalf("the request under way is answered with %+v, %v; want the connection's end to be told", resp, err)
	}
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "fine" {
		t.Errorf("%q, %v", text, err)
	}
	<-ended
}

func TestAClientThatLeavesIsNoticedWhateverItHasSent(t *testing.T) {
	for name, send := range map[string]string{
		"nothing more": "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
		"a body":       "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
		"the next":     "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		began, called := make(chan struct{}), make(chan struct{})
		address, stop := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			undo := w.(*response).WhenGone(func() { close(called) })
			close(began)
			<-r.Context().Done()
			<-called
			if undo() {
				t.Errorf("%s: what was called is said not to have been", name)
			}
			panic(http.ErrAbortHandler)
		}, nil)
		c := dial(t, address)
		fmt.Fprint(c, send)
		<-began
		c.Close()
		select {
		case <-called:
		case <-time.After(10 * time.Second):
			t.Fatalf("%s: not noticed", name)
		}
		stop()
	}
}

// A byte now and then buys no time, and a client that says nothing more is told so.
func TestASlowHeaderIsNotWaitedFor(t *testing.T) {
	address, _ := serve(t, conversations, func(s *Server) { s.HeaderTimeout = 200 * time.Millisecond })
	c := dial(t, address)
	began := time.Now()
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nX: ")
	go func() {
		for range 100 {
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusRequestTimeout {
		t.Errorf("answered with %+v, %v", resp, err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("waited for %s", took)
	}
}

// A client that goes on sending what nobody wants can read why nobody does.
func TestTheAnswerIsReadThoughTheBodyGoesOn(t *testing.T) {
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }, nil)
	for range 20 {
		c := dial(t, address)
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500000\r\n\r\n")
		if _, err := c.Write(make([]byte, 500000)); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != http.StatusRequestEntityTooLarge || !resp.Close {
			t.Fatalf("answered with %+v, %v", resp, err)
		}
		c.Close()
	}
}

func TestAClientOfHTTP2IsHandedOnWithAllItSaid(t *testing.T) {
	address, _ := serve(t, conversations, nil)
	c := dial(t, address)
	const begin = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	for i := range begin {
		if _, err := c.Write([]byte{begin[i]}); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != fmt.Sprintf("handed on with %q, <nil>", begin) {
		t.Errorf("%q, %v", got, err)
	}
}

// A client may send the largest header, on many connections, and then wait on each.
func TestAConnectionThatWaitsHoldsNothingOfItsLastRequest(t *testing.T) {
	address, _ := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("y", 64<<10)) }, nil)
	used := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	const count = 100
	before := used()
	var conns []net.Conn
	send := []byte("GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n")
	for range count {
		c := dial(t, address)
		if _, err := c.Write(send); err != nil {
			t.Fatal(err)
		}
		if resp, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(resp, err)
		}
		conns = append(conns, c)
	}
	if each := (used() - before) / count; each > 24<<10 {
		t.Errorf("each of %d connections holds %d bytes", len(conns), each)
	}
}

package proxy_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/gitopsd/gitopsd/internal/ingress/proxy"
	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// front is a Proxy that listens on loopback.
type front struct {
	*proxy.Proxy
	plain, secure string
}

func start(t *testing.T, cfg proxy.Config) *front {
	t.Helper()
	f := &front{}
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	plain, secure := listen(), listen()
	f.plain, f.secure = plain.Addr().String(), secure.Addr().String()
	cfg.HTTPSPort = secure.Addr().(*net.TCPAddr).Port
	f.Proxy = proxy.New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for l, tls := range map[net.Listener]bool{plain: false, secure: true} {
		wg.Go(func() {
			if err := f.Serve(ctx, l, tls, 100*time.Millisecond); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	return f
}

// policy is what translate gives a route whose Ingress says nothing.
func policy() *routes.Policy {
	return &routes.Policy{BodyLimit: 1 << 20, Connect: 5 * time.Second, Read: time.Minute, Send: time.Minute, Burst: 5}
}

// all leads everything to some endpoints.
func all(p *routes.Policy, endpoints ...string) *routes.Table {
	return routes.NewTable([]*routes.Route{{Owner: "shop/web", Kind: routes.Prefix, Path: "/", Policy: p, Backend: backend("shop/web:80", endpoints...)}}, nil)
}

func backend(key string, endpoints ...string) *routes.Backend {
	b := &routes.Backend{Key: key}
	for _, e := range endpoints {
		b.Endpoints = append(b.Endpoints, netip.MustParseAddrPort(e))
	}
	return b
}

// endpoint is a real HTTP server.
func endpoint(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	return srv.Listener.Addr().String()
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// ask sends a request with some headers, "Name: value" each, and returns the answer with its body read.
func ask(t *testing.T, client *http.Client, method, url string, body io.Reader, headers ...string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "Host" {
			req.Host = value
		}
		req.Header.Add(name, value)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

var direct = &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func TestABackendLearnsWhoAsksAndNobodyElseSaysSo(t *testing.T) {
	var got http.Request
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		got = *r
		w.Header().Set("Connection", "X-Hidden")
		w.Header().Set("X-Hidden", "1")
		w.Header().Set("X-Shown", "1")
		w.WriteHeader(http.StatusTeapot)
	})
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at))
	resp, _ := ask(t, direct, "GET", "http://"+f.plain+"/a%2fb//c?x=%20&y", nil, "Host: shop.example",
		"X-Forwarded-For: 192.0.2.1", "X-Forwarded-Proto: https", "Forwarded: for=192.0.2.1", "X-Real-Ip: 192.0.2.1", "X_Forwarded_For: 192.0.2.1",
		"Connection: X-Secret", "X-Secret: 1", "Te: gzip", "Proxy-Authorization: x", "Proxy: http://192.0.2.1", "X-Kept: 1", "Kept_Too: 1",
		"Transfer_Encoding: chunked", "Content_Length: 7", "X_Secret: 1")
	if resp.StatusCode != http.StatusTeapot || resp.Header.Get("X-Shown") != "1" || resp.Header.Get("X-Hidden") != "" {
		t.Errorf("answered with %s, %v", resp.Status, resp.Header)
	}
	if got.RequestURI != "/a%2fb//c?x=%20&y" || got.Host != "shop.example" {
		t.Errorf("the backend was asked for %s of %s", got.RequestURI, got.Host)
	}
	var lines []string
	for k, v := range got.Header {
		lines = append(lines, k+": "+strings.Join(v, "|"))
	}
	slices.Sort(lines)
	want := []string{"Accept-Encoding: gzip", "Kept_too: 1", "User-Agent: Go-http-client/1.1", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Host: shop.example", "X-Forwarded-Port: 80",
		"X-Forwarded-Proto: http", "X-Forwarded-Scheme: http", "X-Kept: 1", "X-Real-Ip: 127.0.0.1", "X-Scheme: http"}
	if !slices.Equal(lines, want) {
		t.Errorf("headers at the backend:\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestAProxyThatIsTrustedSaysWhoAsks(t *testing.T) {
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header.Get("X-Real-Ip"), " ", r.Header.Get("X-Forwarded-For"), " ", r.Header.Get("X-Forwarded-Proto"))
	})
	f := start(t, proxy.Config{Trusted: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}})
	f.Set(all(policy(), at))
	_, text := ask(t, direct, "GET", "http://"+f.plain, nil, "X-Forwarded-For: 192.0.2.66, 192.0.2.1, 10.0.0.1", "X-Forwarded-Proto: https")
	if want := "192.0.2.1 192.0.2.66, 192.0.2.1, 10.0.0.1, 127.0.0.1 https"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
}

func TestNobodyIsKeptWaitingWhereNobodyAnswers(t *testing.T) {
	f := start(t, proxy.Config{})
	began := time.Now()
	if resp, text := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != 404 || !strings.Contains(text, "no route") {
		t.Errorf("without a route: %s %q", resp.Status, text)
	}
	f.Set(all(policy()))
	if resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != 503 {
		t.Errorf("without an endpoint: %s", resp.Status)
	}
	f.Set(all(&routes.Policy{Problem: "x"}, "127.0.0.1:1"))
	if resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != 503 {
		t.Errorf("of a route that is not understood: %s", resp.Status)
	}
	f.Set(all(policy(), "127.0.0.1:1"))
	if resp, _ := ask(t, direct, "POST", "http://"+f.plain, strings.NewReader("x")); resp.StatusCode != 502 {
		t.Errorf("of an endpoint that is not there: %s", resp.Status)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("four answers took %s", took)
	}
	slow := endpoint(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	p := policy()
	p.Read = 50 * time.Millisecond
	p.Send = p.Read
	f.Set(all(p, slow))
	if resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != 504 {
		t.Errorf("of an endpoint that says nothing: %s", resp.Status)
	}
}

func TestAnEndpointThatCannotBeReachedCostsNoRequest(t *testing.T) {
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(text)
	})
	f := start(t, proxy.Config{})
	f.Set(all(policy(), "127.0.0.1:1", "127.0.0.1:2", at))
	for i := range 20 {
		body := strings.Repeat("x", 1+i*10000) // small ones are read first, large ones streamed
		if resp, text := ask(t, direct, "POST", "http://"+f.plain, strings.NewReader(body)); resp.StatusCode != 200 || text != body {
			t.Fatalf("request %d: %s with %d bytes, want %d", i, resp.Status, len(text), len(body))
		}
	}
}

func TestRequestsAreSpreadEvenly(t *testing.T) {
	var counts [3]atomic.Int32
	var at []string
	for i := range counts {
		at = append(at, endpoint(t, func(http.ResponseWriter, *http.Request) { counts[i].Add(1) }))
	}
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at...))
	for range 300 {
		ask(t, direct, "GET", "http://"+f.plain, nil)
	}
	for i := range counts {
		if n := counts[i].Load(); n < 80 || n > 120 {
			t.Errorf("endpoint %d got %d of 300", i, n)
		}
	}
}

// Endpoints come and go, each closing what it has open in the moment in which it is out of the table; no request is to fail of that that can be sent
// again, and none that is under way.
func TestEndpointsThatLeaveFailNoRequest(t *testing.T) {
	f := start(t, proxy.Config{})
	serve := func() *httptest.Server {
		return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Millisecond) // so that some are always under way
			fmt.Fprint(w, "fine")
		}))
	}
	first := serve()
	f.Set(all(policy(), first.Listener.Addr().String()))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	var sent, failed atomic.Int32
	for i := range 8 {
		method := []string{"GET", "PUT"}[i%2]
		client := &http.Client{Transport: &http.Transport{}}
		wg.Go(func() {
			defer client.CloseIdleConnections()
			for ctx.Err() == nil {
				req, err := http.NewRequest(method, "http://"+f.plain, strings.NewReader("body"))
				if err != nil {
					t.Error(err)
					return
				}
				resp, err := client.Do(req)
				sent.Add(1)
				if err != nil {
					failed.Add(1)
					t.Error(err)
					continue
				}
				if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "fine" {
					failed.Add(1)
					t.Errorf("%s: %s %q %v", method, resp.Status, text, err)
				}
				resp.Body.Close()
			}
		})
	}
	old := first
	for range 30 {
		next := serve()
		f.Set(all(policy(), old.Listener.Addr().String(), next.Listener.Addr().String()))
		time.Sleep(5 * time.Millisecond)
		f.Set(all(policy(), next.Listener.Addr().String()))
		old.Close() // waits for requests under way, and closes idle connections at once
		old = next
	}
	cancel()
	wg.Wait()
	old.Close()
	t.Logf("%d requests, %d failed", sent.Load(), failed.Load())
}

// A request can be slow between its look at the table and its endpoint, on a busy node for longer than a Pod takes to end.
func TestARequestWhoseEndpointLeftGoesToItsSuccessor(t *testing.T) {
	f := start(t, proxy.Config{})
	next := endpoint(t, says("next"))
	old, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	f.Set(all(policy(), old.Addr().String()))
	go func() {
		c, err := old.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			t.Error(err)
		}
		f.Set(all(policy(), next))
		old.Close()
		c.Close()
	}()
	if resp, text := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != http.StatusOK || text != "next" {
		t.Errorf("%s %q, want the answer of the endpoint that came in place of the first", resp.Status, text)
	}
}

func TestAStreamArrivesAsItIsSent(t *testing.T) {
	said, heard := make(chan string), make(chan struct{})
	at := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for text := range said {
			fmt.Fprintf(w, "data: %s\n\n", text)
			w.(http.Flusher).Flush()
		}
		close(heard)
	})
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at))
	resp, err := direct.Get("http://" + f.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	r := bufio.NewReader(resp.Body)
	for i := range 3 {
		said <- fmt.Sprint(i)
		for _, want := range []string{fmt.Sprintf("data: %d\n", i), "\n"} {
			if line, err := r.ReadString('\n'); err != nil || line != want {
				t.Fatalf("heard %q, %v", line, err)
			}
		}
	}
	close(said)
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
		t.Errorf("then %q, %v", rest, err)
	}
	<-heard
}

func TestAClientThatLeavesEndsItsRequest(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	at := endpoint(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at))
	ctx, cancel := context.WithCancel(t.Context())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://"+f.plain, nil)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		<-began
		cancel()
	}()
	resp, err := direct.Do(req)
	if !errors.Is(err, context.Canceled) {
		resp.Body.Close()
		t.Fatalf("got %v", err)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the backend goes on")
	}
}

// A protocol that takes the connection over, as WebSocket does; HTTP/2 must not come in this way.
func TestAConnectionIsTakenOver(t *testing.T) {
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "websocket" {
			fmt.Fprintf(w, "no upgrade: %q %q", r.Header.Get("Upgrade"), r.Header.Get("Connection"))
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-Websocket-Accept: %s\r\n\r\nhello ", r.Header.Get("Sec-Websocket-Key"))
		rw.Flush()
		_, _ = io.Copy(c, rw)
	})
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at))
	c, err := net.Dial("tcp", f.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET /chat HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\nearly ")
	r := bufio.NewReader(c)
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != 101 || resp.Header.Get("Sec-Websocket-Accept") != "k" || resp.Header.Get("Upgrade") != "websocket" {
		t.Fatalf("got %v, %v", resp, err)
	}
	fmt.Fprint(c, "late")
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(r); err != nil || string(text) != "hello early late" {
		t.Errorf("heard %q, %v", text, err)
	}
	if _, text := ask(t, direct, "GET", "http://"+f.plain, nil, "Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA"); text != `no upgrade: "" ""` {
		t.Errorf("h2c: %s", text)
	}
	// Nor is there any for who speaks HTTP/1.0.
	old, err := net.Dial("tcp", f.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	fmt.Fprint(old, "GET /chat HTTP/1.0\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	if said, err := io.ReadAll(old); err != nil || !strings.HasSuffix(string(said), `no upgrade: "" ""`) {
		t.Errorf("HTTP/1.0: %q, %v", said, err)
	}
	// While a body is read from the connection, nobody can take it over.
	for _, size := range []int{1, 1 << 20} {
		if resp, text := ask(t, direct, "POST", "http://"+f.plain, strings.NewReader(strings.Repeat("x", size)), "Connection: Upgrade", "Upgrade: websocket"); text != `no upgrade: "" ""` {
			t.Errorf("with a body of %d bytes: %s %s", size, resp.Status, text)
		}
	}
}

// h2Client speaks HTTP/2, over TLS or without.
func h2Client(t *testing.T, secure bool) *http.Client {
	t.Helper()
	tr := &http.Transport{Protocols: new(http.Protocols), TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	tr.Protocols.SetHTTP2(secure)
	tr.Protocols.SetUnencryptedHTTP2(!secure)
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// A client of HTTP/2 has its time for reading, as one of HTTP/1.1 has, and the endpoint's silence is not part of it.
func TestSilenceOfAnEndpointEndsNoStream(t *testing.T) {
	const patience = 200 * time.Millisecond
	quiet := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, text := range []string{"a", "b", "c"} {
			time.Sleep(3 * patience)
			fmt.Fprint(w, text)
			w.(http.Flusher).Flush()
		}
	})
	ended := make(chan struct{})
	endless := endpoint(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		for block := make([]byte, 64<<10); ; {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	f := start(t, proxy.Config{WriteTimeout: patience})
	client := h2Client(t, true)
	f.Set(all(policy(), quiet))
	if resp, text := ask(t, client, "GET", "https://"+f.secure, nil); resp.ProtoMajor != 2 || text != "abc" {
		t.Errorf("%s %s %q", resp.Proto, resp.Status, text)
	}
	f.Set(all(policy(), endless))
	resp, err := client.Get("https://" + f.secure)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	select {
	case <-ended: // nobody has read
	case <-time.After(10 * time.Second):
		t.Error("a client that does not read is waited for")
	}
}

// gRPC is HTTP/2 with a status in the trailers, and streams both ways at once.
func TestGRPCPassesBothWaysAtOnce(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.Header.Get("Te") != "trailers" {
			t.Errorf("the backend got %s with Te %q", r.Proto, r.Header.Get("Te"))
		}
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Trailer", "Grpc-Status")
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		lines := bufio.NewScanner(r.Body)
		for lines.Scan() {
			fmt.Fprintf(w, "echo %s\n", lines.Text())
			w.(http.Flusher).Flush()
		}
		w.Header().Set("Grpc-Status", "0")
		w.Header().Set(http.TrailerPrefix+"Grpc-Message", "late")
	}))
	srv.Config.Protocols = new(http.Protocols)
	srv.Config.Protocols.SetUnencryptedHTTP2(true)
	srv.Start()
	t.Cleanup(srv.Close)
	f := start(t, proxy.Config{})
	p := policy()
	p.Protocol = routes.GRPC
	f.Set(all(p, srv.Listener.Addr().String()))
	for _, url := range []string{"http://" + f.plain, "https://" + f.secure} {
		client := h2Client(t, strings.HasPrefix(url, "https"))
		from, to := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), "POST", url+"/shop.Orders/Watch", from)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Te", "trailers")
		resp, err := client.Do(req) // answers before anything is sent
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(resp.Body)
		for i := range 3 {
			fmt.Fprintf(to, "%d\n", i)
			if line, err := r.ReadString('\n'); err != nil || line != fmt.Sprintf("echo %d\n", i) {
				t.Fatalf("%s: heard %q, %v", url, line, err)
			}
		}
		to.Close()
		if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 {
			t.Errorf("%s: then %q, %v", url, rest, err)
		}
		resp.Body.Close()
		if resp.Trailer.Get("Grpc-Status") != "0" || resp.Trailer.Get("Grpc-Message") != "late" {
			t.Errorf("%s: trailers %v", url, resp.Trailer)
		}
	}
}

func TestABackendMaySpeakTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, r.Proto, " ", string(text))
	}))
	srv.EnableHTTP2 = true
	srv.StartTLS()
	t.Cleanup(srv.Close)
	f := start(t, proxy.Config{})
	p := policy()
	p.Protocol = routes.HTTPS
	f.Set(all(p, srv.Listener.Addr().String()))
	for range 3 {
		if resp, text := ask(t, direct, "PUT", "http://"+f.plain, strings.NewReader("body")); text != "HTTP/2.0 body" {
			t.Errorf("got %s %q", resp.Status, text)
		}
	}
}

func TestBodiesAreBounded(t *testing.T) {
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, err)
	})
	f := start(t, proxy.Config{})
	p := policy()
	p.BodyLimit = 200 << 10
	f.Set(all(p, at))
	type chunked struct{ io.Reader } // of a length that the client does not tell
	for _, test := range []struct {
		size   int
		status int
	}{{0, 200}, {100, 200}, {100 << 10, 200}, {200 << 10, 200}, {200<<10 + 1, 413}, {1 << 20, 413}} {
		text := strings.Repeat("x", test.size)
		for name, body := range map[string]io.Reader{"with its length": strings.NewReader(text), "chunked": chunked{strings.NewReader(text)}} {
			resp, said := ask(t, direct, "POST", "http://"+f.plain, body)
			if resp.StatusCode != test.status || test.status == 200 && said != fmt.Sprint(test.size, " <nil>") && said != fmt.Sprint(test.size, "<nil>") {
				t.Errorf("%d bytes %s: %s %q", test.size, name, resp.Status, said)
			}
		}
	}
}

var captured = regexp.MustCompile("(?i)^/api(/|$)(.*)")

func TestWhatAPolicyDoes(t *testing.T) {
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Host, " ", r.RequestURI) })
	other := endpoint(t, says("canary"))
	f := start(t, proxy.Config{HSTS: time.Hour})
	trusting := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, CheckRedirect: direct.CheckRedirect}
	users := map[string]string{
		"ann": "$apr1$8yb4MUk2$NaGf1CZdgS.aVgVrvRxxo/",
		"bob": "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
		"eve": "$2a$04$iM2icTs6rJbHCDnUBh5z3OLvneBUMaJaLWtaZ1rPYtoR4eInnF6CG",
	}
	to := func(r *routes.Route) func(p *routes.Policy) {
		return func(p *routes.Policy) {
			r.Policy, r.Owner = p, "shop/web"
			if r.Backend == nil {
				r.Backend = backend("shop/web:80", at)
			}
			for i := range r.Canaries {
				r.Canaries[i].Policy = p
			}
			f.Set(routes.NewTable([]*routes.Route{r}, nil))
		}
	}
	every := func() func(*routes.Policy) { return to(&routes.Route{Kind: routes.Prefix, Path: "/"}) }
	canary := func(c routes.Canary) func(*routes.Policy) {
		c.Backend, c.Total = backend("shop/new:80", other), 100
		return to(&routes.Route{Kind: routes.Prefix, Path: "/", Canaries: []routes.Canary{c}})
	}
	pattern := to(&routes.Route{Kind: routes.Pattern, Path: "/api(/|$)(.*)", Expr: captured})
	for _, test := range []struct {
		name    string
		set     func(*routes.Policy)
		policy  func(*routes.Policy)
		url     string
		headers []string
		want    string // status, then what is looked for in the answer or its header
		method  string
	}{
		{name: "nothing", set: every(), want: "200 x.example /y", url: "/y"},
		{name: "rewrite", set: pattern, policy: func(p *routes.Policy) { p.Rewrite = "/v1/${2}" }, url: "/API/a%20b/c?q=1", want: "200 x.example /v1/a%20b/c?q=1"},
		{name: "rewrite to all there is", set: every(), policy: func(p *routes.Policy) { p.Rewrite = "/one" }, url: "/y/z?q", want: "200 x.example /one?q"},
		{name: "vhost", set: every(), policy: func(p *routes.Policy) { p.Host = "inner.example" }, want: "200 inner.example /"},
		{name: "to HTTPS", set: every(), policy: func(p *routes.Policy) { p.ToHTTPS = true }, url: "/y?z", want: "308 Location: https://x.example:" + f.secure[strings.LastIndex(f.secure, ":")+1:] + "/y?z"},
		{name: "by HTTPS", set: every(), policy: func(p *routes.Policy) { p.ToHTTPS = true }, url: "https:/y", want: "200 Strict-Transport-Security: max-age=3600; includeSubDomains"},
		{name: "redirect", set: every(), policy: func(p *routes.Policy) { p.Redirect, p.Code = "https://new.example/x", 301 }, want: "301 Location: https://new.example/x"},
		{name: "app root", set: every(), policy: func(p *routes.Policy) { p.AppRoot = "/app" }, want: "302 Location: /app"},
		{name: "app root, further in", set: every(), policy: func(p *routes.Policy) { p.AppRoot = "/app" }, url: "/app/x", want: "200 x.example /app/x"},
		{name: "denied", set: every(), policy: func(p *routes.Policy) { p.Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }, want: "403"},
		{name: "not allowed, whatever it says", set: every(), policy: func(p *routes.Policy) { p.Allow = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")} }, headers: []string{"X-Forwarded-For: 10.0.0.1"}, want: "403"},
		{name: "allowed", set: every(), policy: func(p *routes.Policy) { p.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }, want: "200"},
		{name: "nameless", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Realm: "shop", Users: users} }, want: `401 Www-Authenticate: Basic realm="shop", charset="UTF-8"`},
		{name: "right password", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Users: users} }, headers: []string{"Authorization: Basic Ym9iOnRlc3Q="}, want: "200"},
		{name: "wrong password", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Users: users} }, headers: []string{"Authorization: Basic Ym9iOnRlc3R0"}, want: "401"},
		{name: "right password, apr1", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Users: users} }, headers: []string{"Authorization: Basic YW5uOnRlc3Q="}, want: "200"},
		{name: "wrong password, apr1", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Users: users} }, headers: []string{"Authorization: Basic YW5uOnRlc3R0"}, want: "401"},
		{name: "right password, bcrypt", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Users: users} }, headers: []string{"Authorization: Basic ZXZlOnRlc3Q="}, want: "200"},
		{name: "wrong password, bcrypt", set: every(), policy: func(p *routes.Policy) { p.Auth = &routes.Auth{Users: users} }, headers: []string{"Authorization: Basic ZXZlOnRlc3R0"}, want: "401"},
		{name: "origin", set: every(), policy: func(p *routes.Policy) {
			p.CORS = &routes.CORS{Origins: []string{"https://*.example.org"}, Credentials: true}
		}, headers: []string{"Origin: https://a.example.org"}, want: "200 Access-Control-Allow-Origin: https://a.example.org"},
		{name: "another origin", set: every(), policy: func(p *routes.Policy) {
			p.CORS = &routes.CORS{Origins: []string{"https://*.example.org"}, Credentials: true}
		}, headers: []string{"Origin: https://evil.example/.example.org"}, want: "200 Access-Control-Allow-Origin: "},
		{name: "preflight", method: "OPTIONS", set: every(), policy: func(p *routes.Policy) {
			p.CORS = &routes.CORS{Origins: []string{"*"}, Methods: "GET, PUT", Credentials: true}
		}, headers: []string{"Origin: https://a.example", "Access-Control-Request-Method: PUT"}, want: "204 Access-Control-Allow-Methods: GET, PUT"},
		{name: "canary by header", set: canary(routes.Canary{Header: "X-New"}), headers: []string{"X-New: always"}, want: "200 canary"},
		{name: "not by header, whatever the weight", set: canary(routes.Canary{Header: "X-New", Weight: 100}), headers: []string{"X-New: never"}, want: "200 x.example /"},
		{name: "canary by value", set: canary(routes.Canary{Header: "X-New", Value: "yes"}), headers: []string{"X-New: yes"}, want: "200 canary"},
		{name: "canary by cookie", set: canary(routes.Canary{Cookie: "new"}), headers: []string{"Cookie: new=always"}, want: "200 canary"},
		{name: "canary by weight", set: canary(routes.Canary{Weight: 100}), want: "200 canary"},
		{name: "not by weight", set: canary(routes.Canary{Weight: 0}), want: "200 x.example /"},
		{name: "trace", method: "TRACE", set: every(), want: "405"},
	} {
		p := policy()
		if test.policy != nil {
			test.policy(p)
		}
		test.set(p)
		url := "http://" + f.plain + test.url
		if rest, ok := strings.CutPrefix(test.url, "https:"); ok {
			url = "https://" + f.secure + rest
		}
		method := test.method
		if method == "" {
			method = "GET"
		}
		resp, text := ask(t, trusting, method, url, nil, append([]string{"Host: x.example"}, test.headers...)...)
		status, rest, _ := strings.Cut(test.want, " ")
		name, value, isHeader := strings.Cut(rest, ": ")
		if fmt.Sprint(resp.StatusCode) != status || isHeader && resp.Header.Get(name) != value || !isHeader && rest != "" && text != rest {
			t.Errorf("%s: %s %q %v, want %s", test.name, resp.Status, text, resp.Header, test.want)
		}
	}
	trusting.CloseIdleConnections()
}

// A certificate authority asks without TLS, whatever the route says about who may, and where to.
func TestAChallengeIsAnsweredBeforeARouteIsAsked(t *testing.T) {
	f := start(t, proxy.Config{})
	p := policy()
	p.ToHTTPS, p.Auth = true, &routes.Auth{Realm: "x"}
	at := endpoint(t, says("backend"))
	f.Set(all(p, at).Answering("thumb", []string{"a.example"}))
	for host, want := range map[string]string{"a.example": "200 token.thumb", "b.example": "401 name and password are needed\n"} {
		resp, text := ask(t, direct, "GET", "http://"+f.plain+routes.ChallengePath+"token", nil, "Host: "+host)
		if got := fmt.Sprint(resp.StatusCode, " ", text); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	if resp, _ := ask(t, direct, "GET", "http://"+f.plain+"/token", nil, "Host: a.example"); resp.StatusCode != http.StatusPermanentRedirect {
		t.Errorf("what is no challenge: %s", resp.Status)
	}
}

func TestAClientComesBackToItsEndpointWhileItIsThere(t *testing.T) {
	at := []string{endpoint(t, says("a")), endpoint(t, says("b")), endpoint(t, says("c"))}
	f := start(t, proxy.Config{})
	p := policy()
	p.Affinity = &routes.Affinity{Cookie: "route", Path: "/"}
	f.Set(all(p, at...))
	resp, first := ask(t, direct, "GET", "http://"+f.plain, nil)
	cookie := resp.Cookies()[0]
	for range 10 {
		resp, text := ask(t, direct, "GET", "http://"+f.plain, nil, "Cookie: route="+cookie.Value)
		if text != first || len(resp.Cookies()) > 0 {
			t.Fatalf("answered by %s after %s, cookies %v", text, first, resp.Cookies())
		}
	}
	i := slices.Index([]string{"a", "b", "c"}, first)
	f.Set(all(p, slices.Delete(slices.Clone(at), i, i+1)...))
	resp, text := ask(t, direct, "GET", "http://"+f.plain, nil, "Cookie: route="+cookie.Value)
	if text == first || len(resp.Cookies()) != 1 || resp.Cookies()[0].Value == cookie.Value {
		t.Errorf("answered by %s, which is gone: cookies %v", text, resp.Cookies())
	}
}

func TestClientsAreLimited(t *testing.T) {
	at := endpoint(t, says("fine"))
	f := start(t, proxy.Config{})
	p := policy()
	p.PerMinute, p.Burst = 2, 3
	f.Set(all(p, at))
	var got []int
	for range 8 {
		resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil)
		got = append(got, resp.StatusCode)
	}
	if want := []int{200, 200, 200, 200, 200, 200, 429, 429}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	began, hold := make(chan struct{}, 1), make(chan struct{})
	slow := endpoint(t, func(http.ResponseWriter, *http.Request) {
		began <- struct{}{}
		<-hold
	})
	p = policy()
	p.Connections = 1
	f.Set(routes.NewTable([]*routes.Route{{Owner: "shop/slow", Kind: routes.Prefix, Path: "/", Policy: p, Backend: backend("shop/slow:80", slow)}}, nil))
	var wg sync.WaitGroup
	wg.Go(func() { ask(t, direct, "GET", "http://"+f.plain, nil) })
	<-began
	if resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != 429 {
		t.Errorf("a second request under way: %s", resp.Status)
	}
	close(hold)
	wg.Wait()
	if resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil); resp.StatusCode != 200 {
		t.Errorf("after the first: %s", resp.Status)
	}
}

// A trailer comes through, by each protocol, if it was announced and is not one that could be taken for what only headers may say.
func TestTrailersPassBothWays(t *testing.T) {
	at := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Back, X-Forwarded-For")
		fmt.Fprint(w, r.Trailer, " announced ", r.Header["Trailer"])
		w.Header().Set("X-Back", "b")
		w.Header().Set("X-Forwarded-For", "evil")
	})
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at))
	for name, client := range map[string]*http.Client{"HTTP/1.1": direct, "HTTP/2": h2Client(t, false)} {
		req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+f.plain, io.MultiReader(strings.NewReader("text")))
		if err != nil {
			t.Fatal(err)
		}
		req.Trailer = http.Header{"X-Sum": {"4"}, "X-Real-Ip": {"10.0.0.1"}}
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(text) != "map[X-Sum:[4]] announced []" { // net/http moves that header to the map
			t.Errorf("%s: the backend was told %q, %v", name, text, err)
		}
		if resp.Trailer.Get("X-Back") != "b" || resp.Trailer.Get("X-Forwarded-For") != "" {
			t.Errorf("%s: the client was told %v", name, resp.Trailer)
		}
	}
}

// What cannot be read as a request is no route's, but counted and logged as nginx does.
func TestMetricsAndLogTellOfWhatIsNoRequest(t *testing.T) {
	var text lockedBuilder
	log := proxy.NewAccessLog(&text)
	f := start(t, proxy.Config{Log: log, HeaderTimeout: 50 * time.Millisecond})
	for _, said := range []string{"nonsense\r\n\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", "GET / HTTP/1.1\r\nHost: "} {
		c, err := net.Dial("tcp", f.plain)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, said)
		_, _ = io.ReadAll(c) // until it is closed
		c.Close()
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	for _, status := range []int{400, 431, 408} {
		if line := regexp.MustCompile(fmt.Sprintf(`(?m)^127\.0\.0\.1 - - \[.*\] "" %d 0 "" "" 0\.\d\d\d "" \[\] -$`, status)); !line.MatchString(text.String()) {
			t.Errorf("%d is not logged: %q", status, text.String())
		}
		if n := counted(t, f, "nginx_ingress_controller_requests", strconv.Itoa(status)); n != 1 {
			t.Errorf("%d is counted %v times", status, n)
		}
	}
}

// counted is a counter's value, of those that have a label of the given value; empty: any.
func counted(t *testing.T, f *front, name, label string) (sum float64) {
	t.Helper()
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(f.Collector())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			if family.GetName() == name && (label == "" || slices.ContainsFunc(m.GetLabel(), func(l *dto.LabelPair) bool { return l.GetValue() == label })) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// One client leaves room for others, unless it is a proxy that stands for many.
func TestOneClientMayHaveSoManyConnections(t *testing.T) {
	at := endpoint(t, says("fine"))
	for _, trusted := range [][]netip.Prefix{nil, {netip.MustParsePrefix("127.0.0.1/32")}} {
		f := start(t, proxy.Config{ConnectionsPerClient: 3, Trusted: trusted})
		f.Set(all(policy(), at))
		connect := func(from string) (net.Conn, bool) {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).Dial("tcp", f.plain)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			_, err = c.Read(make([]byte, 1))
			return c, err == nil
		}
		var conns []net.Conn
		for range 3 {
			c, ok := connect("127.0.0.1")
			if !ok {
				t.Fatal("a connection within the limit was refused")
			}
			conns = append(conns, c)
		}
		if _, ok := connect("127.0.0.1"); ok != (trusted != nil) {
			t.Errorf("a fourth connection, from proxies %v: %v", trusted, ok)
		}
		if _, ok := connect("127.0.0.2"); !ok {
			t.Error("another client's connection was refused")
		}
		if trusted != nil {
			continue
		}
		if n := counted(t, f, "gitopsd_ingress_connections_refused_total", ""); n != 1 {
			t.Errorf("%v connections are counted as refused", n)
		}
		conns[0].Close()
		deadline := time.Now().Add(20 * time.Second)
		for _, ok := connect("127.0.0.1"); !ok; _, ok = connect("127.0.0.1") { // the server has to read the end first
			if time.Now().After(deadline) {
				t.Fatal("a place that was given back is not had again")
			}
			time.Sleep(time.Millisecond)
		}
	}
}

func TestMetricsAndLogTellOfEachRequest(t *testing.T) {
	at := endpoint(t, says("fine"))
	var text lockedBuilder
	log := proxy.NewAccessLog(&text)
	f := start(t, proxy.Config{Log: log})
	f.Set(all(policy(), at))
	ask(t, direct, "GET", "http://"+f.plain+"/a?b", nil, "User-Agent: x\"y", "Host: shop.example")
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`^127\.0\.0\.1 - - \[.*\] "GET /a\?b HTTP/1\.1" 200 4 "" "x\\"y" 0\.\d\d\d "shop\.example" \[shop/web:80\] ` + regexp.QuoteMeta(at) + "\n$")
	if !line.MatchString(text.String()) {
		t.Errorf("logged %q", text.String())
	}
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(f.Collector())
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range families {
		if m.GetName() == "nginx_ingress_controller_requests" {
			if got := m.GetMetric()[0].String(); !strings.Contains(got, `value:"200"`) || !strings.Contains(got, `value:"web"`) || !strings.Contains(got, "counter:{value:1}") {
				t.Errorf("counted as %s", got)
			}
			return
		}
	}
	t.Error("requests are not counted")
}

type lockedBuilder struct {
	mu sync.Mutex
	strings.Builder
}

func (b *lockedBuilder) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Builder.Write(p)
}

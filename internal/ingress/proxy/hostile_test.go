package proxy_test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gitopsd/gitopsd/internal/ingress/proxy"
	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// bareEndpoint keeps what arrives, byte for byte, and answers each connection once.
type bareEndpoint struct {
	mu   sync.Mutex
	seen bytes.Buffer
	addr string
}

func bare(t *testing.T, answer string) *bareEndpoint {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	b := &bareEndpoint{addr: l.Addr().String()}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				req, err := http.ReadRequest(bufio.NewReader(io.TeeReader(c, b)))
				if err != nil {
					return
				}
				_, _ = io.Copy(io.Discard, req.Body)
				fmt.Fprint(c, answer)
			}()
		}
	}()
	return b
}

func (b *bareEndpoint) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen.Write(p)
}

func (b *bareEndpoint) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.seen.Reset()
	return b.seen.String()
}

const fine = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nfine"

// Each of these is a request to one reader and two to another. None may reach an endpoint as anything but one.
func TestNoRequestIsSmuggled(t *testing.T) {
	at := bare(t, fine)
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at.addr))
	const inner = "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"
	for _, test := range []struct{ name, send string }{
		{"length and encoding", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner},
		{"encoding and length", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 40\r\n\r\n0\r\n\r\n" + inner},
		{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 35\r\n\r\n" + inner},
		{"a length in a list", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0, 35\r\n\r\n" + inner},
		{"a length with a sign", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +35\r\n\r\n" + inner},
		{"an encoding that is none", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + inner},
		{"an encoding twice", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + inner},
		{"an encoding with a tab", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\vchunked\r\n\r\n0\r\n\r\n" + inner},
		{"a space before the colon", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\nContent-Length: 35\r\n\r\n" + inner},
		{"a bare carriage return", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rContent-Length: 35\r\n\r\n" + inner},
		{"a folded header", "POST / HTTP/1.1\r\nHost: x\r\nX: y\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n" + inner},
		{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"},
		{"no host", "GET / HTTP/1.1\r\n\r\n"},
		{"an encoding of HTTP/1.0", "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + inner},
		{"a chunk's size with a sign", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n+1\r\nx\r\n0\r\n\r\n"},
		{"a zero byte", "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a line end in the path", "GET /a%0d%0aHost:y HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a host with a path", "GET / HTTP/1.1\r\nHost: x/admin\r\n\r\n"},
		{"another host in the first line", "GET http://y/z HTTP/1.1\r\nHost: x\r\n\r\n"},
		{"a tunnel", "CONNECT y:1 HTTP/1.1\r\nHost: y:1\r\n\r\n"},
	} {
		c, err := net.Dial("tcp", f.plain)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, test.send)
		// The first answer has to come; whether others do, such as one to what is inside, is seen soon after.
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		r := bufio.NewReader(c)
		status := 0
		for n := 0; ; n++ {
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, resp.Body); err != nil {
				break
			}
			if n == 0 {
				status = resp.StatusCode
				_ = c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			}
		}
		c.Close()
		seen := at.take()
		if seen == "" {
			if status < 400 || status == 502 || status > 503 {
				t.Errorf("%s: not passed on, and answered with %d", test.name, status)
			}
			continue
		}
		// What is passed on has one length, and one host, and says what was routed by.
		r = bufio.NewReader(strings.NewReader(seen))
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				break
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil && status == http.StatusOK { // one that was refused in its middle was cut off there
				t.Errorf("%s: the endpoint got %q: %v", test.name, seen, err)
			}
			if req.Host != "x" && req.Host != "y" || strings.Count(strings.ToLower(seen), "transfer-encoding:")+strings.Count(strings.ToLower(seen), "content-length:") > strings.Count(seen, " HTTP/1.1\r\n") {
				t.Errorf("%s: the endpoint got %q", test.name, seen)
			}
		}
		if strings.Contains(test.send, "Transfer-Encoding: chunked") && strings.Contains(test.send, "Content-Length: ") && strings.Contains(seen, "GET ") && !strings.Contains(test.send, "\r\n Transfer") {
			t.Errorf("%s: what follows was taken for a request: %q", test.name, seen)
		}
	}
}

func TestClientsThatAreSlowOrSayTooMuchAreLetGo(t *testing.T) {
	f := start(t, proxy.Config{HeaderTimeout: 200 * time.Millisecond})
	f.Set(all(policy(), endpoint(t, says("fine"))))
	c, err := net.Dial("tcp", f.plain)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\nX: ")
	began := time.Now()
	go func() {
		for range 100 { // a byte now and then buys no time
			if _, err := c.Write([]byte("x")); err != nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	if said, _ := io.ReadAll(c); strings.Contains(string(said), "200 OK") || time.Since(began) > 4*time.Second {
		t.Errorf("a slow header was let in after %s: %q", time.Since(began), said)
	}
	resp, _ := ask(t, direct, "GET", "http://"+f.plain, nil, "X: "+strings.Repeat("x", 64<<10))
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a header of 64 KiB: %s", resp.Status)
	}
	client := h2Client(t, false)
	if resp, err := client.Do(mustRequest(t, "http://"+f.plain, strings.Repeat("x", 64<<10))); err == nil {
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("a header of 64 KiB by HTTP/2: %s", resp.Status)
		}
	}
}

func mustRequest(t *testing.T, url, header string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X", header)
	return req
}

// HTTP/2 has frames where HTTP/1.1 has spaces and line ends: what would be another line there is not passed on.
func TestNoRequestLineIsSmuggledInHTTP2(t *testing.T) {
	at := bare(t, fine)
	f := start(t, proxy.Config{})
	f.Set(all(policy(), at.addr))
	for _, test := range []struct{ method, path, host, status string }{
		{"GET", "/a", "x:80", "200"},
		{"GET", "/a", "[::1]:80", "200"},
		{"GET", "/a", "[::1]", "200"},
		{"GET /admin", "/a", "x", "400"},
		{"G(T", "/a", "x", "400"},
		{"GET", "/a HTTP/1.1", "x", "400"},
		{"GET", "/a#/../b", "x", "400"},
		{"GET", "/a", "x y", "400"},
		{"GET", "/a", "x/admin", "400"},
		{"GET", "/a", "x:80a", "400"},
	} {
		status := askByFrames(t, f.plain, test.method, test.path, test.host)
		if seen := at.take(); status != test.status || (seen != "") != (test.status == "200") {
			t.Errorf("%q %q of %q: answered with %s, want %s; the endpoint got %q", test.method, test.path, test.host, status, test.status, seen)
		}
	}
}

// askByFrames sends a request by HTTP/2 as no client would, and returns the answer's status.
func askByFrames(t *testing.T, addr, method, path, host string) string {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", method}, {":scheme", "http"}, {":path", path}, {":authority", host}} {
		if err := enc.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true})); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return err.Error()
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			return frame.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return frame.ErrCode.String()
		}
	}
}

// An endpoint may answer before it has read the body. What is left of that is no request.
func TestTheRestOfABodyIsNoRequest(t *testing.T) {
	var inner atomic.Bool
	h := func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/admin" {
			inner.Store(true)
		}
		w.WriteHeader(http.StatusTeapot)
	}
	secure := httptest.NewUnstartedServer(http.HandlerFunc(h))
	secure.EnableHTTP2 = true
	secure.StartTLS()
	t.Cleanup(secure.Close)
	f := start(t, proxy.Config{})
	overTLS := policy()
	overTLS.Protocol = routes.HTTPS
	for name, table := range map[string]*routes.Table{"HTTP/1.1": all(policy(), endpoint(t, h)), "HTTP/2": all(overTLS, secure.Listener.Addr().String())} {
		f.Set(table)
		c, err := net.Dial("tcp", f.plain)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nbegin")
		r := bufio.NewReader(c)
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != http.StatusTeapot || !resp.Close {
			t.Errorf("%s: answered with %+v, %v; want 418 and the connection closed", name, resp, err)
		}
		fmt.Fprint(c, "GET /admin HTTP/1.1\r\nHost: x\r\n\r\n")
		if resp, err := http.ReadResponse(r, nil); err == nil || inner.Load() {
			t.Errorf("%s: what is left of the body is answered with %+v", name, resp)
		}
		c.Close()
	}
}

// Who reads a path in another way than the routes do is not led around what protects one of them.
func TestNoSpellingLeadsAroundARoute(t *testing.T) {
	open := endpoint(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "open ", r.RequestURI) })
	guarded := endpoint(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "admin ", r.RequestURI) })
	f := start(t, proxy.Config{})
	f.Set(routes.NewTable([]*routes.Route{
		{Owner: "shop/web", Kind: routes.Prefix, Path: "/", Policy: policy(), Backend: backend("shop/web:80", open)},
		{Owner: "shop/admin", Kind: routes.Prefix, Path: "/admin", Policy: policy(), Backend: backend("shop/admin:80", guarded)},
	}, nil))
	for path, want := range map[string]string{
		"/a//b/%7Ec?d":        "200 open /a//b/%7Ec?d",
		"/a%2Fb":              "200 open /a%2Fb",
		"/admin/a%2fb":        "200 admin /admin/a%2fb",
		"/a/../b?c=/../d":     "200 open /b?c=/../d",
		"/a/../admin/x":       "200 admin /admin/x",
		"/a/%2e%2e/admin?":    "200 admin /admin?",
		"/admin/..%2fb%20c":   "200 open /b%20c",
		"/b/../admin//..":     "200 open /",
		"/a/.b/c..":           "200 open /a/.b/c..",
		"//admin/x":           "400",
		"/admin%2fx":          "400",
		"/admin%5cx":          "400",
		"/a/..%5cadmin":       "400",
		"/a%5c..%5c..%5cb":    "400",
		"/admin#/../b":        "400",
		"http://x/b/../admin": "200 admin /admin",
	} {
		c, err := net.Dial("tcp", f.plain)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(path, err)
		}
		got := fmt.Sprint(resp.StatusCode)
		if text, err := io.ReadAll(resp.Body); err != nil {
			t.Error(path, err)
		} else if resp.StatusCode == http.StatusOK {
			got += " " + string(text)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
		c.Close()
	}
}

// An endpoint is not believed either.
func TestAnAnswerThatIsNoneIsNotPassedOn(t *testing.T) {
	f := start(t, proxy.Config{})
	for name, answer := range map[string]string{
		"nonsense":              "what?\r\n\r\n",
		"nothing":               "",
		"two lengths":           "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
		"a header without end":  "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 512<<10),
		"an upgrade not asked":  "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
		"hints without an end":  strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 100),
		"a status that is none": "HTTP/1.1 99 x\r\n\r\n",
	} {
		f.Set(all(policy(), bare(t, answer).addr))
		if resp, _ := ask(t, direct, "POST", "http://"+f.plain, nil); resp.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	f.Set(all(policy(), bare(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort").addr))
	resp, err := direct.Get("http://" + f.plain)
	if err == nil {
		_, err = io.ReadAll(resp.Body)
		resp.Body.Close()
	}
	if err == nil {
		t.Error("an answer that was cut short looks whole")
	}
}

// What an endpoint goes on to say after its answer is the answer to nobody's request.
func TestTheRestOfAnAnswerIsNoAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	said := make(chan struct{}, 1)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n")
					if req.Method == http.MethodHead { // wrong, and late enough to look like the next answer
						time.Sleep(20 * time.Millisecond)
						fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
						said <- struct{}{}
						continue
					}
					fmt.Fprint(c, "fine")
				}
			}()
		}
	}()
	f := start(t, proxy.Config{})
	f.Set(all(policy(), l.Addr().String()))
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		ask(t, direct, http.MethodHead, "http://"+f.plain, nil)
		<-said
		if resp, text := ask(t, direct, method, "http://"+f.plain, nil); text != "fine" {
			t.Errorf("%s: %s %q", method, resp.Status, text)
		}
	}
}

func certificate(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestEachHostHasItsCertificateAndChangesAreSeenAtOnce(t *testing.T) {
	f := start(t, proxy.Config{})
	set := func(list ...*routes.Certificate) {
		f.Set(routes.NewTable(all(policy(), endpoint(t, says("fine"))).Routes(), list))
	}
	served := func(name string) []byte {
		t.Helper()
		c, err := tls.Dial("tcp", f.secure, &tls.Config{ServerName: name, InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].Raw
	}
	a, wild, newer := certificate(t, "a.example"), certificate(t, "*.example"), certificate(t, "a.example")
	set(&routes.Certificate{Host: "a.example", TLS: a}, &routes.Certificate{Host: "*.example", TLS: wild}, &routes.Certificate{Host: "broken.example"})
	own := served("")
	for name, want := range map[string][]byte{"a.example": a.Certificate[0], "A.example": a.Certificate[0], "b.example": wild.Certificate[0], "b.a.example": own, "broken.example": own} {
		if !bytes.Equal(served(name), want) {
			t.Errorf("%s has another certificate", name)
		}
	}
	set(&routes.Certificate{Host: "a.example", TLS: newer})
	if !bytes.Equal(served("a.example"), newer.Certificate[0]) {
		t.Error("the new certificate is not served")
	}
	if c, err := tls.Dial("tcp", f.secure, &tls.Config{MaxVersion: tls.VersionTLS11, InsecureSkipVerify: true}); err == nil {
		c.Close()
		t.Error("TLS 1.1 is spoken")
	}
	// A connection for one host is not for another with another certificate.
	set(&routes.Certificate{Host: "a.example", TLS: a}, &routes.Certificate{Host: "b.example", TLS: wild})
	tr := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{ServerName: "a.example", InsecureSkipVerify: true}}
	defer tr.CloseIdleConnections()
	for host, want := range map[string]int{"a.example": 200, "b.example": 421} {
		if resp, _ := ask(t, &http.Client{Transport: tr}, "GET", "https://"+f.secure, nil, "Host: "+host); resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf("%s over a connection for a.example: %s %s", host, resp.Proto, resp.Status)
		}
	}
}

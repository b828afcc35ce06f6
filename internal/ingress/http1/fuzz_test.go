package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// sent is a connection by which all that will ever come has come.
type sent struct {
	net.Conn
	from *bytes.Reader
}

func (s sent) Read(p []byte) (int, error) { return s.from.Read(p) }

func (sent) SetReadDeadline(time.Time) error { return nil }

// read is what the server makes of bytes: the first request and its body, and what is left for the next.
func read(data []byte) (h *head, text, rest []byte, err error) {
	c := &conn{srv: &Server{MaxHeader: 36 << 10}, nc: sent{from: bytes.NewReader(data)}}
	c.br = bufio.NewReader(c.nc)
	c.head.req = &http.Request{Header: http.Header{}, URL: &url.URL{}}
	at, err := c.readHead(0)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := c.head.parse(at); err != nil {
		return nil, nil, nil, err
	}
	if c.head.req.ContentLength != 0 {
		if text, err = io.ReadAll(newBody(c, c.head.req.ContentLength, false)); err != nil {
			return nil, nil, nil, err
		}
	}
	rest, err = io.ReadAll(c.br)
	return &c.head, text, rest, err
}

// FuzzRequest compares what is made of bytes with what net/http makes of them. What is refused there is refused here; what is taken here means the same there,
// to its last byte: one of two that read a request in different ways can be led to see another request in it.
func FuzzRequest(f *testing.F) {
	for _, c := range refused {
		f.Add([]byte(c.send))
	}
	for _, c := range allowed {
		f.Add([]byte(c))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		h, text, rest, err := read(data)
		if err != nil {
			return
		}
		r := h.req
		br := bufio.NewReader(bytes.NewReader(data))
		want, err := http.ReadRequest(br)
		if err != nil {
			t.Fatalf("%q is taken, and net/http says %v", data, err)
		}
		wantText, err := io.ReadAll(want.Body)
		if err != nil {
			t.Fatalf("the body of %q is taken, and net/http says %v", data, err)
		}
		wantRest, err := io.ReadAll(br)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(text, wantText) || !bytes.Equal(rest, wantRest) {
			t.Errorf("%q ends elsewhere: body %q, then %q; net/http: %q, then %q", data, text, rest, wantText, wantRest)
		}
		if r.Method != want.Method || r.RequestURI != want.RequestURI || *r.URL != *want.URL || r.Host != want.Host || r.Proto != want.Proto || r.ProtoMajor != want.ProtoMajor || r.ProtoMinor != want.ProtoMinor ||
			r.ContentLength != want.ContentLength || !slices.Equal(r.TransferEncoding, want.TransferEncoding) || r.Close != want.Close {
			t.Errorf("%q is read as\n%+v\n%+v, by net/http as\n%+v\n%+v", data, r, r.URL, want, want.URL)
		}
		// net/http notes trailers elsewhere, and says no-cache by another header too.
		wantHeader := maps.Clone(want.Header)
		if slices.Equal(wantHeader["Pragma"], []string{"no-cache"}) && r.Header["Cache-Control"] == nil {
			delete(wantHeader, "Cache-Control")
		}
		got := maps.Clone(r.Header)
		delete(got, "Trailer")
		delete(wantHeader, "Trailer")
		if !maps.EqualFunc(got, wantHeader, slices.Equal) {
			t.Errorf("%q has headers %q, by net/http %q", data, got, wantHeader)
		}
	})
}

// Each of these could be read in two ways, or is too much, or is no request.
var refused = []struct {
	name, send string
	status     int
}{
	{"a length and an encoding", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400},
	{"one length twice", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400},
	{"a list of lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1, 1\r\n\r\nx", 400},
	{"a length with a sign", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +1\r\n\r\nx", 400},
	{"a negative length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\nx", 400},
	{"a length that is too long", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nx", 400},
	{"an empty length", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: \r\n\r\nx", 400},
	{"an encoding twice", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501},
	{"a list of encodings", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501},
	{"an encoding that is none", "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n", 501},
	{"an encoding in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
	{"a folded header", "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n", 400},
	{"a space before the first header", "GET / HTTP/1.1\r\n Host: x\r\n\r\n", 400},
	{"a space before the colon", "GET / HTTP/1.1\r\nHost: x\r\nX : a\r\n\r\n", 400},
	{"no name", "GET / HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", 400},
	{"no colon", "GET / HTTP/1.1\r\nHost: x\r\nabc\r\n\r\n", 400},
	{"bare line feeds", "GET / HTTP/1.1\nHost: x\n\n", 400},
	{"a bare line feed among headers", "GET / HTTP/1.1\r\nHost: x\r\nX: a\nY: b\r\n\r\n", 400},
	{"a bare carriage return", "GET / HTTP/1.1\r\nHost: x\r\nX: a\rY: b\r\n\r\n", 400},
	{"a zero byte", "GET / HTTP/1.1\r\nHost: x\r\nX: a\x00\r\n\r\n", 400},
	{"two hosts", "GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n", 400},
	{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
	{"a host that is none", "GET / HTTP/1.1\r\nHost: x y\r\n\r\n", 400},
	{"two spaces", "GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"a path with a space", "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n", 505},
	{"no version", "GET /\r\nHost: x\r\n\r\n", 400},
	{"another version", "GET / HTTP/1.2\r\nHost: x\r\n\r\n", 505},
	{"HTTP/2 in the wrong place", "GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
	{"a method that is none", "G@T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"a path that is none", "GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"a line before the first", "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
	{"an expectation", "POST / HTTP/1.1\r\nHost: x\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\nx", 417},
	{"many headers", "GET / HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X: y\r\n", maxFields) + "\r\n", 431},
	{"a large header", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 36<<10) + "\r\n\r\n", 431},
	{"a header without an end", "GET / HTTP/1.1\r\nHost: x\r\nX: " + strings.Repeat("y", 64<<10), 431},
}

// What is wrong with these shows when the body is read.
var brokenBodies = map[string]string{
	"a size with a sign":              "+1\r\nx\r\n0\r\n\r\n",
	"a size with 0x":                  "0x1\r\nx\r\n0\r\n\r\n",
	"a size that is too long":         "10000000000000001\r\nx\r\n0\r\n\r\n",
	"no size":                         "\r\nx\r\n0\r\n\r\n",
	"a size that is none":             "g\r\nx\r\n0\r\n\r\n",
	"a bare line feed":                "1\nx\r\n0\r\n\r\n",
	"a chunk longer than it says":     "1\r\nxy\r\n0\r\n\r\n",
	"no end":                          "1\r\nx\r\n",
	"a trailer with a bare line feed": "0\r\nX: y\n\r\n",
	"a trailer that is none":          "0\r\nX\r\n\r\n",
	"a folded trailer":                "0\r\nX: y\r\n z\r\n\r\n",
	"a trailer that is too long":      "0\r\nX: " + strings.Repeat("y", 8<<10) + "\r\n\r\n",
}

var allowed = []string{
	"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET /a/%2e%2e/b//c?d=e&f#g HTTP/1.1\r\nhost: x:80\r\naccept:*/*\r\nX:  a b \t\r\nX:\r\n\r\nGET /next HTTP/1.1\r\n",
	"POST /? HTTP/1.1\r\nHost: [::1]:80\r\nContent-Length: 3\r\nConnection: keep-alive, close\r\n\r\nabcdef",
	"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nTrailer: X\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nnext",
	"GET http://y/z HTTP/1.1\r\nHost: x\r\nPragma: no-cache\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: \r\n\r\n",
	"CONNECT y:1 HTTP/1.1\r\nHost: y:1\r\n\r\n",
	"GET //a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	"PUT /a%zz? HTTP/1.0\r\nContent-Length: 03\r\n\r\nabc",
}

func TestWhatCanBeReadInTwoWaysIsRefused(t *testing.T) {
	for _, c := range refused {
		_, _, _, err := read([]byte(c.send))
		if r := (*refusal)(nil); !errors.As(err, &r) {
			t.Errorf("%s: %v, want a refusal", c.name, err)
		} else if r.status != c.status {
			t.Errorf("%s: refused with %d, want %d: %v", c.name, r.status, c.status, err)
		}
	}
	for name, body := range brokenBodies {
		if _, text, _, err := read([]byte("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + body)); err == nil {
			t.Errorf("%s: read as %q", name, text)
		}
	}
	if _, text, _, err := read([]byte("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a body that ends early: %q, %v", text, err)
	}
}

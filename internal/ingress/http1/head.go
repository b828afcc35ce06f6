package http1

import (
	"bytes"
	"net/http"
	"net/textproto"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxFields bounds how many headers a request may have. Browsers send some twenty.
const maxFields = 256

// A refusal is what a client is told whose request cannot be taken.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

func bad(text string) error { return &refusal{http.StatusBadRequest, text} }

var (
	lineEnd = []byte("\r\n")
	headEnd = []byte("\r\n\r\n")
)

// preface is what a client of HTTP/2 begins with, as far as it looks like a request (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\n"

// bareLineFeed says whether a head has a line that ends in no carriage return: its end would be waited for in vain.
func bareLineFeed(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return false
		}
		if i == 0 || b[i-1] != '\r' {
			return true
		}
		b = b[i+1:]
	}
}

// head is what a request's head says, in storage that the next one uses again.
type head struct {
	req     *http.Request
	values  []string
	expect  bool // the client waits for 100 before it sends the body
	close   bool // nothing follows
	persist bool // it speaks HTTP/1.0 and asks for the connection to be kept
}

var chunkedEncoding = []string{"chunked"}

// forget lets go of a head's text, which may be large, so that no connection that waits for the next one holds it.
func (h *head) forget() {
	clear(h.req.Header)
	clear(h.values)
	h.values = h.values[:0]
	h.req.Method, h.req.RequestURI, h.req.Proto, h.req.Host, *h.req.URL = "", "", "", "", url.URL{}
}

// parse reads a head with both its empty line's ends. It fills in all of the request but its body, context, address and TLS.
func (h *head) parse(text string) error {
	line, text, _ := strings.Cut(text, "\r\n")
	r := h.req
	h.forget()
	h.expect, h.close, h.persist = false, false, false
	r.TransferEncoding, r.Trailer, r.Form, r.PostForm, r.MultipartForm = nil, nil, nil, nil, nil
	if err := h.requestLine(line); err != nil {
		return err
	}
	hosts, lengths := 0, 0
	r.ContentLength = 0
	for n := 0; ; n++ {
		line, text, _ = strings.Cut(text, "\r\n")
		if line == "" {
			break
		}
		if n == maxFields {
			return &refusal{http.StatusRequestHeaderFieldsTooLarge, "too many headers"}
		}
		colon := strings.IndexByte(line, ':')
		if colon <= 0 || !httpguts.ValidHeaderFieldName(line[:colon]) { // also one that begins or ends with a space
			return bad("a header has no name")
		}
		value := strings.Trim(line[colon+1:], " \t")
		if !httpguts.ValidHeaderFieldValue(value) {
			return bad("a header's value has control characters")
		}
		switch name := textproto.CanonicalMIMEHeaderKey(line[:colon]); name {
		case "Host":
			hosts++
			r.Host = value
		case "Transfer-Encoding":
			if len(r.TransferEncoding) > 0 || !strings.EqualFold(value, "chunked") {
				return &refusal{http.StatusNotImplemented, "a transfer encoding other than chunked"}
			}
			r.TransferEncoding = chunkedEncoding
		case "Content-Length":
			var ok bool
			if lengths++; lengths > 1 {
				return bad("two lengths")
			}
			if r.ContentLength, ok = parseLength(value); !ok {
				return bad("a length that is no number")
			}
			h.add(name, value)
		default:
			h.add(name, value)
		}
	}
	return h.judge(hosts, lengths)
}

// judge looks at what the headers say together.
func (h *head) judge(hosts, lengths int) error {
	r := h.req
	switch {
	case hosts > 1 || hosts == 0 && r.ProtoMinor > 0 || !httpguts.ValidHostHeader(r.Host):
		return bad("not one host")
	case len(r.TransferEncoding) > 0 && r.ProtoMinor == 0:
		return bad("a transfer encoding in HTTP/1.0")
	case len(r.TransferEncoding) > 0 && lengths > 0:
		return bad("a transfer encoding and a length")
	}
	if r.URL.Host != "" {
		r.Host = r.URL.Host // RFC 9112, section 3.2.2
	}
	if len(r.TransferEncoding) > 0 {
		r.ContentLength = -1
		r.Trailer = announced(r.Header["Trailer"])
	}
	if len(r.Header["Connection"]) > 0 {
		h.close = httpguts.HeaderValuesContainsToken(r.Header["Connection"], "close")
		h.persist = r.ProtoMinor == 0 && httpguts.HeaderValuesContainsToken(r.Header["Connection"], "keep-alive")
	}
	if r.ProtoMinor == 0 && !h.persist {
		h.close = true
	}
	r.Close = h.close
	if expect := r.Header["Expect"]; len(expect) > 0 && r.ProtoMinor > 0 {
		if len(expect) > 1 || !strings.EqualFold(expect[0], "100-continue") {
			return &refusal{http.StatusExpectationFailed, "an expectation other than 100-continue"}
		}
		h.expect = r.ContentLength != 0
	}
	return nil
}

// announced are the headers that are to follow the body, as the keys of a map; nil: none. What says how a message is read cannot be among them.
func announced(values []string) (out http.Header) {
	for _, v := range values {
		for name := range strings.SplitSeq(v, ",") {
			if name = textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t")); httpguts.ValidTrailerHeader(name) {
				if out == nil {
					out = http.Header{}
				}
				out[name] = nil
			}
		}
	}
	return out
}

func (h *head) requestLine(line string) error {
	r := h.req
	method, rest, ok := strings.Cut(line, " ")
	target, proto, ok2 := strings.Cut(rest, " ")
	if !ok || !ok2 || !httpguts.ValidHeaderFieldName(method) || target == "" {
		return bad("the first line is not that of a request")
	}
	switch proto {
	case "HTTP/1.1":
		r.ProtoMinor = 1
	case "HTTP/1.0":
		r.ProtoMinor = 0
	default:
		return &refusal{http.StatusHTTPVersionNotSupported, "the protocol is not HTTP/1.1"}
	}
	r.Method, r.RequestURI, r.Proto, r.ProtoMajor = method, target, proto, 1
	if plain(target) {
		path, query, asked := strings.Cut(target, "?")
		*r.URL = url.URL{Path: path, RawQuery: query, ForceQuery: asked && query == ""}
		return nil
	}
	authority := method == http.MethodConnect && target[0] != '/'
	if authority {
		target = "http://" + target
	}
	u, err := url.ParseRequestURI(target)
	if err != nil {
		return bad("the path is not one")
	}
	if authority {
		u.Scheme = ""
	}
	*r.URL = *u
	return nil
}

// plainBytes are those that mean themselves in a path, and that url.URL writes as they are.
var plainBytes = func() (out [256]bool) {
	for c := range out {
		out[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~$&+,/:;=@", byte(c)) >= 0
	}
	return out
}()

// plain says whether a target is a path, and perhaps a query, in which nothing stands for something else.
func plain(target string) bool {
	if target[0] != '/' {
		return false
	}
	for i := range len(target) {
		if c := target[i]; !plainBytes[c] {
			return c == '?' && !strings.ContainsFunc(target[i+1:], func(c rune) bool { return c <= ' ' || c >= 0x7f })
		}
	}
	return true
}

// add notes a header. Each value has its own slice of the storage, with no room to grow into the next.
func (h *head) add(name, value string) {
	if had := h.req.Header[name]; had != nil {
		h.req.Header[name] = append(had, value)
		return
	}
	n := len(h.values)
	h.values = append(h.values, value)
	h.req.Header[name] = h.values[n : n+1 : n+1]
}

// parseLength reads a length: digits, and nothing that somebody could read in another way.
func parseLength(s string) (int64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

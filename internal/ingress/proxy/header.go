package proxy

import (
	"bufio"
	"maps"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// neighbours' headers are between two ends of a connection (RFC 9110, section 7.6.1) and not passed on.
func neighbours(name string) bool {
	switch name {
	case "Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Expect", "Http2-Settings":
		return true
	}
	return false
}

// ours are headers by which backends learn who the client is: nobody else may say them.
func ours(name string) bool {
	switch name {
	case "Forwarded", "X-Real-Ip", "X-Scheme", "X-Original-Forwarded-For", "X-Original-Uri", "X-Original-Url", "X-Rewrite-Url",
		"Proxy": // which programs behind CGI take for their own setting HTTP_PROXY
		return true
	}
	return strings.HasPrefix(name, "X-Forwarded-")
}

// dashed is the name that many programs read in one with underscores: what is not passed on as the one must not be as the other either.
func dashed(name string) string {
	if strings.IndexByte(name, '_') < 0 {
		return name
	}
	return textproto.CanonicalMIMEHeaderKey(strings.ReplaceAll(name, "_", "-"))
}

// trailing says whether a header may follow a body: nothing that says how a message is read, who asks, or what is between neighbours.
func trailing(name string) bool {
	read := dashed(name)
	return httpguts.ValidTrailerHeader(read) && !neighbours(read) && !ours(read)
}

// named are the headers that a Connection header names, which are between neighbours too.
func named(h http.Header) map[string]bool {
	var out map[string]bool
	for _, v := range h["Connection"] {
		if strings.EqualFold(v, "keep-alive") || strings.EqualFold(v, "close") {
			continue
		}
		for name := range strings.SplitSeq(v, ",") {
			if out == nil {
				out = map[string]bool{}
			}
			out[textproto.CanonicalMIMEHeaderKey(textproto.TrimString(name))] = true
		}
	}
	return out
}

// eachHeader calls f for every header that the endpoint gets beside Host, framing and those of the connection.
func (x *exchange) eachHeader(f func(name, value string)) {
	r := x.r
	drop := named(r.Header)
	for name, values := range r.Header {
		if read := dashed(name); neighbours(read) || ours(read) || read == "Content-Length" || drop != nil && drop[read] {
			continue
		}
		for _, v := range values {
			f(name, v)
		}
	}
	client := x.client.String()
	chain := client
	if x.trusted {
		if peer, _, err := net.SplitHostPort(r.RemoteAddr); err == nil && peer != client {
			chain = strings.Join(r.Header.Values("X-Forwarded-For"), ", ") + ", " + peer
		}
	}
	scheme := x.scheme()
	f("X-Forwarded-For", chain)
	f("X-Real-Ip", client)
	f("X-Forwarded-Host", r.Host)
	f("X-Forwarded-Port", x.port(scheme))
	f("X-Forwarded-Proto", scheme)
	f("X-Forwarded-Scheme", scheme)
	f("X-Scheme", scheme)
}

// port is where the client has come.
func (x *exchange) port(scheme string) string {
	if _, port, err := net.SplitHostPort(x.r.Host); err == nil {
		return port
	}
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// host is what the endpoint is told that it is called.
func (x *exchange) host() string {
	if x.policy.Host != "" {
		return x.policy.Host
	}
	return x.r.Host
}

// target is what the endpoint is asked for: what the client asked for, byte for byte but without "." and "..", or what the policy makes of it.
func (x *exchange) target() string {
	r := x.r
	if x.policy.Rewrite == "" {
		if routes.Dotted(r.URL.Path) {
			return (&url.URL{Path: routes.Clean(r.URL.Path), RawQuery: r.URL.RawQuery, ForceQuery: r.URL.ForceQuery}).RequestURI()
		}
		if strings.HasPrefix(r.RequestURI, "/") || r.RequestURI == "*" {
			return r.RequestURI
		}
		return r.URL.RequestURI()
	}
	to := x.policy.Rewrite
	if x.route.Expr != nil {
		path := routes.Clean(r.URL.Path)
		to = string(x.route.Expr.ExpandString(nil, to, path, x.route.Expr.FindStringSubmatchIndex(path)))
	}
	if !strings.HasPrefix(to, "/") {
		to = "/" + to
	}
	to = (&url.URL{Path: to}).EscapedPath()
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	return to
}

// writeHeader writes the request for an endpoint. What is wrong with the connection shows when it is flushed.
func (x *exchange) writeHeader(w *bufio.Writer, b *body, upgrade string) {
	_, _ = w.WriteString(x.r.Method)
	_ = w.WriteByte(' ')
	_, _ = w.WriteString(x.target())
	_, _ = w.WriteString(" HTTP/1.1\r\nHost: ")
	_, _ = w.WriteString(x.host())
	_, _ = w.WriteString("\r\n")
	x.eachHeader(func(name, value string) {
		_, _ = w.WriteString(name)
		_, _ = w.WriteString(": ")
		_, _ = w.WriteString(value)
		_, _ = w.WriteString("\r\n")
	})
	switch {
	case b.length < 0:
		_, _ = w.WriteString("Transfer-Encoding: chunked\r\n")
		if len(b.trailer) > 0 {
			_, _ = w.WriteString("Trailer: " + strings.Join(slices.Sorted(maps.Keys(b.trailer)), ", ") + "\r\n")
		}
	case b.length > 0 || x.r.Method == http.MethodPost || x.r.Method == http.MethodPut || x.r.Method == http.MethodPatch:
		_, _ = w.WriteString("Content-Length: ")
		_, _ = w.Write(strconv.AppendInt(w.AvailableBuffer(), b.length, 10))
		_, _ = w.WriteString("\r\n")
	}
	if upgrade != "" {
		_, _ = w.WriteString("Connection: Upgrade\r\nUpgrade: " + upgrade + "\r\n")
	}
	_, _ = w.WriteString("\r\n")
}

// copyHeader takes over the answer's header.
func (x *exchange) copyHeader(resp *http.Response) {
	x.hsts()
	h, drop := x.w.Header(), named(resp.Header)
	for name, values := range resp.Header {
		switch {
		case neighbours(name) || drop != nil && drop[name]:
		case h[name] == nil:
			h[name] = values
		case name == "Set-Cookie" || name == "Vary":
			h[name] = append(h[name], values...)
		}
		// What the policy has said already, such as for CORS, is not said twice.
	}
	if resp.Header["Content-Type"] == nil {
		h["Content-Type"] = nil // rather than guess
	}
}

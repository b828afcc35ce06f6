package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// refused answers requests that no backend should see, whatever the route.
func (x *exchange) refused() bool {
	r := x.r
	switch {
	case !httpguts.ValidHeaderFieldName(r.Method) || !validHost(r.Host):
		x.fail(http.StatusBadRequest, "the method or the host is not one")
	case r.Method == http.MethodConnect || r.Method == http.MethodTrace:
		x.w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		x.fail(http.StatusMethodNotAllowed, "the method is not passed on")
	case strings.ContainsFunc(r.RequestURI, func(c rune) bool { return c <= ' ' || c == '#' || c == 0x7f }),
		r.URL.Path == "" && r.RequestURI != "*", r.RequestURI == "*" && r.Method != http.MethodOptions, strings.IndexByte(r.URL.Path, 0) >= 0:
		x.fail(http.StatusBadRequest, "the path is not one")
	case r.TLS != nil && r.TLS.ServerName != "" && r.ProtoMajor == 2 && !sameName(r.TLS.ServerName, r.Host):
		// A browser uses a connection for another name that its certificate has, too: it is to come again (RFC 9110, section 15.5.20).
		if a, b := x.s.table.Certificate(r.TLS.ServerName), x.s.table.Certificate(r.Host); a != b {
			x.fail(http.StatusMisdirectedRequest, "the connection is for another host")
			return true
		}
		return false
	default:
		return false
	}
	return true
}

// validHost says whether a host can be written into a header and is read there by everybody as the same name. A server of HTTP/2 looks less closely
// than one of HTTP/1.1, to which it may be passed on.
func validHost(host string) bool {
	if !httpguts.ValidHostHeader(host) {
		return false
	}
	at := strings.LastIndexByte(host, ':')
	if at < strings.LastIndexByte(host, ']') {
		return true // of an IPv6 address
	}
	return at < 0 || strings.Trim(host[at+1:], "0123456789") == ""
}

func sameName(sni, host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.EqualFold(sni, host)
}

// clientOf tells who asks: the other end of the connection, or whom a proxy that is trusted names.
func clientOf(r *http.Request, trusted []netip.Prefix) (netip.Addr, bool) {
	var peer netip.Addr
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		peer = at.Addr().Unmap()
	}
	if len(trusted) == 0 || !within(peer, trusted) {
		return peer, false
	}
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(said) {
		ip, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			break
		}
		if peer = ip.Unmap(); !within(peer, trusted) {
			break
		}
	}
	return peer, true
}

func within(ip netip.Addr, ranges []netip.Prefix) bool {
	for _, p := range ranges {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

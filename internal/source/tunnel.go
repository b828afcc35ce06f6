package source

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"time"

	"golang.org/x/net/proxy"
)

// sshProxy begins the scheme of the URLs by which the library of ssh, which takes no dialer, is told to use ours.
const sshProxy = "gitopsd+"

func init() {
	for _, scheme := range []string{"direct", "http", "https", "socks5"} {
		proxy.RegisterDialerType(sshProxy+scheme, func(u *url.URL, _ proxy.Dialer) (proxy.Dialer, error) {
			through := *u
			through.Scheme = scheme
			return sshDialer{&through}, nil
		})
	}
}

// sshDialer connects through a proxy, or as the environment says. What it returns ends when nothing comes for too long: the library would wait for ever for a host that accepts
// connections and is silent.
type sshDialer struct{ proxy *url.URL }

// Dial is DialContext without an end of its own.
func (d sshDialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

// DialContext connects.
func (d sshDialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return lively{conn}, nil
}

func (d sshDialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	switch d.proxy.Scheme {
	case "direct":
		return proxy.Dial(ctx, network, address)
	case "socks5":
		s, err := proxy.FromURL(d.proxy, proxy.Direct)
		if err != nil {
			return nil, err
		}
		return s.(proxy.ContextDialer).DialContext(ctx, network, address) // as the library promises of what it makes for SOCKS
	}
	return tunnel(d).DialContext(ctx, network, address)
}

// lively is a connection on which something has to come in time.
type lively struct{ net.Conn }

func (c lively) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c lively) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// tunnel connects through a proxy that speaks HTTP; RFC 9110, section 9.3.6.
type tunnel struct{ proxy *url.URL }

// DialContext has the proxy connect to an address, and returns what is then a connection to it.
func (t tunnel) DialContext(ctx context.Context, network, address string) (_ net.Conn, err error) {
	conn, err := t.connect(ctx, network)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // why there is none is told already
		}
	}()
	ends := time.Now().Add(answerTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(ends) {
		ends = d
	}
	if err := conn.SetDeadline(ends); err != nil {
		return nil, err
	}
	req := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address, Header: http.Header{}}
	if u := t.proxy.User; u != nil {
		password, _ := u.Password()
		req.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(u.Username()+":"+password)))
	}
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, req)
	if err != nil {
		return nil, err
	}
	if err := tunnelled(t.proxy, res.StatusCode); err != nil {
		return nil, err
	}
	return begun{conn, r}, conn.SetDeadline(time.Time{})
}

// connect connects to the proxy itself.
func (t tunnel) connect(ctx context.Context, network string) (net.Conn, error) {
	port, dialer := t.proxy.Port(), &net.Dialer{Timeout: dialTimeout}
	if t.proxy.Scheme == "https" {
		if port == "" {
			port = "443"
		}
		return (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, network, net.JoinHostPort(t.proxy.Hostname(), port))
	}
	if port == "" {
		port = "80"
	}
	return dialer.DialContext(ctx, network, net.JoinHostPort(t.proxy.Hostname(), port))
}

// tunnelled says what a proxy means that was asked for a connection.
func tunnelled(proxy *url.URL, status int) error {
	switch status {
	case http.StatusOK:
		return nil
	case http.StatusProxyAuthRequired:
		return failf(ProxyRefused, "the proxy %s wants a user and password, or refused those given; put them into its URL, as proxy of the Secret", proxy.Host)
	}
	return failf(ProxyRefused, "the proxy %s answers %d when asked for a connection; it may not be meant for this host", proxy.Host, status)
}

// begun is a connection of which something may have been read already: ssh's server speaks first.
type begun struct {
	net.Conn
	r *bufio.Reader
}

func (b begun) Read(p []byte) (int, error) { return b.r.Read(p) }

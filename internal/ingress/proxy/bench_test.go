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
	"net/http/httputil"
	"net/netip"
	"net/url"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/ingress/proxy"
	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// BenchmarkRequest takes a request through the Proxy, and through net/http/httputil's for comparison. Client and endpoint are in the same process and as
// plain as can be, so that the processor time is mostly the proxy's.
func BenchmarkRequest(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	go answer(l)
	at := l.Addr().String()
	own := proxy.New(proxy.Config{})
	own.Set(routes.NewTable([]*routes.Route{{Owner: "shop/web", Kind: routes.Prefix, Path: "/", Policy: policy(),
		Backend: &routes.Backend{Key: "shop/web:80", Endpoints: []netip.AddrPort{netip.MustParseAddrPort(at)}}}}, nil))
	other := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: at})
	other.Transport = &http.Transport{MaxIdleConnsPerHost: 64}
	front, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	secure, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- own.Serve(ctx, front, false, time.Second) }()
	go func() { ended <- own.Serve(ctx, secure, true, time.Second) }()
	defer func() {
		cancel()
		if err := errors.Join(<-ended, <-ended); err != nil {
			b.Error(err)
		}
	}()
	srv := httptest.NewServer(other)
	defer srv.Close()
	plain := func(network, address string) (net.Conn, error) { return net.Dial(network, address) }
	byTLS := func(network, address string) (net.Conn, error) {
		return tls.Dial(network, address, &tls.Config{InsecureSkipVerify: true})
	}
	for _, p := range []struct {
		name, address string
		dial          func(network, address string) (net.Conn, error)
	}{{"Proxy", front.Addr().String(), plain}, {"ProxyByTLS", secure.Addr().String(), byTLS}, {"ReverseProxy", srv.Listener.Addr().String(), plain}} {
		b.Run(p.name, func(b *testing.B) {
			c, err := p.dial("tcp", p.address)
			if err != nil {
				b.Fatal(err)
			}
			defer c.Close()
			r := bufio.NewReader(c)
			b.ReportAllocs()
			before := spent(b)
			for b.Loop() {
				if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n"); err != nil {
					b.Fatal(err)
				}
				resp, err := http.ReadResponse(r, nil)
				if err != nil || resp.StatusCode != 200 {
					b.Fatal(resp, err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((spent(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
		})
	}
}

// answer is an endpoint that reads as little as it can.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			r := bufio.NewReader(c)
			for {
				for {
					line, err := r.ReadSlice('\n')
					if err != nil {
						return
					}
					if len(line) <= 2 {
						break
					}
				}
				if _, err := fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nfine"); err != nil {
					return
				}
			}
		}()
	}
}

// spent is the process' processor time.
func spent(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

package proxy

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"
)

// upgrade is the protocol that the client wants to go on with, such as websocket; empty when it wants none. HTTP/2 is none of them: whoever spoke it
// through here would be past all routes. HTTP/1.0 has no upgrade (RFC 9110, section 7.8).
func (x *exchange) upgrade() string {
	h := x.r.Header
	if x.r.ProtoMajor != 1 || x.r.ProtoMinor == 0 || !httpguts.HeaderValuesContainsToken(h["Connection"], "upgrade") {
		return ""
	}
	u := h.Get("Upgrade")
	if u == "" || strings.HasPrefix(strings.ToLower(u), "h2") || strings.HasPrefix(strings.ToLower(u), "http") || strings.ContainsAny(u, ", \t") {
		return ""
	}
	return u
}

// tunnel passes on bytes both ways, until both ends have closed, one fails, or both are silent.
func (x *exchange) tunnel(resp *http.Response, c *conn) {
	client, buffered, err := http.NewResponseController(x.w).Hijack()
	if err != nil {
		x.fail(http.StatusBadGateway, "the connection cannot be taken over")
		return
	}
	defer client.Close()
	x.status = http.StatusSwitchingProtocols
	x.p.count.tunnels.Add(1)
	defer x.p.count.tunnels.Add(-1)
	_ = client.SetDeadline(time.Now().Add(x.p.cfg.WriteTimeout))
	resp.Header.Del("Transfer-Encoding")
	resp.Header.Del("Content-Length")
	w := bufio.NewWriter(client)
	_, _ = w.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	if resp.Header.Write(w) != nil {
		return
	}
	_, _ = w.WriteString("\r\n")
	if w.Flush() != nil {
		return
	}
	var heard atomic.Int64
	heard.Store(time.Now().UnixNano())
	var wg sync.WaitGroup
	copying := func(to, from net.Conn, rest io.Reader) {
		defer func() {
			if half, ok := to.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
				to.Close()
			}
		}()
		b := buffers.Get().(*[]byte)
		defer buffers.Put(b)
		for {
			_ = from.SetReadDeadline(time.Now().Add(x.policy.Read))
			n, err := rest.Read(*b)
			if n > 0 {
				heard.Store(time.Now().UnixNano())
				_ = to.SetWriteDeadline(time.Now().Add(x.policy.Send))
				if _, werr := to.Write((*b)[:n]); werr != nil {
					from.Close()
					return
				}
			}
			if err != nil {
				// One direction may be silent for as long as the other is not.
				if errors.Is(err, os.ErrDeadlineExceeded) && time.Since(time.Unix(0, heard.Load())) < x.policy.Read {
					continue
				}
				if !errors.Is(err, io.EOF) {
					from.Close()
				}
				return
			}
		}
	}
	wg.Go(func() { copying(c.Conn, client, buffered.Reader) })
	copying(client, c.Conn, c.br)
	wg.Wait()
}

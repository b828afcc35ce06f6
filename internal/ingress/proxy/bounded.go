package proxy

import (
	"cmp"
	"net"
	"net/netip"
	"sync"
)

// bounded closes connections that are too many, of all clients or of one.
type bounded struct {
	net.Listener
	p         *Proxy
	perClient int

	mu      sync.Mutex
	all     int
	clients map[netip.Addr]int
}

func (p *Proxy) bound(l net.Listener) *bounded {
	return &bounded{Listener: l, p: p, perClient: cmp.Or(p.cfg.ConnectionsPerClient, PerClient), clients: map[netip.Addr]int{}}
}

// Accept implements net.Listener.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		leave, ok := b.enter(b.client(c.RemoteAddr()))
		if ok {
			return &slot{Conn: c, leave: sync.OnceFunc(leave)}, nil
		}
		b.p.count.refused.Add(1)
		c.Close()
	}
}

// client is whose connections are counted together: an address, or the 64 bits that one host has of IPv6. It is not valid for proxies that are trusted, which stand for many.
func (b *bounded) client(remote net.Addr) netip.Addr {
	at, err := netip.ParseAddrPort(remote.String())
	ip := at.Addr().Unmap()
	if err != nil || within(ip, b.p.cfg.Trusted) {
		return netip.Addr{}
	}
	if ip.Is6() {
		return netip.PrefixFrom(ip.WithZone(""), 64).Masked().Addr()
	}
	return ip
}

// enter counts one connection more, unless it is one too many. leave undoes it.
func (b *bounded) enter(client netip.Addr) (leave func(), ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all >= maxConnections || client.IsValid() && b.clients[client] >= b.perClient {
		return nil, false
	}
	b.all++
	b.clients[client]++
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.all--
		if b.clients[client]--; b.clients[client] == 0 {
			delete(b.clients, client)
		}
	}, true
}

// slot is a connection that gives its place back when it is closed.
type slot struct {
	net.Conn
	leave func()
}

func (s *slot) Close() error {
	s.leave()
	return s.Conn.Close()
}

// NetConn is the connection below.
func (s *slot) NetConn() net.Conn { return s.Conn }

// CloseWrite ends one direction.
func (s *slot) CloseWrite() error {
	if half, ok := s.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return s.Close()
}

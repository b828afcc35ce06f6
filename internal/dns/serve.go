package dns

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// Bounds of connections. A client that says nothing, or reads nothing, is left.
const (
	maxConnections = 512
	// maxPerClient keeps one Pod from having all of them.
	maxPerClient = 64
	// idle is as RFC 7766 suggests: some seconds.
	idle         = 8 * time.Second
	writeTimeout = 2 * time.Second
	// maxQuestion is more than any question has.
	maxQuestion = 4096
)

// serveUDP answers what comes in on a socket until that is closed.
func (s *server) serveUDP(conn *net.UDPConn, family int) {
	var q query
	in, out := make([]byte, maxQuestion), make([]byte, 0, 2*maxUDP)
	t := transport{protoUDP, family}
	for {
		n, from, err := conn.ReadFromUDPAddrPort(in)
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		resp, wait := s.quick(&q, in[:n], out, t)
		switch {
		case wait:
			go s.later(conn, from, slices.Clone(in[:n]), t)
		case len(resp) > 0:
			_, _ = conn.WriteToUDPAddrPort(resp, from) // a client that cannot be reached asks again
		}
	}
}

func (s *server) later(conn *net.UDPConn, to netip.AddrPort, msg []byte, t transport) {
	if resp := s.slow(msg, make([]byte, 0, 2*maxUDP), t); len(resp) > 0 {
		_, _ = conn.WriteToUDPAddrPort(resp, to)
	}
}

// connections counts those of each client.
type connections struct {
	mu    sync.Mutex
	total int
	of    map[netip.Addr]int
}

func (c *connections) begin(from netip.Addr) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.total >= maxConnections || c.of[from] >= maxPerClient {
		return false
	}
	if c.of == nil {
		c.of = map[netip.Addr]int{}
	}
	c.total++
	c.of[from]++
	return true
}

func (c *connections) end(from netip.Addr) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.total--
	if c.of[from]--; c.of[from] == 0 {
		delete(c.of, from)
	}
}

// serveTCP answers connections until the listener is closed.
func (s *server) serveTCP(l net.Listener, family int) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(acceptPause) // out of file descriptors: some will be free in a moment
			continue
		}
		from := conn.RemoteAddr().(*net.TCPAddr).AddrPort().Addr()
		if !s.connections.begin(from) {
			conn.Close()
			continue
		}
		go func() {
			defer s.connections.end(from)
			defer conn.Close()
			s.serveConn(conn, transport{protoTCP, family})
		}()
	}
}

const acceptPause = 10 * time.Millisecond

// serveConn answers one question after the other. Each has its length before it, in two bytes.
func (s *server) serveConn(conn net.Conn, t transport) {
	var q query
	in, out := make([]byte, maxQuestion), make([]byte, 0, 4096)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(idle)); err != nil {
			return
		}
		if _, err := io.ReadFull(conn, in[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(in))
		if n > len(in) {
			return
		}
		if _, err := io.ReadFull(conn, in[:n]); err != nil {
			return
		}
		resp, wait := s.quick(&q, in[:n], out, t)
		if wait {
			resp = s.slow(in[:n], out, t)
		}
		if len(resp) == 0 || len(resp) > maxTCP {
			return
		}
		if err := conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return
		}
		buffers := net.Buffers{binary.BigEndian.AppendUint16(nil, uint16(len(resp))), resp}
		if _, err := buffers.WriteTo(conn); err != nil {
			return
		}
	}
}

package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

const port = 53

// socketKey names the sockets of one address at one interface.
type socketKey struct {
	addr  netip.Addr
	iface string
}

// socket is what listens there: several for UDP, among which the kernel shares out clients, and one for TCP.
type socket struct {
	udp []*net.UDPConn
	tcp net.Listener
}

func (s *socket) close() {
	for _, c := range s.udp {
		c.Close()
	}
	if s.tcp != nil {
		s.tcp.Close()
	}
}

// ensure holds the addresses and listens where it should, and says whether all of it could be done. It undoes what is not wanted any more.
func (s *Server) ensure() bool {
	want := s.where()
	all := s.hold(want)
	keys := map[socketKey]bool{}
	for _, addr := range want.Held {
		for _, iface := range s.cfg.Interfaces {
			keys[socketKey{addr, iface}] = true
		}
	}
	for key, sock := range s.sockets {
		if !keys[key] || !exists(key.iface, sock) {
			sock.close()
			delete(s.sockets, key)
		}
	}
	for key := range keys {
		if s.sockets[key] != nil {
			continue
		}
		sock, err := s.open(key)
		what := fmt.Sprintf("listening on %s at %s", key.addr, key.iface)
		if errors.Is(err, unix.ENODEV) {
			all = false // an interface that is not there yet
			continue
		}
		if !s.report("DNSNotServed", what, err) {
			all = false
			continue
		}
		s.sockets[key] = sock
	}
	return all
}

// report tells about a failure once, until it is over, and says whether there is none.
func (s *Server) report(reason, what string, err error) bool {
	switch {
	case err == nil:
		delete(s.said, what)
	case !s.said[what]:
		s.said[what] = true
		s.log.Error("DNS is not served", "what", what, "err", err)
		s.cfg.Event(reason, fmt.Sprintf("%s: %v", what, err))
	}
	return err == nil
}

// closeAll stops listening. The addresses stay: a client is told at once that nobody answers, and a daemon that starts again finds them.
func (s *Server) closeAll() {
	for key, sock := range s.sockets {
		sock.close()
		delete(s.sockets, key)
	}
}

// open listens on one address for what comes in through one interface.
func (s *Server) open(key socketKey) (_ *socket, err error) {
	sock := &socket{}
	defer func() {
		if err != nil {
			sock.close()
			if errors.Is(err, unix.EADDRINUSE) {
				err = fmt.Errorf("%w: another program of this host listens on port %d of all addresses: have it listen on its own address only, or end it", err, port)
			}
		}
	}()
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var serr error
		err := c.Control(func(fd uintptr) {
			serr = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1), unix.BindToDevice(int(fd), key.iface))
		})
		return errors.Join(err, serr)
	}}
	where := net.JoinHostPort(key.addr.String(), strconv.Itoa(port))
	family := 4
	if key.addr.Is6() {
		family = 6
	}
	for range min(runtime.GOMAXPROCS(0), maxSockets) {
		c, err := lc.ListenPacket(context.Background(), "udp", where)
		if err != nil {
			return nil, err
		}
		conn := c.(*net.UDPConn)
		_ = conn.SetReadBuffer(readBuffer) // the kernel may grant less
		sock.udp = append(sock.udp, conn)
	}
	if sock.tcp, err = lc.Listen(context.Background(), "tcp", where); err != nil {
		return nil, err
	}
	for _, conn := range sock.udp {
		go s.server.serveUDP(conn, family)
	}
	go s.server.serveTCP(sock.tcp, family)
	return sock, nil
}

const (
	// maxSockets bounds how many processors read UDP at once.
	maxSockets = 4
	// readBuffer holds a burst of some thousand questions.
	readBuffer = 1 << 20
)

// exists says whether the interface that a socket listens at is still the one that it was.
func exists(iface string, sock *socket) bool {
	if len(sock.udp) == 0 {
		return false
	}
	raw, err := sock.udp[0].SyscallConn()
	if err != nil {
		return false
	}
	bound := ""
	err = raw.Control(func(fd uintptr) { bound, _ = unix.GetsockoptString(int(fd), unix.SOL_SOCKET, unix.SO_BINDTODEVICE) })
	return err == nil && bound == iface
}

// hold gives the host the addresses, and takes back those that it gave before.
func (s *Server) hold(want place) bool {
	const what = "holding the addresses"
	// What is held is on disk before it is: a process that dies in between leaves no address that nobody knows of.
	if more := want.with(s.held); !more.equal(s.held) {
		if err := s.kept.saveJSON(placeFile, more); err != nil {
			return s.report("DNSNotServed", what, err)
		}
		s.held = more
	}
	for _, a := range want.Held {
		if err := addAddress(a); err != nil {
			return s.report("DNSNotServed", what, err)
		}
	}
	for _, a := range s.held.Held {
		if slices.Contains(want.Held, a) {
			continue
		}
		if err := removeAddress(a); err != nil {
			return s.report("DNSNotServed", what, err)
		}
	}
	if !want.equal(s.held) {
		if err := s.kept.saveJSON(placeFile, want); err != nil {
			return s.report("DNSNotServed", what, err)
		}
		s.held = want
	}
	return s.report("DNSNotServed", what, nil)
}

// Cleanup takes the addresses off the host again, for a node that leaves the cluster. Run must have ended.
func Cleanup(dir string) error {
	p, ok, err := store{dir: dir}.place()
	if err != nil || !ok {
		return err
	}
	var all error
	for _, a := range p.Held {
		all = errors.Join(all, removeAddress(a))
	}
	return errors.Join(all, os.RemoveAll(dir))
}

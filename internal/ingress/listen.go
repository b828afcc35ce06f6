package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// listenPause is between two attempts at a port that is taken: nothing tells when it is let go.
const listenPause = 5 * time.Second

// serve listens at a port of all addresses until ctx ends.
func (s *Server) serve(ctx context.Context, port int, secure bool) {
	said := ""
	for ctx.Err() == nil {
		l, err := net.Listen("tcp", net.JoinHostPort("", strconv.Itoa(port)))
		if err == nil {
			if said != "" {
				s.log.Info("the ingress is served after all", "port", port)
			}
			said = ""
			if err = s.proxy.Serve(ctx, l, secure, grace); err == nil {
				return
			}
		}
		text := fmt.Sprintf("listening on port %d: %v", port, err)
		if errors.Is(err, unix.EADDRINUSE) {
			text = fmt.Sprintf("port %d is taken by %s: end it, or give the node another port with --ingress-http-port and --ingress-https-port", port, holder("/proc", port))
		}
		if text != said {
			said = text
			s.log.Error("the ingress is not served", "port", port, "err", text)
			s.cfg.Event("IngressNotServed", text)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenPause):
		}
	}
}

// listening is the state of a socket that listens, as /proc/net/tcp has it.
const listening = "0A"

// holder says which process listens at a port, by its name and number.
func holder(proc string, port int) string {
	sockets := map[string]bool{}
	for _, file := range []string{"net/tcp", "net/tcp6"} {
		text, err := os.ReadFile(filepath.Join(proc, file))
		if err != nil {
			continue // a kernel without IPv6
		}
		for line := range strings.Lines(string(text)) {
			// sl local_address rem_address st tx:rx tr:tm retrnsmt uid timeout inode
			f := strings.Fields(line)
			if len(f) < 10 || f[3] != listening {
				continue
			}
			if _, hex, ok := strings.Cut(f[1], ":"); ok {
				if n, err := strconv.ParseUint(hex, 16, 16); err == nil && int(n) == port {
					sockets["socket:["+f[9]+"]"] = true
				}
			}
		}
	}
	links, err := filepath.Glob(filepath.Join(proc, "[0-9]*/fd/*"))
	if err != nil {
		return "another process"
	}
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !sockets[to] {
			continue
		}
		pid := filepath.Base(filepath.Dir(filepath.Dir(link)))
		name, err := os.ReadFile(filepath.Join(proc, pid, "comm"))
		if err != nil {
			continue
		}
		return fmt.Sprintf("%s (process %s)", strings.TrimSpace(string(name)), pid)
	}
	return "another process"
}

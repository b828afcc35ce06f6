package gittest

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"net"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// SSHServer shows the repository over ssh to one key.
type SSHServer struct {
	// URL is that of the repository, Address the server's own.
	URL, Address string
	// Identity is the private key that may read it, in PEM; Stranger is one that may not.
	Identity, Stranger []byte
	// KnownHosts is the line that proves the server; WrongHosts names the server with another key.
	KnownHosts, WrongHosts []byte
}

// ServeSSH starts an ssh server on loopback for the repository.
func (r *Repo) ServeSSH(t testing.TB) *SSHServer {
	t.Helper()
	host, _ := newKey(t)
	other, _ := newKey(t)
	user, identity := newKey(t)
	_, stranger := newKey(t)

	config := &ssh.ServerConfig{PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
		if string(key.Marshal()) != string(user.PublicKey().Marshal()) {
			return nil, fmt.Errorf("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(host)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { r.serveConn(conn, config) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	address := l.Addr().String()
	return &SSHServer{
		URL:        "ssh://git@" + address + r.Bare,
		Address:    address,
		Identity:   identity,
		Stranger:   stranger,
		KnownHosts: []byte(knownhosts.Line([]string{address}, host.PublicKey()) + "\n"),
		WrongHosts: []byte(knownhosts.Line([]string{address}, other.PublicKey()) + "\n"),
	}
}

func (r *Repo) serveConn(conn net.Conn, config *ssh.ServerConfig) {
	sc, channels, requests, err := ssh.NewServerConn(conn, config)
	if err != nil {
		conn.Close()
		return
	}
	defer sc.Close()
	go ssh.DiscardRequests(requests)
	for nc := range channels {
		if nc.ChannelType() != "session" {
			_ = nc.Reject(ssh.UnknownChannelType, "sessions only")
			continue
		}
		ch, reqs, err := nc.Accept()
		if err != nil {
			return
		}
		for req := range reqs {
			var exe struct{ Command string }
			if req.Type != "exec" || ssh.Unmarshal(req.Payload, &exe) != nil || !strings.HasPrefix(exe.Command, "git-upload-pack ") {
				_ = req.Reply(false, nil)
				continue
			}
			_ = req.Reply(true, nil)
			cmd := exec.Command("git-upload-pack", r.Bare)
			cmd.Stdin, cmd.Stdout, cmd.Stderr = ch, ch, ch.Stderr()
			status := struct{ Status uint32 }{}
			if err := cmd.Run(); err != nil {
				status.Status = 1
			}
			_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(status))
			ch.Close()
		}
	}
}

func newKey(t testing.TB) (ssh.Signer, []byte) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "")
	if err != nil {
		t.Fatal(err)
	}
	return signer, pem.EncodeToMemory(block)
}

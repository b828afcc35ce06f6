package netns

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

func interfaces() ([]string, error) {
	list, err := net.Interfaces()
	var names []string
	for _, i := range list {
		names = append(names, i.Name)
	}
	return names, err
}

func TestHostsOfALANReachEachOtherAndNobodyElse(t *testing.T) {
	l := NewLAN(t)
	a, _ := l.Host(t)
	b, bIP := l.Host(t)
	var listener net.Listener
	if err := Do(b, func() (err error) { listener, err = net.Listen("tcp", ":80"); return err }); err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	c, err := Dialer(a)(t.Context(), "tcp", bIP.String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c, err := net.Dial("tcp", bIP.String()+":80"); err == nil {
		c.Close()
		t.Errorf("%s was reached from outside its LAN", bIP)
	}
}

func TestCallerStaysWhereItWas(t *testing.T) {
	before, err := interfaces()
	if err != nil {
		t.Fatal(err)
	}
	ns, _ := NewLAN(t).Host(t)
	var inside []string
	if err := Do(ns, func() (err error) { inside, err = interfaces(); return err }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"lo", "eth0"}, inside); diff != "" {
		t.Errorf("interfaces inside (-want +got):\n%s", diff)
	}
	after, err := interfaces()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("interfaces outside before and after (-before +after):\n%s", diff)
	}
}

func TestLoopbackOfANewNamespaceIsUp(t *testing.T) {
	_, err := Dialer(New(t))(t.Context(), "tcp", "127.0.0.1:1")
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("connect to a closed port of 127.0.0.1: %v, want a refusal", err)
	}
}

func TestNamesAreNotDialled(t *testing.T) {
	if _, err := Dialer(New(t))(context.Background(), "tcp", "localhost:80"); err == nil {
		t.Error("a name was looked up, by a resolver that may be anywhere")
	}
}

func TestDeletingTwiceIsNoError(t *testing.T) {
	path := t.TempDir() + "/ns"
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := Delete(path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", path, err)
	}
}

package serve

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
)

func TestAJoinTokenSurvivesItsTextForm(t *testing.T) {
	want := NewJoinToken(strings.Repeat("0af9", 16))
	got, err := ParseJoinToken(want.String() + "\n")
	if err != nil || got != want {
		t.Errorf("%s became %s, %v", want, got, err)
	}
	for _, bad := range []string{"", "abc", want.String()[1:], want.String() + "x", strings.ToUpper(want.String())} {
		if _, err := ParseJoinToken(bad); err == nil {
			t.Errorf("%q was taken for a join token", bad)
		}
	}
}

func TestALockedDataDirectoryIsRefusedWithItsHolder(t *testing.T) {
	dir := t.TempDir()
	unlock, err := Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Lock(dir)
	if err == nil || !strings.Contains(err.Error(), "--data-dir") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a second lock gave %v, want an error that names the directory and the remedy", err)
	}
	unlock()
	again, err := Lock(dir)
	if err != nil {
		t.Fatalf("after the holder went: %v", err)
	}
	again()
}

func TestTheKubeconfigOfTheSameServerIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	keys, err := pki.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "admin.kubeconfig")
	read := func(url string) string {
		t.Helper()
		if err := writeKubeconfig(file, keys, url); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	first := read("https://192.0.2.1:6443")
	if second := read("https://192.0.2.1:6443"); second != first {
		t.Error("a restart wrote other credentials for the same server")
	}
	if moved := read("https://192.0.2.2:6443"); !strings.Contains(moved, "https://192.0.2.2:6443") {
		t.Error("the kubeconfig does not follow the server's address")
	}
}

func TestAPortInUseIsRefusedWithTheRemedyAndNothingElseIsTouched(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := t.TempDir()
	err = Run(t.Context(), Options{DataDir: dir, BindAddress: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port}, nil)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "--https-port") {
		t.Errorf("got %v, want an error that names %s and --https-port", err, l.Addr())
	}
	if _, err := os.Stat(filepath.Join(dir, "etcd")); !os.IsNotExist(err) {
		t.Error("a refused start made an etcd directory")
	}
}

func TestAControlPlaneWhoseControllersCannotStartEndsAndSaysWhy(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err := Run(ctx, Options{DataDir: t.TempDir(), BindAddress: "127.0.0.1", ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.43.0.0/16")}}, nil)
	if err == nil || !strings.Contains(err.Error(), "start the controllers") {
		t.Errorf("without a cluster CIDR: %v, want that the controllers cannot start", err)
	}
}

package servertest

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
)

// Cluster is a running API server.
type Cluster struct {
	// System is the configuration of gitopsd's own components: in process, with every right.
	System *rest.Config
	// URL is where the API is served, with TLS.
	URL string
	// PKI can issue certificates for other users.
	PKI *pki.PKI
	// Server is the API server itself.
	Server *server.Server
	// Dir is the data directory.
	Dir string
}

// ServiceCIDR is where the cluster IPs of a test's Services come from.
var ServiceCIDR = netip.MustParsePrefix("10.43.0.0/16")

// Start runs an API server until the test ends. It fails the test when the server does not become ready.
func Start(t testing.TB) *Cluster {
	t.Helper()
	c, stop := StartIn(t, t.TempDir())
	t.Cleanup(stop)
	return c
}

// With runs an API server until the test ends, with a configuration that change has had its hands on.
func With(t testing.TB, change func(*server.Config)) *Cluster {
	t.Helper()
	c, stop := start(t, t.TempDir(), change)
	t.Cleanup(stop)
	return c
}

// StartIn runs an API server on dir until stop is called, so that a test can start another on what it leaves.
func StartIn(t testing.TB, dir string) (c *Cluster, stop func()) {
	t.Helper()
	return StartInWith(t, dir, func(*server.Config) {})
}

// StartInWith is StartIn with a configuration that change has had its hands on.
func StartInWith(t testing.TB, dir string, change func(*server.Config)) (c *Cluster, stop func()) {
	t.Helper()
	return start(t, dir, change)
}

func start(t testing.TB, dir string, change func(*server.Config)) (c *Cluster, stop func()) {
	t.Helper()
	keys, err := pki.Open(filepath.Join(dir, "pki"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cfg := server.Config{
		EtcdDir: filepath.Join(dir, "etcd"), PKI: keys, Listener: l, ServiceCIDRs: []netip.Prefix{ServiceCIDR}, Advertise: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	}
	change(&cfg)
	s, err := server.New(ctx, cfg)
	if err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	select {
	case <-s.Ready():
	case err := <-done:
		cancel()
		t.Fatalf("the API server stopped before it was ready: %v", err)
	case <-time.After(30 * time.Second):
		cancel()
		t.Fatal("the API server is not ready after 30 s")
	}
	return &Cluster{Server: s, System: s.ClientConfig(), URL: "https://" + l.Addr().String(), PKI: keys, Dir: dir}, func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the API server stopped with: %v", err)
		}
	}
}

// User returns the configuration of a user with a client certificate, over TLS.
func (c *Cluster) User(t testing.TB, name string, groups ...string) *rest.Config {
	t.Helper()
	cert, key, err := c.PKI.Client(name, groups...)
	if err != nil {
		t.Fatal(err)
	}
	return &rest.Config{Host: c.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: c.PKI.CAPEM(), CertData: cert, KeyData: key}}
}

// Anonymous returns the configuration of a client without credentials.
func (c *Cluster) Anonymous() *rest.Config {
	return &rest.Config{Host: c.URL, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: c.PKI.CAPEM()}}
}

package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/gitopsd/gitopsd/internal/dns/records"
	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) {
	// A fuzzer's processes talk by pipes, which a namespace's own process would not have; it opens no socket.
	if slices.ContainsFunc(os.Args, func(a string) bool {
		return strings.HasPrefix(a, "-test.fuzz=") || strings.HasPrefix(a, "-test.fuzzworker")
	}) {
		os.Exit(m.Run())
	}
	netns.Main(m)
}

var served = []netip.Addr{netip.MustParseAddr("10.43.0.10"), netip.MustParseAddr("fd43::a")}

// theService is kube-dns as the control plane makes it.
func theService(labels map[string]string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: records.ServiceNamespace, Name: records.ServiceName, Labels: labels},
		Spec:       corev1.ServiceSpec{ClusterIP: served[0].String(), ClusterIPs: []string{served[0].String(), served[1].String()}},
	}
}

// startNode runs a node's DNS in this process's namespace until the test ends or stop is called.
func startNode(t *testing.T, client *fake.Clientset, dir string) (s *Server, stop func()) {
	t.Helper()
	factory := informers.NewSharedInformerFactory(client, 0)
	s, err := New(Config{
		Domain: "cluster.local", Pods: []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}, Interfaces: []string{"lo"}, ResolvConf: filepath.Join(dir, "none"),
		Dir: filepath.Join(dir, "dns"), Informers: factory, Client: client, Event: func(reason, message string) { t.Errorf("%s: %s", reason, message) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	factory.Start(ctx.Done())
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	}
	t.Cleanup(stop)
	return s, stop
}

// hears asks over a socket until the answer is there: what is watched takes a moment.
func hears(t *testing.T, network string, at netip.Addr, name string, want string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		c := dns.Client{Net: network, Timeout: time.Second}
		m, _, err := c.Exchange(new(dns.Msg).SetQuestion(name, dns.TypeA), netip.AddrPortFrom(at, port).String())
		if err != nil {
			got = err.Error()
			continue
		}
		if got = address(m); got == want {
			return
		}
	}
	t.Fatalf("%s by %s at %s: %s, want %s", name, network, at, got, want)
}

func held(t *testing.T) (out []netip.Addr) {
	t.Helper()
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && slices.Contains(served, p.Addr()) {
			out = append(out, p.Addr())
		}
	}
	return out
}

func TestANodeAnswersAtTheServicesAddressesAndFromMemoryWhenTheAPIIsAway(t *testing.T) {
	dir := t.TempDir()
	web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.43.0.7", ClusterIPs: []string{"10.43.0.7"}}}
	client := fake.NewClientset(theService(map[string]string{records.LabelProxy: records.ProxyName}), web)
	s, stop := startNode(t, client, dir)
	for _, at := range served {
		for _, network := range []string{"udp", "tcp"} {
			hears(t, network, at, "web.shop.svc.cluster.local.", "10.43.0.7")
			hears(t, network, at, "other.shop.svc.cluster.local.", "NXDOMAIN")
		}
	}
	if got := s.Addresses(t.Context()); !slices.Equal(got, []string{"10.43.0.10", "fd43::a"}) {
		t.Errorf("Pods are told %v", got)
	}
	stop()

	away := fake.NewClientset()
	away.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("the API is away")
	})
	_, stop = startNode(t, away, dir)
	hears(t, "udp", served[0], "web.shop.svc.cluster.local.", "10.43.0.7")
	hears(t, "udp", served[0], "other.shop.svc.cluster.local.", "NXDOMAIN")
	stop()

	// While the node was away the Service went, and another came.
	if err := client.CoreV1().Services("shop").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, stop = startNode(t, client, dir)
	hears(t, "udp", served[0], "web.shop.svc.cluster.local.", "NXDOMAIN")
	stop()
	if got := held(t); len(got) != 2 {
		t.Errorf("between two runs %v are held", got)
	}
	if err := Cleanup(filepath.Join(dir, "dns")); err != nil {
		t.Fatal(err)
	}
	if got := held(t); len(got) > 0 {
		t.Errorf("%v are held after the node has left", got)
	}
}

func TestANodeLetsGoOfTheAddressesWhenCoreDNSTakesOver(t *testing.T) {
	dir := t.TempDir()
	client := fake.NewClientset(theService(map[string]string{records.LabelProxy: records.ProxyName}))
	s, _ := startNode(t, client, dir)
	hears(t, "udp", served[0], "other.shop.svc.cluster.local.", "NXDOMAIN")
	if _, err := client.CoreV1().Services(records.ServiceNamespace).Update(t.Context(), theService(nil), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); len(held(t)) > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%v are still held", held(t))
		}
	}
	if got := s.Addresses(t.Context()); len(got) != 2 {
		t.Errorf("Pods are told %v, want CoreDNS' addresses", got)
	}
}

func TestTheHostsServersAreFoundBehindItsOwnResolver(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{"etc/resolv.conf": "nameserver 127.0.0.53\n", "run/systemd/resolve/resolv.conf": "nameserver 192.0.2.53\n"} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(root, file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := HostResolvConf(root), filepath.Join(root, "run/systemd/resolve/resolv.conf"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if err := os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 127.0.0.53\nnameserver 192.0.2.1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got, want := HostResolvConf(root), filepath.Join(root, "etc/resolv.conf"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

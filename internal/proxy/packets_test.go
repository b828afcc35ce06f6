package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/network"
	"github.com/gitopsd/gitopsd/internal/proxy/rules"
	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

var pods = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}

// world is two nodes, of which the first one has the proxy under test, a host outside the cluster, and an API with nothing in it.
type world struct {
	nodes     [2]string // namespaces
	nodeIPs   [2]netip.Addr
	outside   string
	outsideIP netip.Addr
	nets      [2]*network.Network
	client    *fake.Clientset
	proxy     *Proxy
	stop      func()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{client: fake.NewClientset()}
	lan := netns.NewLAN(t)
	for i := range w.nodes {
		w.nodes[i], w.nodeIPs[i] = lan.Host(t)
		i := i
		err := netns.Do(w.nodes[i], func() (err error) {
			w.nets[i], err = network.New(network.Config{
				NodeName: fmt.Sprint("w", i+1), StateDir: t.TempDir(), ClusterCIDRs: pods,
				PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", i+1))},
			})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range w.nodes {
		other := 1 - i
		run(t, w.nodes[i], "ip", "route", "add", fmt.Sprintf("10.42.%d.0/24", other+1), "via", w.nodeIPs[other].String())
	}
	w.outside, w.outsideIP = lan.Host(t)
	w.start(t)
	return w
}

// start runs a proxy on the first node, as a process that starts does, and waits until it has written its rules.
func (w *world) start(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	factory := informers.NewSharedInformerFactory(w.client, 0)
	var err error
	if w.proxy, err = New(Config{NodeName: "w1", ClusterCIDRs: pods, Informers: factory}); err != nil {
		t.Fatal(err)
	}
	factory.Start(ctx.Done())
	done := make(chan error, 1)
	p := w.proxy
	go func() { done <- netns.Do(w.nodes[0], func() error { return p.Run(ctx) }) }()
	select {
	case <-p.Synced():
	case err := <-done:
		t.Fatal(err)
	case <-time.After(20 * time.Second):
		t.Fatal("the proxy has not written its rules")
	}
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	t.Cleanup(w.stop)
}

// pod attaches a Pod to a node (0 or 1) and returns its namespace and address.
func (w *world) pod(t testing.TB, node int, uid string) (string, netip.Addr) {
	t.Helper()
	ns := netns.New(t)
	var a network.Attachment
	err := netns.Do(w.nodes[node], func() (err error) {
		a, err = w.nets[node].Attach(t.Context(), network.Pod{Namespace: "shop", Name: uid, UID: uid, NetNS: ns})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return ns, a.IPs[0]
}

// apply creates or replaces a Service and its EndpointSlices, given as YAML, and returns when the proxy has seen to it.
func (w *world) apply(t testing.TB, manifest string) {
	t.Helper()
	svc, list := readService(t, "manifest", strings.ReplaceAll(manifest, "\t", "  "))
	ctx := t.Context()
	services, slices := w.client.CoreV1().Services(svc.Namespace), w.client.DiscoveryV1().EndpointSlices(svc.Namespace)
	if _, err := services.Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		if _, err := services.Create(ctx, svc, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	old, err := slices.List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=" + svc.Name})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range list {
		s.Namespace, s.Name = svc.Namespace, fmt.Sprintf("%s-%d", svc.Name, i)
		s.Labels = map[string]string{discoveryv1.LabelServiceName: svc.Name}
		if _, err := slices.Update(ctx, s, metav1.UpdateOptions{}); err != nil {
			if _, err := slices.Create(ctx, s, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, s := range old.Items {
		if i := 0; func() bool { _, err := fmt.Sscanf(s.Name, svc.Name+"-%d", &i); return err == nil && i >= len(list) }() {
			if err := slices.Delete(ctx, s.Name, metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.settle(t)
}

// settle returns when the proxy has written everything that the API held at the call.
func (w *world) settle(t testing.TB) {
	t.Helper()
	n := 1 + markers.Add(1)%250
	marker, name := netip.MustParseAddr(fmt.Sprintf("10.42.255.%d", n)), fmt.Sprint("marker-", n)
	// Both informers deliver in order, so once their stores hold what the API holds, the next write does.
	eventually(t, "the informers to catch up", func() error { return w.caughtUp(t) })
	w.create(t, name, fmt.Sprintf("10.43.255.%d", n), marker)
	defer func() {
		if err := w.client.CoreV1().Services("shop").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		if err := w.client.DiscoveryV1().EndpointSlices("shop").Delete(context.Background(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}()
	for {
		used, _, changed := w.proxy.kernel.look(marker)
		if used {
			return
		}
		select {
		case <-changed:
		case <-time.After(10 * time.Second):
			t.Fatal("the proxy has not written its rules after 10 s")
		}
	}
}

var markers atomic.Int64

func (w *world) caughtUp(t testing.TB) error {
	services, err := w.client.CoreV1().Services("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range services.Items {
		want := &services.Items[i]
		got, ok, _ := w.proxy.services.GetStore().Get(want)
		if !ok || cmp.Diff(want, got) != "" {
			return fmt.Errorf("Service %s is not there yet", want.Name)
		}
	}
	slices, err := w.client.DiscoveryV1().EndpointSlices("").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	if have := len(w.proxy.slices.GetStore().List()); have != len(slices.Items) {
		return fmt.Errorf("%d EndpointSlices of %d", have, len(slices.Items))
	}
	for i := range slices.Items {
		want := &slices.Items[i]
		got, ok, _ := w.proxy.slices.GetStore().Get(want)
		if !ok || cmp.Diff(want, got) != "" {
			return fmt.Errorf("EndpointSlice %s is not there yet", want.Name)
		}
	}
	return nil
}

func eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited 10 s for %s: %v", what, err)
		}
	}
}

func run(t testing.TB, ns string, args ...string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		out, err = exec.Command(args[0], args[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// serve answers "<name> <client's address>" on a TCP and a UDP port of the namespace.
func serve(t testing.TB, ns, name string, port int) {
	t.Helper()
	err := netns.Do(ns, func() error {
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		u, err := net.ListenPacket("udp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close(); u.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer c.Close()
					fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr().(*net.TCPAddr).IP)
					io.Copy(c, c) // echo until the client is done
				}()
			}
		}()
		go func() {
			buf := make([]byte, 100)
			for {
				_, from, err := u.ReadFrom(buf)
				if err != nil {
					return
				}
				fmt.Fprint(writerTo{u, from}, name+" "+from.(*net.UDPAddr).IP.String()+"\n")
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

type writerTo struct {
	net.PacketConn
	to net.Addr
}

func (w writerTo) Write(b []byte) (int, error) { return w.WriteTo(b, w.to) }

// dial connects once from the namespace and returns the server's name and the client's address as the server saw it.
func dial(t testing.TB, ns, proto, addr string, timeout time.Duration) (answer [2]string, err error) {
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	c, err := netns.Dialer(ns)(ctx, proto, addr)
	if err != nil {
		return answer, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
		return answer, err
	}
	return talk(c)
}

func talk(c net.Conn) (answer [2]string, err error) {
	if _, ok := c.(*net.UDPConn); ok {
		if _, err := c.Write([]byte("?")); err != nil {
			return answer, err
		}
	}
	buf := make([]byte, 100)
	n, err := c.Read(buf)
	if err != nil {
		return answer, err
	}
	name, from, _ := strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	return [2]string{name, from}, nil
}

// want checks one connection: who answers, and as whom the client is seen.
func want(t testing.TB, ns, proto, addr, server, seenAs string) {
	t.Helper()
	got, err := dial(t, ns, proto, addr, 3*time.Second)
	if err != nil {
		t.Errorf("%s to %s: %v, want an answer from %s", proto, addr, err, server)
		return
	}
	if diff := cmp.Diff([2]string{server, seenAs}, got); diff != "" {
		t.Errorf("%s to %s: server and the client as it is seen (-want +got):\n%s", proto, addr, diff)
	}
}

const webManifest = `
metadata: {namespace: shop, name: web}
spec: {type: NodePort, clusterIP: 10.43.0.7, ports: [{port: 80, protocol: TCP, nodePort: 30080}]}
---
ports: [{port: 8080, protocol: TCP}]
endpoints:
`

func endpoint(ip netip.Addr, node string) string {
	return fmt.Sprintf("- {addresses: [%s], nodeName: %s, conditions: {ready: true}}\n", ip, node)
}

func TestServiceAnswersOnEveryKindOfAddress(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.apply(t, strings.NewReplacer("web", "dns", "TCP", "UDP", "0.7", "0.8", "30080", "30053").Replace(webManifest)+endpoint(serverIP, "w2"))

	node := w.nodeIPs[0].String()
	for _, proto := range []string{"tcp", "udp"} {
		vip, port := "10.43.0.7:80", ":30080"
		if proto == "udp" {
			vip, port = "10.43.0.8:80", ":30053"
		}
		want(t, client, proto, vip, "b", clientIP.String())
		want(t, w.nodes[0], proto, vip, "b", node)
		want(t, w.outside, proto, node+port, "b", node)
		want(t, w.nodes[0], proto, node+port, "b", node)
		want(t, w.nodes[0], proto, "127.0.0.1"+port, "b", node)
		want(t, w.nodes[0], proto, "10.42.1.1"+port, "b", node)
		want(t, client, proto, node+port, "b", node)
		want(t, client, proto, "10.42.1.1"+port, "b", node)
	}
	// A client outside the cluster that routes to the Service's address through the node is answered through it.
	run(t, w.outside, "ip", "route", "add", "10.43.0.0/16", "via", node)
	want(t, w.outside, "tcp", "10.43.0.7:80", "b", node)
}

func TestPodReachesItselfThroughItsService(t *testing.T) {
	for _, bridgeFilter := range []string{"0", "1"} {
		t.Run("bridge-nf-call-iptables="+bridgeFilter, func(t *testing.T) {
			w := newWorld(t)
			const setting = "/proc/sys/net/bridge/bridge-nf-call-iptables"
			if _, err := os.Stat(setting); err == nil {
				if err := netns.Do(w.nodes[0], func() error { return os.WriteFile(setting, []byte(bridgeFilter), 0o644) }); err != nil {
					t.Fatal(err)
				}
			} else if bridgeFilter == "1" {
				t.Skip("SKIPPED: br_netfilter is not loaded, so bridged packets meet no rules")
			}
			a, aIP := w.pod(t, 0, "a")
			b, bIP := w.pod(t, 0, "b")
			serve(t, a, "a", 8080)
			w.apply(t, webManifest+endpoint(aIP, "w1"))
			want(t, a, "tcp", "10.43.0.7:80", "a", "10.42.1.1")
			want(t, b, "tcp", "10.43.0.7:80", "a", bIP.String()) // a neighbour is seen as itself
			want(t, a, "tcp", w.nodeIPs[0].String()+":30080", "a", "10.42.1.1")
		})
	}
}

func TestConnectionsAreSpreadEvenly(t *testing.T) {
	w := newWorld(t)
	manifest := webManifest
	for i := range 3 {
		ns, ip := w.pod(t, i%2, fmt.Sprint("pod-", i))
		serve(t, ns, fmt.Sprint("pod-", i), 8080)
		manifest += endpoint(ip, fmt.Sprint("w", i%2+1))
	}
	w.apply(t, manifest)
	const rounds = 6000 // one standard deviation is then 1.8% of a share, so 10% is more than five
	seen := map[string]int{}
	err := netns.Do(w.outside, func() error {
		for range rounds {
			c, err := net.Dial("tcp", w.nodeIPs[0].String()+":30080")
			if err != nil {
				return err
			}
			a, err := talk(c)
			c.Close()
			if err != nil {
				return err
			}
			seen[a[0]]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		name := fmt.Sprint("pod-", i)
		if n := seen[name]; n < rounds/3*9/10 || n > rounds/3*11/10 {
			t.Errorf("%s had %d of %d connections, want a third within 10%%; all: %v", name, n, rounds, seen)
		}
	}
}

func TestServiceWithoutEndpointsRefusesAtOnce(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	w.apply(t, webManifest[:strings.Index(webManifest, "---\n")])
	node := w.nodeIPs[0].String()
	for _, from := range []struct{ ns, addr string }{
		{client, "10.43.0.7:80"}, {w.nodes[0], "10.43.0.7:80"}, {w.outside, node + ":30080"}, {w.nodes[0], "127.0.0.1:30080"}, {client, node + ":30080"},
	} {
		start := time.Now()
		_, err := dial(t, from.ns, "tcp", from.addr, 3*time.Second)
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("connect to %s: %v after %s, want a refusal", from.addr, err, time.Since(start))
		}
	}
}

func TestPolicyLocalKeepsTheClientsAddress(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	here, hereIP := w.pod(t, 0, "here")
	there, thereIP := w.pod(t, 1, "there")
	serve(t, here, "here", 8080)
	serve(t, there, "there", 8080)
	manifest := strings.Replace(webManifest, "type: NodePort", "type: NodePort, externalTrafficPolicy: Local, externalIPs: [203.0.113.5]", 1)
	node := w.nodeIPs[0].String()
	run(t, w.outside, "ip", "route", "add", "203.0.113.5", "via", node)

	w.apply(t, manifest+endpoint(hereIP, "w1")+endpoint(thereIP, "w2"))
	for range 10 {
		want(t, w.outside, "tcp", node+":30080", "here", w.outsideIP.String())
		want(t, w.outside, "tcp", "203.0.113.5:80", "here", w.outsideIP.String())
	}
	// Clients within the cluster are still served by all.
	met := map[string]bool{}
	for range 60 {
		a, err := dial(t, client, "tcp", node+":30080", 3*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		met[a[0]] = true
		if a[1] != clientIP.String() {
			t.Errorf("a Pod is seen as %s, want its own address", a[1])
		}
	}
	if len(met) != 2 {
		t.Errorf("a Pod met %v through the NodePort, want both endpoints", met)
	}

	w.apply(t, manifest+endpoint(thereIP, "w2"))
	if _, err := dial(t, w.outside, "tcp", node+":30080", 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("without an endpoint here: %v, want silence", err)
	}
	want(t, client, "tcp", node+":30080", "there", clientIP.String())
	want(t, w.nodes[0], "tcp", "127.0.0.1:30080", "there", node)
}

func TestInternalPolicyLocalStaysOnTheNode(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	here, hereIP := w.pod(t, 0, "here")
	_, thereIP := w.pod(t, 1, "there")
	serve(t, here, "here", 8080)
	manifest := strings.Replace(webManifest, "type: NodePort", "type: NodePort, internalTrafficPolicy: Local", 1)
	w.apply(t, manifest+endpoint(hereIP, "w1")+endpoint(thereIP, "w2"))
	for range 10 {
		want(t, client, "tcp", "10.43.0.7:80", "here", clientIP.String())
	}
	w.apply(t, manifest+endpoint(thereIP, "w2"))
	if _, err := dial(t, client, "tcp", "10.43.0.7:80", 300*time.Millisecond); !isTimeout(err) {
		t.Errorf("without an endpoint here: %v, want silence", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestClientComesBackToItsEndpointWithinTheTimeout(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	manifest := strings.Replace(webManifest, "type: NodePort",
		"type: NodePort, sessionAffinity: ClientIP, sessionAffinityConfig: {clientIP: {timeoutSeconds: 2}}", 1)
	list := map[string]string{}
	for i := range 4 {
		name := fmt.Sprint("pod-", i)
		ns, ip := w.pod(t, i%2, name)
		serve(t, ns, name, 8080)
		list[name] = endpoint(ip, fmt.Sprint("w", i%2+1))
	}
	all := list["pod-0"] + list["pod-1"] + list["pod-2"] + list["pod-3"]
	w.apply(t, manifest+all)

	first, err := dial(t, client, "tcp", "10.43.0.7:80", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		addr := "10.43.0.7:80"
		if i%2 == 1 {
			addr = w.nodeIPs[0].String() + ":30080" // the same client by another door
		}
		again, err := dial(t, client, "tcp", addr, time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if again[0] != first[0] {
			t.Fatalf("connection %d met %s, the first one %s", i, again[0], first[0])
		}
	}
	// Its endpoint goes: another one takes over and keeps the client.
	delete(list, first[0])
	w.apply(t, manifest+list["pod-0"]+list["pod-1"]+list["pod-2"]+list["pod-3"])
	second, err := dial(t, client, "tcp", "10.43.0.7:80", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if second[0] == first[0] {
		t.Fatalf("%s was met after it was gone", first[0])
	}
	want(t, client, "tcp", "10.43.0.7:80", second[0], second[1])
	// After the timeout the client is a stranger again: out of many rounds, one meets somebody else.
	moved := false
	for range 8 {
		time.Sleep(2100 * time.Millisecond) // the timeout itself is what is tested
		a, err := dial(t, client, "tcp", "10.43.0.7:80", time.Second)
		if err != nil {
			t.Fatal(err)
		}
		if moved = a[0] != second[0]; moved {
			break
		}
	}
	if !moved {
		t.Error("the client stayed with its endpoint far past the timeout")
	}
}

func TestUDPClientMovesOnWhenItsEndpointGoes(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	a, aIP := w.pod(t, 1, "a")
	b, bIP := w.pod(t, 0, "b")
	serve(t, a, "a", 8080)
	serve(t, b, "b", 8080)
	manifest := strings.ReplaceAll(webManifest, "TCP", "UDP")
	conns := map[string]net.Conn{}
	for name, at := range map[string]struct{ ns, addr string }{
		"Pod": {client, "10.43.0.7:80"}, "outside": {w.outside, w.nodeIPs[0].String() + ":30080"},
	} {
		c, err := netns.Dialer(at.ns)(t.Context(), "udp", at.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[name] = c
	}
	// One and the same socket each, so that the kernel's table knows it, sends on and on.
	expect := func(server string) {
		t.Helper()
		for name, c := range conns {
			_ = c.SetDeadline(time.Now().Add(2 * time.Second))
			got, err := talk(c)
			if err != nil || got[0] != server {
				t.Errorf("%s: %v %v, want an answer from %s", name, got, err, server)
			}
		}
	}
	for name, c := range conns {
		if _, err := c.Write([]byte("to nobody yet")); err != nil {
			t.Fatal(name, err)
		}
		// The host outside is told that nobody listens; that answer must not be taken for one to what is sent next.
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Read(make([]byte, 1))
	}
	w.apply(t, manifest+endpoint(aIP, "w2"))
	expect("a")
	w.apply(t, manifest+endpoint(bIP, "w1"))
	expect("b")
}

func TestEstablishedConnectionOutlivesItsEndpointsReadiness(t *testing.T) {
	w := newWorld(t)
	client, _ := w.pod(t, 0, "client")
	a, aIP := w.pod(t, 1, "a")
	b, bIP := w.pod(t, 1, "b")
	serve(t, a, "a", 8080)
	serve(t, b, "b", 8080)
	w.apply(t, webManifest+endpoint(aIP, "w2"))
	c, err := netns.Dialer(client)(t.Context(), "tcp", "10.43.0.7:80")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := talk(c); err != nil {
		t.Fatal(err)
	}
	w.apply(t, webManifest+endpoint(bIP, "w2")+
		fmt.Sprintf("- {addresses: [%s], nodeName: w2, conditions: {ready: false, serving: true, terminating: true}}\n", aIP))
	for range 20 {
		want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
	}
	if _, err := c.Write([]byte("still there?\n")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	_ = c.SetReadDeadline(time.Now().Add(2 * time.Second))
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "still there?\n" {
		t.Errorf("the connection to the endpoint that is being shut down: %q, %v", buf[:n], err)
	}
}

func TestNoConnectionFailsWhileEndpointsChange(t *testing.T) {
	w := newWorld(t)
	var ends []string
	for i := range 4 {
		ns, ip := w.pod(t, i%2, fmt.Sprint("pod-", i))
		serve(t, ns, fmt.Sprint("pod-", i), 8080)
		ends = append(ends, endpoint(ip, fmt.Sprint("w", i%2+1)))
	}
	w.apply(t, webManifest+ends[0])
	ctx, cancel := context.WithCancel(t.Context())
	var conns atomic.Int64
	failed := make(chan error, 1)
	go func() {
		failed <- netns.Do(w.outside, func() error {
			for ctx.Err() == nil {
				c, err := net.DialTimeout("tcp", w.nodeIPs[0].String()+":30080", 3*time.Second)
				if err != nil {
					return err
				}
				_, err = talk(c)
				c.Close()
				if err != nil {
					return err
				}
				conns.Add(1)
			}
			return nil
		})
	}()
	for i := range 20 {
		w.apply(t, webManifest+ends[i%4]+ends[(i+1)%4])
	}
	cancel()
	if err := <-failed; err != nil {
		t.Errorf("after %d connections: %v", conns.Load(), err)
	}
	t.Logf("%d connections while endpoints changed 20 times", conns.Load())
}

func TestOutsideEditsAreHealed(t *testing.T) {
	w := newWorld(t)
	client, clientIP := w.pod(t, 0, "client")
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.stop() // so that this goroutine may use the writer; the rules stay
	before := ownRules(t, w.nodes[0])
	for name, edit := range map[string][]string{
		"a rule deleted":    {"iptables", "-t", "nat", "-D", servicesChain, "1"},
		"a rule added":      {"iptables", "-t", "nat", "-I", markedChain, "-j", "RETURN"},
		"a chain emptied":   {"iptables", "-t", "nat", "-F", foreignChain},
		"a chain added":     {"iptables", "-t", "filter", "-N", chainPrefix + "STRANGER"},
		"a jump deleted":    {"iptables", "-t", "nat", "-D", "OUTPUT", "1"},
		"the table emptied": {"iptables", "-t", "nat", "-F"},
	} {
		run(t, w.nodes[0], edit...)
		if cmp.Diff(before, ownRules(t, w.nodes[0])) == "" {
			t.Fatalf("%s: changed nothing", name)
		}
		if err := netns.Do(w.nodes[0], func() error { w.proxy.verify(t.Context()); return nil }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before, ownRules(t, w.nodes[0])); diff != "" {
			t.Errorf("%s: rules before and after healing (-before +after):\n%s", name, diff)
		}
	}
	want(t, client, "tcp", "10.43.0.7:80", "b", clientIP.String())
}

// ownRules are the rules of this package and the jumps to them.
func ownRules(t testing.TB, ns string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(run(t, ns, "iptables-save")) {
		if strings.Contains(line, chainPrefix) {
			out = append(out, line)
		}
	}
	return out
}

func TestVerifyFindsNothingToRepairInWhatWasJustWritten(t *testing.T) {
	w := newWorld(t)
	_, ip := w.pod(t, 0, "a")
	_, other := w.pod(t, 1, "b")
	for i, option := range []string{
		"type: NodePort", "type: NodePort, externalTrafficPolicy: Local", "type: NodePort, sessionAffinity: ClientIP",
		"type: LoadBalancer, loadBalancerSourceRanges: [192.0.2.0/24], externalIPs: [203.0.113.5]", "type: NodePort, internalTrafficPolicy: Local",
	} {
		m := strings.NewReplacer("web", fmt.Sprint("web-", i), "0.7", fmt.Sprintf("0.%d", i+1), "30080", fmt.Sprint(30080+i), "type: NodePort", option).Replace(webManifest)
		w.apply(t, m+endpoint(ip, "w1")+endpoint(other, "w2"))
		if i == 1 {
			w.apply(t, m[:strings.Index(m, "---\n")])
		}
	}
	w.settle(t)
	w.stop()
	err := netns.Do(w.nodes[0], func() error {
		repaired, err := w.proxy.families[0].writer.Verify(t.Context())
		if len(repaired) > 0 {
			t.Errorf("repaired %v, though nobody changed a rule", repaired)
		}
		if spelled := w.proxy.families[0].writer.Respelled(); len(spelled) > 0 {
			t.Errorf("iptables-save prints these chains in other words than were sent: %v", spelled)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestRestartTakesOverWithoutTouchingWhatStays(t *testing.T) {
	w := newWorld(t)
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.settle(t)
	gone := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "gone"},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.43.9.9", Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	var before []string
	eventually(t, "the rules of the test's own markers to go", func() error {
		if before = ownRules(t, w.nodes[0]); strings.Contains(strings.Join(before, ""), "marker") {
			return errors.New("still there")
		}
		return nil
	})
	if _, err := w.client.CoreV1().Services("shop").Create(t.Context(), gone, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle(t)
	w.stop()
	if err := w.client.CoreV1().Services("shop").Delete(t.Context(), "gone", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	// Packet counters tell whether a rule was written anew: that starts them at zero.
	want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
	w.start(t)
	webChain := chainName('X', rules.PortName{Namespace: "shop", Service: "web", Protocol: corev1.ProtocolTCP})
	counters := run(t, w.nodes[0], "iptables-save", "-c", "-t", "nat")
	if !strings.Contains(counters, "] -A "+webChain) || strings.Contains(counters, "[0:0] -A "+webChain) {
		t.Errorf("the chain of a Service that stays was written anew:\n%s", counters)
	}
	w.settle(t)
	eventually(t, "the rules to be those of before", func() error {
		if diff := cmp.Diff(before, ownRules(t, w.nodes[0])); diff != "" {
			return fmt.Errorf("rules (-before +after the restart):\n%s", diff)
		}
		return nil
	})
}

func TestCleanupRemovesEveryRule(t *testing.T) {
	w := newWorld(t)
	before := run(t, w.nodes[1], "iptables-save") // the node without a proxy
	_, ip := w.pod(t, 0, "a")
	w.apply(t, webManifest+endpoint(ip, "w1"))
	w.stop()
	if err := netns.Do(w.nodes[0], func() error { return Cleanup(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if left := ownRules(t, w.nodes[0]); len(left) > 0 {
		t.Errorf("left behind: %v\nother node: %s", left, before)
	}
}

func TestFailedWriteIsRepeatedInFull(t *testing.T) {
	w := newWorld(t)
	server, serverIP := w.pod(t, 1, "server")
	serve(t, server, "b", 8080)
	w.apply(t, webManifest+endpoint(serverIP, "w2"))
	w.stop()
	err := netns.Do(w.nodes[0], func() error {
		f := w.proxy.families[0]
		bad := iptables.Chains{{Table: iptables.NAT, Name: chainPrefix + "BAD"}: {"-m nosuchmatch -j RETURN"}}
		err := f.writer.Update(t.Context(), bad)
		if err == nil || !strings.Contains(err.Error(), "nosuchmatch") {
			t.Errorf("error %v, want one that quotes the rule", err)
		}
		for c := range bad {
			bad[c] = nil
		}
		return f.writer.Update(t.Context(), bad)
	})
	if err != nil {
		t.Fatal(err)
	}
	want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
}

// BenchmarkOneMoreService measures from the creation of a Service and its EndpointSlice to the first connection through it.
func BenchmarkOneMoreService(b *testing.B) {
	for _, n := range []int{100, 1000, 5000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			w := newWorld(b)
			client, _ := w.pod(b, 0, "client")
			server, serverIP := w.pod(b, 1, "server")
			serve(b, server, "b", 8080)
			add := func(i int) string {
				ip := fmt.Sprintf("10.43.%d.%d", i/200, 1+i%200)
				name := fmt.Sprint("svc-", i)
				w.create(b, name, ip, serverIP)
				return ip + ":80"
			}
			start := time.Now()
			var last string
			for i := range n {
				last = add(i)
			}
			connects(b, client, last)
			b.ReportMetric(time.Since(start).Seconds()*1e3, "ms-for-all")
			w.settle(b)
			w.settle(b)
			b.ResetTimer()
			for i := range b.N {
				connects(b, client, add(n+i))
			}
		})
	}
}

func (w *world) create(b testing.TB, name, ip string, server netip.Addr) {
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Port: ptr.To(int32(8080)), Protocol: ptr.To(corev1.ProtocolTCP)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{server.String()}, NodeName: ptr.To("w2")},
			{Addresses: []string{server.Next().String()}, NodeName: ptr.To("w2"), Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}},
		},
	}
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.ServiceSpec{ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP}}},
	}
	if _, err := w.client.CoreV1().Services("shop").Create(b.Context(), svc, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
	if _, err := w.client.DiscoveryV1().EndpointSlices("shop").Create(b.Context(), slice, metav1.CreateOptions{}); err != nil {
		b.Fatal(err)
	}
}

// connects tries until a connection succeeds. A Service without rules yet is silent or refuses.
func connects(b testing.TB, ns, addr string) {
	err := netns.Do(ns, func() error {
		deadline := time.Now().Add(time.Minute)
		for {
			c, err := net.DialTimeout("tcp", addr, 2*time.Millisecond)
			if err == nil {
				return c.Close()
			}
			if time.Now().After(deadline) {
				return err
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}

func TestAddressIsDrainedWhenTheKernelNoLongerSendsThere(t *testing.T) {
	w := newWorld(t)
	a, aIP := w.pod(t, 0, "a")
	b, bIP := w.pod(t, 1, "b")
	serve(t, a, "a", 8080)
	serve(t, b, "b", 8080)
	w.apply(t, webManifest+endpoint(aIP, "w1")+endpoint(bIP, "w2"))

	if err := w.proxy.Drained(t.Context(), netip.MustParseAddr("10.42.1.99")); err != nil {
		t.Errorf("an address that no Service leads to: %v", err)
	}
	short, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := w.proxy.Drained(short, aIP); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a ready endpoint: %v, want to wait until the time is over", err)
	}

	drained := make(chan error, 1)
	go func() { drained <- w.proxy.Drained(t.Context(), aIP) }()
	list, err := w.client.DiscoveryV1().EndpointSlices("shop").Get(t.Context(), "web-0", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list.Endpoints[0].Conditions = discoveryv1.EndpointConditions{Ready: ptr.To(false), Serving: ptr.To(true), Terminating: ptr.To(true)}
	if _, err := w.client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), list, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-drained:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("not drained 5 s after the endpoint was called terminating")
	}
	// At once, and without any further waiting, every connection goes elsewhere.
	for range 50 {
		want(t, w.outside, "tcp", w.nodeIPs[0].String()+":30080", "b", w.nodeIPs[0].String())
	}

	// The last one serves on while it terminates, as nobody else is there; that cannot be waited for.
	list.Endpoints[1].Conditions = list.Endpoints[0].Conditions
	if _, err := w.client.DiscoveryV1().EndpointSlices("shop").Update(t.Context(), list, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.settle(t)
	if err := w.proxy.Drained(t.Context(), bIP); err != nil {
		t.Errorf("the last endpoint: %v", err)
	}
}

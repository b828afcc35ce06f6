package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/network"
	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) { netns.Main(m) }

var pods = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")}

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
				PodCIDRs: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", i+1))},
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
		run(t, w.nodes[i], "ip", "addr", "add", fmt.Sprintf("fd89::%d/64", i+1), "dev", "eth0", "nodad")
		run(t, w.nodes[i], "ip", "-6", "route", "add", "default", "dev", "eth0")
	}
	for i := range w.nodes {
		run(t, w.nodes[i], "ip", "-6", "route", "add", fmt.Sprintf("fd42:0:0:%d::/64", 2-i), "via", fmt.Sprintf("fd89::%d", 2-i))
	}
	w.outside, w.outsideIP = lan.Host(t)
	run(t, w.outside, "ip", "addr", "add", "fd89::9/64", "dev", "eth0", "nodad")
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
	// IPv6 rules are written after those for IPv4.
	marker, name := netip.MustParseAddr(fmt.Sprintf("fd42:0:0:ff::%x", n)), fmt.Sprint("marker-", n)
	// Both informers deliver in order, so once their stores hold what the API holds, the next write does.
	eventually(t, "the informers to catch up", func() error { return w.caughtUp(t) })
	w.create(t, name, fmt.Sprintf("fd43::ff:%x", n), marker)
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

func (w *world) create(b testing.TB, name, ip string, server netip.Addr) {
	family := discoveryv1.AddressTypeIPv4
	if server.Is6() {
		family = discoveryv1.AddressTypeIPv6
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "shop", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: family,
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

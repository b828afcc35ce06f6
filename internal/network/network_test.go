package network

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/gitopsd/gitopsd/test/netns"
)

func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == pluginName {
		if err := plugin(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Args[0] == standInName {
		fmt.Fprintln(os.Stderr, standIn(os.Args[1]))
		os.Exit(1)
	}
	netns.Main(m)
}

var clusterCIDRs = []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")}

// node is one host of a test: a namespace that is joined to a common bridge, and its Pod network.
type node struct {
	name, ns string
	ip       netip.Addr
	cfg      Config
	net      *Network
	key      string // of WireGuard, in base64
}

// start makes the node's Network, as a process that starts does.
func (n *node) start(t testing.TB) {
	t.Helper()
	if err := netns.Do(n.ns, func() (err error) { n.net, err = New(n.cfg); return err }); err != nil {
		t.Fatal(err)
	}
}

func (n *node) attach(t testing.TB, uid string, ports ...HostPort) (string, netip.Addr) {
	t.Helper()
	pod := netns.New(t)
	return pod, n.attachAt(t, uid, pod, ports...)
}

func (n *node) attachAt(t testing.TB, uid, pod string, ports ...HostPort) netip.Addr {
	t.Helper()
	var a Attachment
	err := netns.Do(n.ns, func() (err error) {
		a, err = n.net.Attach(t.Context(), Pod{Namespace: "default", Name: uid, UID: uid, NetNS: pod, HostPorts: ports})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return a.IPs[0]
}

// newNode plugs one more host into the LAN and starts a Pod network on it.
func newNode(t testing.TB, l *netns.LAN, ranges ...string) *node {
	t.Helper()
	ns, ip := l.Host(t)
	n := &node{name: "node-" + ip.String(), ns: ns, ip: ip}
	n.cfg = Config{NodeName: n.name, StateDir: t.TempDir(), ClusterCIDRs: clusterCIDRs}
	for _, r := range ranges {
		n.cfg.PodCIDRs = append(n.cfg.PodCIDRs, netip.MustParsePrefix(r))
	}
	n.start(t)
	return n
}

// answer makes a server in the namespace that tells each client the client's address as the server sees it.
func answer(t testing.TB, ns, addr string) {
	t.Helper()
	err := netns.Do(ns, func() error {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return err
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprint(c, c.RemoteAddr().(*net.TCPAddr).IP)
				c.Close()
			}
		}()
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// ask connects from the namespace and returns what the server answered.
func ask(t testing.TB, ns, addr string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	c, err := netns.Dialer(ns)(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	b, err := io.ReadAll(c)
	return string(b), err
}

func wantAnswer(t testing.TB, ns, addr, want string) {
	t.Helper()
	got, err := ask(t, ns, addr)
	if err != nil {
		t.Errorf("connect to %s, expecting to be seen as %s: %v", addr, want, err)
	} else if got != want {
		t.Errorf("%s saw the client as %s, want %s", addr, got, want)
	}
}

func TestPodsOfOneNodeReachEachOtherUnderTheirOwnAddresses(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/24", "fd42:0:0:1::/64")
	a, aIP := n.attach(t, "a")
	b, bIP := n.attach(t, "b")
	answer(t, b, ":80")
	wantAnswer(t, a, bIP.String()+":80", aIP.String())
	wantAnswer(t, a, "[fd42:0:0:1::3]:80", "fd42:0:0:1::2")
	wantAnswer(t, n.ns, bIP.String()+":80", "10.42.1.1")
	wantAnswer(t, b, "127.0.0.1:80", "127.0.0.1")
	answer(t, n.ns, ":81")
	wantAnswer(t, a, "10.42.1.1:81", aIP.String())
}

func TestPodLeavesTheClusterUnderItsNodesAddress(t *testing.T) {
	l := netns.NewLAN(t)
	n := newNode(t, l, "10.42.1.0/24")
	outside, outsideIP := l.Host(t)
	answer(t, outside, ":80")
	pod, _ := n.attach(t, "a")
	wantAnswer(t, pod, outsideIP.String()+":80", n.ip.String())
}

func TestHostPortsAnswerOnTheNodesAddresses(t *testing.T) {
	l := netns.NewLAN(t)
	n := newNode(t, l, "10.42.1.0/24")
	outside, outsideIP := l.Host(t)
	pod, podIP := n.attach(t, "web",
		HostPort{HostPort: 8080, ContainerPort: 80},
		HostPort{HostPort: 8081, ContainerPort: 80, HostIP: netip.MustParseAddr("127.0.0.1")})
	answer(t, pod, ":80")
	wantAnswer(t, outside, n.ip.String()+":8080", outsideIP.String())
	wantAnswer(t, n.ns, "127.0.0.1:8080", "10.42.1.1")
	wantAnswer(t, n.ns, "127.0.0.1:8081", "10.42.1.1")
	wantAnswer(t, n.ns, n.ip.String()+":8080", n.ip.String())
	wantAnswer(t, pod, n.ip.String()+":8080", "10.42.1.1") // itself
	if _, err := ask(t, outside, n.ip.String()+":8081"); err == nil {
		t.Error("a host port of 127.0.0.1 answered on the node's address")
	}
	if err := netns.Do(n.ns, func() error { return n.net.Detach(t.Context(), "web") }); err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, outside, n.ip.String()+":8080"); err == nil {
		t.Errorf("host port still answers after %s was detached", podIP)
	}
}

func TestNobodyElseReachesTheNodesLoopbackAddress(t *testing.T) {
	l := netns.NewLAN(t)
	n := newNode(t, l, "10.42.1.0/24")
	answer(t, n.ns, "127.0.0.1:80")
	outside, _ := l.Host(t)
	err := netns.Do(outside, func() error {
		// What an attacker on the same link does: make its own loopback address somebody else's.
		if err := os.WriteFile("/proc/sys/net/ipv4/conf/all/route_localnet", []byte("1"), 0o644); err != nil {
			return err
		}
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := netlink.AddrDel(lo, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("127.0.0.1/8"))}); err != nil {
			return err
		}
		return netlink.RouteAdd(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("127.0.0.1/32")), Gw: n.ip.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if c, err := netns.Dialer(outside)(ctx, "tcp", "127.0.0.1:80"); err == nil {
		c.Close()
		t.Error("a neighbour connected to a server on the node's 127.0.0.1")
	}
}

func TestAddressOutlivesTheProcess(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/24")
	a, aIP := n.attach(t, "a")
	b, bIP := n.attach(t, "b")
	answer(t, b, ":80")
	conn, err := netns.Dialer(a)(t.Context(), "tcp", bIP.String()+":80")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	n.start(t) // a second process, the first one having been killed
	if diff := cmp.Diff([]string{"a", "b"}, n.net.Attached()); diff != "" {
		t.Errorf("Pods known after the restart (-want +got):\n%s", diff)
	}
	if got, err := io.ReadAll(conn); err != nil || string(got) != aIP.String() {
		t.Errorf("a connection from before the restart read %q, %v", got, err)
	}
	if got := n.attachAt(t, "a", a); got != aIP {
		t.Errorf("Attach after the restart gave %s, before it %s", got, aIP)
	}
	wantAnswer(t, a, bIP.String()+":80", aIP.String())

	// After a reboot the namespace is a new one; the address stays.
	fresh := netns.New(t)
	if got := n.attachAt(t, "a", fresh); got != aIP {
		t.Errorf("Attach in a new namespace gave %s, before %s", got, aIP)
	}
	wantAnswer(t, fresh, bIP.String()+":80", aIP.String())
}

func TestDetachLeavesNothingAndAddressRests(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/24")
	before := hostInterfaces(t, n.ns)
	_, first := n.attach(t, "a")
	for range 2 { // idempotent
		if err := netns.Do(n.ns, func() error { return n.net.Detach(t.Context(), "a") }); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, hostInterfaces(t, n.ns)); diff != "" {
		t.Errorf("interfaces before and after a Pod (-before +after):\n%s", diff)
	}
	n.start(t) // the order of use is remembered, too
	if _, second := n.attach(t, "b"); second == first {
		t.Errorf("%s was given out again at once", first)
	}
}

func TestInterfacesOfUnknownPodsAreRemovedAtStart(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/24")
	n.attach(t, "a")
	want := hostInterfaces(t, n.ns)
	n.attach(t, "b")
	if err := n.net.forget("b"); err != nil {
		t.Fatal(err)
	}
	n.start(t)
	if diff := cmp.Diff(want, hostInterfaces(t, n.ns)); diff != "" {
		t.Errorf("interfaces after the start (-want +got):\n%s", diff)
	}
}

// forget drops a Pod from the state only, as a Detach that was killed after its last write but before the interface was gone.
func (n *Network) forget(uid string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.state.Pods, uid)
	return n.state.save(n.cfg.StateDir)
}

func TestPodsOfTwoNodesReachEachOtherWhileBothAreNodes(t *testing.T) {
	l := netns.NewLAN(t)
	n1, n2 := newNode(t, l, "10.42.1.0/24"), newNode(t, l, "10.42.2.0/24")
	a, aIP := n1.attach(t, "a")
	b, bIP := n2.attach(t, "b")
	answer(t, b, ":80")
	client := fake.NewClientset(object(n1), object(n2))
	factory := informers.NewSharedInformerFactory(client, 0)
	nodes := factory.Core().V1().Nodes()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 2)
	for _, n := range []*node{n1, n2} {
		go func() { stopped <- netns.Do(n.ns, func() error { return n.net.Run(ctx, nodes) }) }()
	}
	nodes.Informer()
	factory.Start(ctx.Done())
	defer func() {
		cancel()
		for range 2 {
			if err := <-stopped; err != nil {
				t.Error(err)
			}
		}
	}()

	waitRoute(t, n1, "10.42.2.0/24", true)
	waitRoute(t, n2, "10.42.1.0/24", true)
	wantAnswer(t, a, bIP.String()+":80", aIP.String())

	// The route is lost with the link and comes back with it.
	for _, up := range []bool{false, true} {
		err := netns.Do(n1.ns, func() error {
			eth, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			if up {
				return netlink.LinkSetUp(eth)
			}
			return netlink.LinkSetDown(eth)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	waitRoute(t, n1, "10.42.2.0/24", true)

	if err := client.CoreV1().Nodes().Delete(ctx, n2.name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitRoute(t, n1, "10.42.2.0/24", false)
}

func TestHostWithoutPodsReachesThoseOfTheNodes(t *testing.T) {
	l := netns.NewLAN(t)
	n := newNode(t, l, "10.42.1.0/24")
	pod, podIP := n.attach(t, "a")
	answer(t, pod, ":80")
	host, hostIP := l.Host(t)
	self := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "also-a-node"}, Spec: corev1.NodeSpec{PodCIDRs: []string{"10.42.9.0/24"}}}
	self.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: hostIP.String()}}
	factory := informers.NewSharedInformerFactory(fake.NewClientset(object(n), self), 0)
	nodes := factory.Core().V1().Nodes()
	nodes.Informer()
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- netns.Do(host, func() error { return KeepRoutes(ctx, nodes) }) }()
	factory.Start(ctx.Done())

	var at router
	if err := netns.Do(host, func() error {
		link, err := netlink.NewHandle()
		at = newRouter(nil, link, nil)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	waitRouteOf(t, at, "10.42.1.0/24", true)
	waitRouteOf(t, at, "10.42.9.0/24", false)
	wantAnswer(t, host, podIP.String()+":80", hostIP.String())
	cancel()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func object(n *node) *corev1.Node {
	o := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.name, Annotations: map[string]string{AnnWireGuardKey: n.key}}}
	for _, p := range n.cfg.PodCIDRs {
		o.Spec.PodCIDRs = append(o.Spec.PodCIDRs, p.String())
	}
	o.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: n.ip.String()}}
	return o
}

func waitRoute(t *testing.T, n *node, dst string, want bool) {
	t.Helper()
	waitRouteOf(t, n.net.routes, dst, want)
}

func waitRouteOf(t *testing.T, r router, dst string, want bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		list, err := r.present(0)
		if err != nil {
			t.Fatal(err)
		}
		has := slices.ContainsFunc(list, func(r route) bool { return r.Dst == netip.MustParsePrefix(dst) })
		if has == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("route to %s present: %v, want %v", dst, has, want)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func hostInterfaces(t testing.TB, ns string) []string {
	t.Helper()
	var names []string
	err := netns.Do(ns, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			names = append(names, l.Attrs().Name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(names)
	return names
}

func TestRemoveLeavesTheHostAsItWas(t *testing.T) {
	l := netns.NewLAN(t)
	ns, ip := l.Host(t)
	before := hostInterfaces(t, ns)
	n := &node{name: "n", ns: ns, ip: ip, cfg: Config{
		NodeName: "n", StateDir: t.TempDir(), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}, ClusterCIDRs: clusterCIDRs}}
	n.start(t)
	n.attach(t, "a", HostPort{HostPort: 80, ContainerPort: 80})
	if err := netns.Do(ns, func() error { return n.net.Remove(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, hostInterfaces(t, ns)); diff != "" {
		t.Errorf("interfaces (-before +after):\n%s", diff)
	}
	if rules := save(t, ns); strings.Contains(rules, "GITOPSD") {
		t.Errorf("rules left behind:\n%s", rules)
	}
}

func TestPodRangeWithoutRoomIsRefusedWithTheRemedy(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/30")
	n.attach(t, "a")
	err := netns.Do(n.ns, func() error {
		_, err := n.net.Attach(t.Context(), Pod{Namespace: "shop", Name: "web", UID: "b", NetNS: netns.New(t)})
		return err
	})
	want := "attach Pod shop/web to the network: all addresses of the node's Pod range 10.42.1.0/30 are in use: give the node a larger range or run fewer Pods on it"
	if diff := cmp.Diff(want, fmt.Sprint(err)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func BenchmarkAttachAndDetach(b *testing.B) {
	n := newNode(b, netns.NewLAN(b), "10.42.0.0/16")
	var spaces []string
	for range 16 {
		spaces = append(spaces, netns.New(b))
	}
	var attach, detach time.Duration
	b.ResetTimer()
	for i := range b.N {
		uid := fmt.Sprint("pod-", i)
		start := time.Now()
		if _, err := n.net.Attach(b.Context(), Pod{UID: uid, NetNS: spaces[i%len(spaces)]}); err != nil {
			b.Fatal(err)
		}
		attach += time.Since(start)
		start = time.Now()
		if err := n.net.Detach(b.Context(), uid); err != nil {
			b.Fatal(err)
		}
		detach += time.Since(start)
	}
	b.ReportMetric(attach.Seconds()*1e3/float64(b.N), "ms/attach")
	b.ReportMetric(detach.Seconds()*1e3/float64(b.N), "ms/detach")
}

func save(t testing.TB, ns string) string {
	t.Helper()
	var out []byte
	if err := netns.Do(ns, func() (err error) { out, err = exec.Command("iptables-save").Output(); return err }); err != nil {
		t.Fatal(err)
	}
	return string(out)
}

package network

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/gitopsd/gitopsd/test/netns"
)

// behind makes a host at the end of a link of its own to a router, which forwards between its links and knows nothing of Pods.
func behind(t testing.TB, router string, number byte) (string, netip.Addr) {
	t.Helper()
	ns := netns.New(t)
	f, err := os.Open(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	host, gw := netip.AddrFrom4([4]byte{10, 90, number, 2}), netip.AddrFrom4([4]byte{10, 90, number, 1})
	address := func(name string, ip netip.Addr) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(24, 32)}}); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	name := fmt.Sprint("to", number)
	err = netns.Do(router, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = name
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(f.Fd()))}); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
			return err
		}
		return address(name, gw)
	})
	if err == nil {
		err = netns.Do(ns, func() error {
			if err := address("eth0", host); err != nil {
				return err
			}
			return netlink.RouteAdd(&netlink.Route{Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Gw: gw.AsSlice()})
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return ns, host
}

// TestPodsReachThoseOfNodesBehindARouter has two nodes with a router between, and a third that shares a link with the first.
func TestPodsReachThoseOfNodesBehindARouter(t *testing.T) {
	for _, mode := range []Mode{Auto, VXLAN, WireGuard} {
		t.Run(string(mode), func(t *testing.T) {
			router := netns.New(t)
			var all []*node
			for i := range byte(2) {
				ns, ip := behind(t, router, i+1)
				n := &node{name: fmt.Sprint("n", i), ns: ns, ip: ip, cfg: Config{NodeName: fmt.Sprint("n", i), StateDir: t.TempDir(), ClusterCIDRs: clusterCIDRs, Mode: mode}}
				n.cfg.PodCIDRs = []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.42.%d.0/24", i+1)), netip.MustParsePrefix(fmt.Sprintf("fd42:0:0:%d::/64", i+1))}
				if mode == WireGuard {
					encrypt(t, n)
				}
				n.start(t)
				all = append(all, n)
			}
			n1, n2 := all[0], all[1]
			a, aIP := n1.attach(t, "a")
			b, bIP := n2.attach(t, "b", HostPort{HostPort: 8080, ContainerPort: 80})
			answer(t, b, ":80")
			client := fake.NewClientset(object(n1), object(n2))
			factory := informers.NewSharedInformerFactory(client, 0)
			nodes := factory.Core().V1().Nodes()
			ctx, cancel := context.WithCancel(t.Context())
			stopped := make(chan error, 2)
			for _, n := range all {
				go func() { stopped <- netns.Do(n.ns, func() error { return n.net.Run(ctx, nodes) }) }()
			}
			nodes.Informer()
			factory.Start(ctx.Done())
			stop := func() {
				cancel()
				for range all {
					if err := <-stopped; err != nil {
						t.Error(err)
					}
				}
			}
			waitRoute(t, n1, "10.42.2.0/24", true)
			waitRoute(t, n2, "10.42.1.0/24", true)
			waitRoute(t, n1, "fd42:0:0:2::/64", true)
			waitRoute(t, n2, "fd42:0:0:1::/64", true)
			check := func() {
				t.Helper()
				wantAnswer(t, a, bIP.String()+":80", aIP.String())
				wantAnswer(t, a, "[fd42:0:0:2::2]:80", "fd42:0:0:1::2")
				wantAnswer(t, n1.ns, bIP.String()+":80", "10.42.1.0") // the node, from its end of the tunnel
				wantAnswer(t, a, n2.ip.String()+":8080", n1.ip.String())
				wantBulk(t, a, b, bIP)
			}
			check()
			if mode == WireGuard {
				wantPutBack(t, n1, n2.cfg.PodCIDRs[0])
				check()
			}
			// Processes end, and packets go on; so they do when others take over.
			stop()
			check()
			n1.start(t)
			check()
			if mode == WireGuard {
				wantEncrypted(t, n1, n2, 2<<20) // what wantBulk has sent, twice and more
			}

			if err := netns.Do(n1.ns, func() error { return n1.net.Remove(t.Context()) }); err != nil {
				t.Fatal(err)
			}
			if left := strings.Join(hostInterfaces(t, n1.ns), " "); strings.Contains(left, "gitopsd") {
				t.Errorf("left behind: %s", left)
			}
		})
	}
}

// wantPutBack has another process of the node's host send packets for a range past the tunnel: the node does not leave it at that.
func wantPutBack(t *testing.T, n *node, dst netip.Prefix) {
	t.Helper()
	direct := route{Dst: dst, Via: netip.AddrFrom4([4]byte{10, 90, 1, 1})}
	if err := n.net.link.RouteReplace(newRouter(nil, n.net.link, nil).kernelRoute(direct, 0)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		list, err := n.net.routes.present(0)
		if err != nil {
			t.Fatal(err)
		}
		past := slices.Contains(list, direct)
		if !past && slices.Contains(list, route{Dst: dst, Via: gateway(dst)}) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("unencrypted packets have a way: %v; routes: %v", past, list)
		}
	}
}

// wantBulk sends more than fits any packet, in packets as large as the client's interface takes: they arrive, whatever the way is too narrow for.
func wantBulk(t testing.TB, from, to string, ip netip.Addr) {
	t.Helper()
	var l net.Listener
	if err := netns.Do(to, func() (err error) { l, err = net.Listen("tcp", ":81"); return err }); err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	const size = 1 << 20
	got := make(chan int, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			got <- -1
			return
		}
		defer c.Close()
		n, buf := 0, make([]byte, 64<<10)
		for n < size {
			k, err := c.Read(buf)
			if err != nil {
				break
			}
			n += k
		}
		got <- n
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := netns.Dialer(from)(ctx, "tcp", netip.AddrPortFrom(ip, 81).String())
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Error(err)
		return
	}
	select {
	case n := <-got:
		if n != size {
			t.Errorf("%d bytes of %d arrived", n, size)
		}
	case <-ctx.Done():
		t.Errorf("of %d bytes not all arrived: packets are too large for the way", size)
	}
}

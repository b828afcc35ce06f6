package network

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/test/netns"
)

// readRefused takes the lines "refused CIDR" out of what readNodes reads.
func readRefused(t *testing.T, d *datadriven.TestData) (refused []netip.Prefix, nodes []*corev1.Node, present []route) {
	var rest strings.Builder
	for line := range strings.Lines(d.Input) {
		if cidr, is := strings.CutPrefix(line, "refused "); is {
			refused = append(refused, netip.MustParsePrefix(strings.TrimSpace(cidr)))
			continue
		}
		rest.WriteString(line)
	}
	nodes, present = readNodes(t, d, rest.String())
	return refused, nodes, present
}

// refusalDecision is that of a node which knows the others, or of one that starts and does not.
func refusalDecision(t *testing.T, d *datadriven.TestData) string {
	refused, nodes, present := readRefused(t, d)
	var cluster []netip.Prefix
	var self string
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "cluster":
			for _, v := range a.Vals {
				cluster = append(cluster, netip.MustParsePrefix(v))
			}
		case "self":
			self = a.Vals[0]
		}
	}
	want := firstRefusals(cluster, refused, present)
	if self != "" {
		want = wantedRefusals(cluster, func(n *corev1.Node) bool { return n.Name == self }, nodes)
	}
	refuse, remove, lift := refusalChanges(want, refused, present)
	var b strings.Builder
	for _, p := range refuse {
		fmt.Fprintf(&b, "refuse %s\n", p)
	}
	for _, r := range remove {
		fmt.Fprintf(&b, "remove %s\n", r)
	}
	for _, p := range lift {
		fmt.Fprintf(&b, "lift %s\n", p)
	}
	return b.String()
}

// othersDecision is that of a control plane on the host of a node.
func othersDecision(t *testing.T, d *datadriven.TestData) string {
	refused, nodes, present := readRefused(t, d)
	want := wantedRoutes(func(*corev1.Node) bool { return false }, nodes, nil)
	replace, remove := routeChanges(leaveToOthers(want, refused, present))
	var b strings.Builder
	for _, r := range replace {
		fmt.Fprintf(&b, "replace %s\n", r)
	}
	for _, r := range remove {
		fmt.Fprintf(&b, "remove %s\n", r)
	}
	return b.String()
}

// settle does what Run does when Nodes change.
func (n *node) settle(nodes ...*corev1.Node) error {
	return netns.Do(n.ns, func() error { return n.net.routes.settle(n.net.routes.own(), nodes) })
}

// wantRefused checks that the node's kernel refuses a connection. One whose packets are sent is answered, or by nobody.
func wantRefused(t *testing.T, when, ns, addr string) {
	t.Helper()
	got, err := ask(t, ns, addr)
	if !errors.Is(err, unix.EHOSTUNREACH) && !errors.Is(err, unix.ENETUNREACH) {
		t.Errorf("%s: a connection to %s was not refused: answer %q, %v", when, addr, got, err)
	}
}

func (n *node) wantRefusals(t *testing.T, when string, want ...string) {
	t.Helper()
	list, err := n.net.routes.refused()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range list {
		got = append(got, p.String())
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s: refused ranges (-want +got):\n%s", when, diff)
	}
}

// TestWhatCannotBeEncryptedIsRefused has a node turn from routes to encryption, which fails, in all the ways there are, while the other nodes would take unencrypted packets
// from wherever they come: the node's default route leads to one of them, too.
func TestWhatCannotBeEncryptedIsRefused(t *testing.T) {
	l := netns.NewLAN(t)
	n1, n2 := newNode(t, l, "10.42.1.0/24"), newNode(t, l, "10.42.2.0/24")
	outside := newNode(t, l, "10.77.3.0/24") // not of the cluster's range
	var apis []*corev1.Node
	var servers []string
	a, _ := n1.attach(t, "a")
	for i, n := range []*node{n2, outside} {
		b, ip := n.attach(t, fmt.Sprint("b", i))
		answer(t, b, ":80")
		servers = append(servers, ip.String()+":80")
		apis = append(apis, object(n))
	}
	err := netns.Do(n1.ns, func() error {
		return netlink.RouteReplace(&netlink.Route{Dst: ipNet(netip.MustParsePrefix("0.0.0.0/0")), Gw: n2.ip.AsSlice()})
	})
	if err != nil {
		t.Fatal(err)
	}
	all := append(slices.Clone(apis), object(n1))
	for _, n := range []*node{n1, n2, outside} {
		if err := n.settle(all...); err != nil {
			t.Fatal(err)
		}
	}
	wantAll := func(when string) {
		t.Helper()
		for _, s := range servers {
			wantRefused(t, when, n1.ns, s)
			// A Pod of its own each time: the kernel tells one address of few refusals in a second.
			pod, _ := n1.attach(t, when+s)
			wantRefused(t, when, pod, s)
		}
		present, err := n1.net.routes.present(0)
		if err != nil || len(present) > 0 {
			t.Errorf("%s: there are the routes %v, %v", when, present, err)
		}
	}
	for _, s := range servers {
		if _, err := ask(t, a, s); err != nil {
			t.Fatal("before: ", err)
		}
	}

	// There is no key, and New fails.
	n1.cfg.Mode = WireGuard
	key := filepath.Join(n1.cfg.StateDir, "wireguard.key")
	if err := os.WriteFile(key, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	err = netns.Do(n1.ns, func() error { _, err := New(n1.cfg); return err })
	if err == nil || !strings.Contains(err.Error(), key) {
		t.Fatalf("New with a damaged key: %v", err)
	}
	wantAll("without a key")
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}

	// The node starts, and has an interface that cannot be configured.
	err = netns.Do(n1.ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = wireguardName
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	})
	if err != nil {
		t.Fatal(err)
	}
	n1.start(t)
	wantAll("after the start")
	n1.wantRefusals(t, "after the start", "10.42.0.0/16", "fd42::/48", "10.42.2.0/24", "10.77.3.0/24")
	for _, nodes := range [][]*corev1.Node{all, apis} { // with the node's own, and without
		if err := n1.settle(nodes...); len(nodes) == len(all) && err == nil {
			t.Error("a bridge was configured for WireGuard")
		}
		wantAll("while it cannot be configured")
	}
	// A control plane on the same host does not open another way.
	err = netns.Do(n1.ns, func() error {
		return newRouter(nil, n1.net.link, nil).settle(func(o *corev1.Node) bool { return o.Name == n1.name }, all)
	})
	if err != nil {
		t.Error(err)
	}
	wantAll("beside a control plane")

	// Who goes is refused no more, nor anybody when the mode is left.
	if err := n1.settle(apis[0], object(n1)); err == nil {
		t.Error("a bridge was configured for WireGuard")
	}
	n1.wantRefusals(t, "after a node went", "10.42.0.0/16", "fd42::/48", "10.42.2.0/24")
	n1.cfg.Mode = HostGateway
	n1.start(t)
	wantRefused(t, "before there are routes again", n1.ns, servers[0])
	if err := n1.settle(all...); err != nil {
		t.Error(err)
	}
	n1.wantRefusals(t, "after the mode was left")
	for _, s := range servers {
		if _, err := ask(t, a, s); err != nil {
			t.Error("after the mode was left: ", err)
		}
	}
}

// TestNoRefusalIsLeft has them of both families, which the kernel removes differently.
func TestNoRefusalIsLeft(t *testing.T) {
	n := newNode(t, netns.NewLAN(t), "10.42.1.0/24", "fd42:0:0:1::/64")
	for range 2 { // the second one finds them
		err := netns.Do(n.ns, func() error {
			return n.net.routes.refuse(func(refused []netip.Prefix, present []route) []netip.Prefix {
				return firstRefusals(clusterCIDRs, refused, present)
			})
		})
		if err != nil {
			t.Fatal(err)
		}
		n.wantRefusals(t, "after a start", "10.42.0.0/16", "fd42::/48")
	}
	wantRefused(t, "in IPv6", n.ns, "[fd42:0:0:2::2]:80")
	pod, _ := n.attach(t, "a")
	wantRefused(t, "in IPv6", pod, "[fd42:0:0:2::2]:80")
	if err := netns.Do(n.ns, func() error { return n.net.Remove(t.Context()) }); err != nil {
		t.Fatal(err)
	}
	n.wantRefusals(t, "after the node left")
}

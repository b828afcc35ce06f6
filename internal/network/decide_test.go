package network

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/gitopsd/gitopsd/internal/iptables"
)

// The files under testdata show the decisions of this package: which address a Pod gets, which routes and which rules there are.
func TestDecisions(t *testing.T) {
	used := map[netip.Addr]string{}
	var last netip.Addr
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		clear(used)
		last = netip.Addr{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "allocate":
				return allocations(t, d, used, &last)
			case "free":
				for _, a := range d.CmdArgs {
					delete(used, netip.MustParseAddr(a.Key))
				}
				return ""
			case "routes":
				return routeDecision(t, d)
			case "refusals":
				return refusalDecision(t, d)
			case "leave-to-others":
				return othersDecision(t, d)
			case "peers":
				return peersDecision(t, d)
			case "overhead":
				return overheads()
			case "rules":
				return ruleDecision(t, d)
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

func allocations(t *testing.T, d *datadriven.TestData, used map[netip.Addr]string, last *netip.Addr) string {
	var cidr string
	var count int
	d.ScanArgs(t, "from", &cidr)
	d.ScanArgs(t, "count", &count)
	var b strings.Builder
	for range count {
		a, err := allocate(netip.MustParsePrefix(cidr), *last, used)
		if err != nil {
			return b.String() + "error: " + err.Error() + "\n"
		}
		used[a], *last = "pod", a
		fmt.Fprintln(&b, a)
	}
	return b.String()
}

// routeDecision reads lines "node NAME cidr=… ip=…" and "present DST via ADDRESS".
func routeDecision(t *testing.T, d *datadriven.TestData) string {
	nodes, present := readNodes(t, d, d.Input)
	var self string
	d.ScanArgs(t, "self", &self)
	var tunnelled []string
	far := func(ip netip.Addr) bool { return slices.Contains(tunnelled, ip.String()) }
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "far":
			tunnelled = a.Vals
		case "mode":
			far = (&tunnel{mode: Mode(a.Vals[0])}).far
		}
	}
	own := func(n *corev1.Node) bool { return n.Name == self }
	peers := wantedPeers(own, nodes, true, far)
	replace, remove := routeChanges(wantedRoutes(own, nodes, peers), present)
	var b strings.Builder
	for _, r := range replace {
		fmt.Fprintf(&b, "replace %s\n", r)
	}
	for _, r := range remove {
		fmt.Fprintf(&b, "remove %s\n", r)
	}
	return b.String()
}

func readNodes(t *testing.T, d *datadriven.TestData, text string) (nodes []*corev1.Node, present []route) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		switch f[0] {
		case "present":
			present = append(present, route{Dst: netip.MustParsePrefix(f[1]), Via: netip.MustParseAddr(f[3]), Tunnel: len(f) > 4})
		case "node":
			n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f[1], Annotations: map[string]string{}}}
			for _, arg := range f[2:] {
				switch k, v, _ := strings.Cut(arg, "="); k {
				case "cidr":
					n.Spec.PodCIDRs = append(n.Spec.PodCIDRs, v)
				case "key":
					n.Annotations[AnnWireGuardKey] = v
				case "ip":
					n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: v})
				}
			}
			nodes = append(nodes, n)
		default:
			t.Fatalf("%s: unknown line %q", d.Pos, line)
		}
	}
	return nodes, present
}

// ruleDecision reads lines "pod NAME IP [hostPort:containerPort[/protocol][@hostIP]]…".
func ruleDecision(t *testing.T, d *datadriven.TestData) string {
	var pod, cluster string
	d.ScanArgs(t, "pods", &pod)
	d.ScanArgs(t, "cluster", &cluster)
	pods := map[string]record{}
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		r := record{Namespace: "default", Name: f[1], IPs: []netip.Addr{netip.MustParseAddr(f[2])}}
		for _, s := range f[3:] {
			var hp HostPort
			s, at, found := strings.Cut(s, "@")
			if found {
				hp.HostIP = netip.MustParseAddr(at)
			}
			s, proto, _ := strings.Cut(s, "/")
			hp.Protocol = corev1.Protocol(proto)
			host, container, _ := strings.Cut(s, ":")
			h, _ := strconv.ParseUint(host, 10, 16)
			c, _ := strconv.ParseUint(container, 10, 16)
			hp.HostPort, hp.ContainerPort = uint16(h), uint16(c)
			r.HostPorts = append(r.HostPorts, hp)
		}
		pods[f[1]] = r
	}
	p := netip.MustParsePrefix(pod)
	for _, f := range families {
		if f.has(p.Addr()) {
			return iptables.Delta(nil, f.chains([]netip.Prefix{p}, []netip.Prefix{netip.MustParsePrefix(cluster)}, pods, true))
		}
	}
	return ""
}

func TestRoutesAppliedOnceNeedNoFurtherChange(t *testing.T) {
	want := []route{{Dst: netip.MustParsePrefix("10.42.1.0/24"), Via: netip.MustParseAddr("10.89.0.2")}}
	replace, remove := routeChanges(want, want)
	if len(replace)+len(remove) > 0 {
		t.Errorf("a second look replaces %v and removes %v", replace, remove)
	}
}

func TestStateSurvivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	want := state{
		Pods: map[string]record{"uid-1": {
			Namespace: "shop", Name: "web", IPs: []netip.Addr{netip.MustParseAddr("10.42.0.2")},
			HostPorts: []HostPort{{Protocol: corev1.ProtocolTCP, HostPort: 80, ContainerPort: 8080}},
		}},
		Last: map[netip.Prefix]netip.Addr{netip.MustParsePrefix("10.42.0.0/24"): netip.MustParseAddr("10.42.0.2")},
	}
	if err := want.save(dir); err != nil {
		t.Fatal(err)
	}
	got, err := loadState(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("saved (-) and loaded (+) differ:\n%s", diff)
	}
}

func TestEveryAddressOfARangeIsGivenOutOnce(t *testing.T) {
	cidr := netip.MustParsePrefix("10.42.7.0/26")
	used := map[netip.Addr]string{}
	var last netip.Addr
	for {
		a, err := allocate(cidr, last, used)
		if err != nil {
			break
		}
		if _, twice := used[a]; twice || !cidr.Contains(a) {
			t.Fatalf("%s given out twice or outside %s", a, cidr)
		}
		used[a], last = "pod", a
	}
	if want := 64 - 3; len(used) != want {
		t.Errorf("%d addresses given out of %s, want %d: %v", len(used), cidr, want, slices.SortedFunc(maps.Keys(used), netip.Addr.Compare))
	}
	for _, reserved := range []string{"10.42.7.0", "10.42.7.1", "10.42.7.63"} {
		if sets.KeySet(used).Has(netip.MustParseAddr(reserved)) {
			t.Errorf("%s is not for Pods", reserved)
		}
	}
}

func FuzzDamagedStateNeverStopsTheNode(f *testing.F) {
	f.Add([]byte(`{"pods":{"u":{"ips":["10.42.0.2"]}},"last":{"10.42.0.0/24":"10.42.0.2"}}`))
	f.Add([]byte(`{"pods":null}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(stateFile(dir), data, 0o600); err != nil {
			t.Fatal(err)
		}
		s, err := loadState(dir)
		if err != nil {
			t.Fatalf("state %q: %v", data, err)
		}
		if s.Pods == nil || s.Last == nil {
			t.Fatalf("state %q: loaded without maps: %+v", data, s)
		}
	})
}

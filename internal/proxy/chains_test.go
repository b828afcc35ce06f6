package proxy

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/proxy/rules"
)

// The files under testdata show what is sent to the kernel when Services come, change and go.
//
//	start [family=IPv6]   the rules of a node without Services
//	set                   a Service and its EndpointSlices as YAML documents; shows what is sent, and which UDP flows are forgotten
//	delete NAMESPACE/NAME
func TestChains(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		var p *program
		sent := iptables.Chains{}
		show := func(stale []flow) string {
			before, after := iptables.Chains{}, iptables.Chains{}
			for c, r := range p.changes() {
				if old, ok := sent[c]; ok {
					before[c] = old
				}
				if delete(sent, c); r != nil {
					after[c], sent[c] = r, r
				}
			}
			var out strings.Builder
			out.WriteString(iptables.Delta(before, after))
			for _, f := range stale {
				fmt.Fprintln(&out, "forget", f)
			}
			return out.String()
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "start":
				f := families[0]
				if d.HasArg("family") {
					f = families[1]
				}
				p = newProgram(f, []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/48")}, true)
				clear(sent)
				return show(nil)
			case "set":
				svc, slices := readService(t, d.Pos, d.Input)
				key := types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
				list := rules.Build(rules.Node{Name: "w1"}, p.name, svc, slices)
				stale := staleFlows(p.services[key], list)
				p.set(key, list)
				return show(stale)
			case "delete":
				ns, name, _ := strings.Cut(d.CmdArgs[0].Key, "/")
				key := types.NamespacedName{Namespace: ns, Name: name}
				stale := staleFlows(p.services[key], nil)
				p.set(key, nil)
				return show(stale)
			}
			t.Fatalf("%s: unknown command %s", d.Pos, d.Cmd)
			return ""
		})
	})
}

// readService parses a Service and then any number of EndpointSlices.
func readService(t testing.TB, pos, input string) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	t.Helper()
	docs := strings.Split(input, "---\n")
	svc := &corev1.Service{}
	if err := yaml.UnmarshalStrict([]byte(docs[0]), svc); err != nil {
		t.Fatalf("%s: %v in\n%s", pos, err, docs[0])
	}
	var list []*discoveryv1.EndpointSlice
	for _, doc := range docs[1:] {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		if err := yaml.UnmarshalStrict([]byte(doc), s); err != nil {
			t.Fatalf("%s: %v in\n%s", pos, err, doc)
		}
		list = append(list, s)
	}
	return svc, list
}

func TestEveryEndpointIsTakenEquallyOften(t *testing.T) {
	for _, n := range []int{2, 3, 7, 100, 1000} {
		left := 1.0
		for i := n; i > 0; i-- {
			share := left
			if i > 1 {
				p, err := strconv.ParseFloat(probability(i), 64)
				if err != nil {
					t.Fatal(err)
				}
				share = left * p
			}
			if off := share*float64(n) - 1; math.Abs(off) > 1e-5 {
				t.Errorf("%d endpoints: one of them is taken %.6f of the time, off by %.4f%%", n, share, off*100)
			}
			left -= share
		}
	}
}

func TestChainNamesFitTheKernel(t *testing.T) {
	long := strings.Repeat("x", 63)
	names := []string{
		servicesChain, addressesChain, nodePortsChain, foreignChain, masqueradeChain, markedChain, hairpinChain,
		chainName('X', rules.PortName{Namespace: long, Service: long, Port: long, Protocol: corev1.ProtocolSCTP}),
	}
	for _, a := range []string{"255.255.255.255", "fd43:ffff:ffff:ffff:ffff:ffff:ffff:ffff"} {
		for _, s := range addrWay(netip.MustParseAddr(a)) {
			names = append(names, s.chain)
		}
	}
	names = append(names, portWay("sctp", 65535)[0].chain)
	for _, n := range names {
		if len(n) > iptables.MaxChainName {
			t.Errorf("%s has %d characters, the kernel takes %d", n, len(n), iptables.MaxChainName)
		}
	}
}

// What the program says after any sequence of changes is what it says when told the result at once: nothing is left of what went.
func TestChainsDependOnTheServicesAloneNotOnTheirHistory(t *testing.T) {
	made := func(n int) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: strconv.Itoa(n)},
			Spec: corev1.ServiceSpec{
				Type: corev1.ServiceTypeNodePort, ClusterIP: fmt.Sprintf("10.43.%d.%d", n/3, n),
				Ports: []corev1.ServicePort{{Port: 80, Protocol: corev1.ProtocolTCP, NodePort: int32(30000 + 50*n)}},
			},
		}
	}
	build := func(n, endpoints int) []rules.Balancer {
		slice := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: new(int32)}}}
		*slice.Ports[0].Port = 8080
		node := "w1"
		for e := range endpoints {
			slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.1.%d", e)}, NodeName: &node})
		}
		return rules.Build(rules.Node{Name: "w1"}, corev1.IPv4Protocol, made(n), []*discoveryv1.EndpointSlice{slice})
	}
	all := func(p *program) iptables.Chains {
		out := iptables.Chains{}
		for c, r := range p.fixed {
			out[c] = r
		}
		for c, r := range p.own {
			out[c] = r
		}
		for _, tr := range p.trees {
			for name := range tr.branches {
				out[iptables.Chain{Table: tr.table, Name: name}] = tr.chain(name)
			}
		}
		return out
	}
	key := func(n int) types.NamespacedName { return types.NamespacedName{Name: strconv.Itoa(n)} }
	pods := []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16")}

	long := newProgram(families[0], pods, true)
	kernel := iptables.Chains{}
	step := func(n, endpoints int) {
		var list []rules.Balancer
		if endpoints >= 0 {
			list = build(n, endpoints)
		}
		long.set(key(n), list)
		for c, r := range long.changes() {
			if delete(kernel, c); r != nil {
				kernel[c] = r
			}
		}
	}
	for n := range 30 {
		step(n, n%4)
	}
	for n := range 30 {
		step(n, (n+1)%3)
	}
	for n := range 25 {
		step(n, -1)
	}
	short := newProgram(families[0], pods, true)
	for n := 25; n < 30; n++ {
		short.set(key(n), build(n, (n+1)%3))
	}
	if diff := cmp.Diff(all(short), kernel); diff != "" {
		t.Errorf("chains told at once (-) and after many changes (+):\n%s", diff)
	}
}

package netpolicy

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// The file testdata/chains shows the rules and sets that a node with two Pods of the namespace shop has for some policies.
func TestChains(t *testing.T) {
	own := []rules.Pod{
		{Namespace: "shop", Name: "web", Labels: map[string]string{"app": "web"}, IPs: []netip.Addr{netip.MustParseAddr("10.42.1.2"), netip.MustParseAddr("fd42::2")}},
		{Namespace: "shop", Name: "db", Labels: map[string]string{"app": "db"}, IPs: []netip.Addr{netip.MustParseAddr("10.42.1.3"), netip.MustParseAddr("fd42::3")}},
	}
	dns := []netip.Addr{netip.MustParseAddr("10.43.0.10"), netip.MustParseAddr("fd43::10")}
	datadriven.RunTest(t, "testdata/chains", func(t *testing.T, d *datadriven.TestData) string {
		var policies []*networkingv1.NetworkPolicy
		for doc := range strings.SplitSeq(d.Input, "---\n") {
			if strings.TrimSpace(doc) == "" {
				continue
			}
			p := &networkingv1.NetworkPolicy{}
			if err := yaml.UnmarshalStrict([]byte(doc), p); err != nil {
				t.Fatalf("%s: %v", d.Pos, err)
			}
			policies = append(policies, p)
		}
		f := families[0]
		if d.HasArg("ipv6") {
			f = families[1]
		}
		members := rules.NewMembers()
		for _, p := range own {
			members.Put(p.Name, &p)
		}
		g := rules.Build(own, policies)
		members.Want(g.Peers)
		chains, sets := f.program(g, dns)
		var b strings.Builder
		b.WriteString(iptables.Delta(nil, chains))
		k := kernel{kernelSets: kernelSets{family: f}}
		for _, name := range slices.Sorted(maps.Keys(sets)) {
			var list []string
			for m := range k.wanted(sets[name], members.Of) {
				s := m.Prefix.String()
				if m.Port != 0 {
					s += fmt.Sprintf(",%s:%d", m.Protocol, m.Port)
				}
				list = append(list, s)
			}
			slices.Sort(list)
			fmt.Fprintf(&b, "%s %s: %s\n", name, sets[name].kind, strings.Join(list, " "))
		}
		return b.String()
	})
}

func TestNamesOfChainsAndSetsFit(t *testing.T) {
	for _, f := range families {
		chains, sets := f.program(rules.Guards{
			List: []rules.Guard{{
				Direction: rules.Egress, Rules: []rules.Rule{{Peers: "x"}},
				Pods: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fd00::1")},
			}},
			Peers: map[string]rules.Peers{"x": {}},
		}, nil)
		for c := range chains {
			if len(c.Name) > iptables.MaxChainName {
				t.Errorf("chain %s is longer than %d", c.Name, iptables.MaxChainName)
			}
		}
		const longest = 31 // IPSET_MAXNAMELEN of the kernel's ip_set.h, less the closing NUL
		for name := range sets {
			if len(name) > longest {
				t.Errorf("set %s is longer than %d", name, longest)
			}
		}
	}
}

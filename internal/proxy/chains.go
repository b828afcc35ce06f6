package proxy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/proxy/rules"
)

// chainPrefix starts the name of every chain of this package.
const chainPrefix = "GITOPSD-P-"

// Chains that are always there.
const (
	servicesChain   = chainPrefix + "SERVICES"
	addressesChain  = chainPrefix + "ADDRESSES"
	nodePortsChain  = chainPrefix + "NODEPORTS"
	foreignChain    = chainPrefix + "FOREIGN"
	masqueradeChain = chainPrefix + "MASQUERADE"
	markedChain     = chainPrefix + "MARKED"
	hairpinChain    = chainPrefix + "HAIRPIN"
)

// mark is the bit of a packet's mark that has it masqueraded on its way out. It stays clear of the bits that Kubernetes' own proxy
// (0x4000, 0x8000) and common network plugins use.
const mark = "0x2000/0x2000"

const setMark = "-j MARK --set-xmark " + mark

// family is what differs between the rules of IPv4 and IPv6.
type family struct {
	iptables.Family
	name     corev1.IPFamily
	loopback netip.Prefix
	reject   string
	// mask of "recent" that makes each client address count for itself, as iptables-save prints it.
	mask string
}

var families = []family{
	{iptables.IPv4, corev1.IPv4Protocol, netip.MustParsePrefix("127.0.0.0/8"), "icmp-port-unreachable", "255.255.255.255"},
	{iptables.IPv6, corev1.IPv6Protocol, netip.MustParsePrefix("::1/128"), "icmp6-port-unreachable", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
}

// has says whether an address is of this family.
func (f family) has(a netip.Addr) bool { return a.Is4() == f.loopback.Addr().Is4() }

// jumps lead the kernel's packets into the chains. A NodePort of the loopback address is for the node's own processes, so packets from
// elsewhere that name it are not translated.
func (f family) jumps() []iptables.Jump {
	at := func(t iptables.Table, chain, rule string) iptables.Jump {
		return iptables.Jump{From: iptables.Chain{Table: t, Name: chain}, Rule: rule}
	}
	const isNew = "-m conntrack --ctstate NEW -j " + servicesChain
	return []iptables.Jump{
		at(iptables.NAT, "PREROUTING", "! -d "+f.loopback.String()+" -j "+servicesChain),
		at(iptables.NAT, "OUTPUT", "-j "+servicesChain),
		at(iptables.NAT, "POSTROUTING", "-j "+masqueradeChain),
		at(iptables.Filter, "INPUT", isNew),
		at(iptables.Filter, "FORWARD", isNew),
		at(iptables.Filter, "OUTPUT", isNew),
	}
}

// program is the chains of one family for a set of Services, kept in step with it: each change of a Service names the chains that
// change with it. It touches no kernel.
type program struct {
	family
	// pods match the clients whose way back leads through this cluster: one "-s <range>" for each range of Pods.
	pods       []string
	masquerade string

	services map[types.NamespacedName][]rules.Balancer
	trees    map[iptables.Chain]*tree // by their root
	// own are the chains of single Service ports.
	own   map[iptables.Chain][]string
	fixed iptables.Chains
	dirty map[iptables.Chain]bool
}

// newProgram makes the program without any Service. cluster are the ranges of all Pods, of both families.
func newProgram(f family, cluster []netip.Prefix, randomFully bool) *program {
	p := &program{
		family:     f,
		masquerade: "-j MASQUERADE",
		services:   map[types.NamespacedName][]rules.Balancer{},
		own:        map[iptables.Chain][]string{},
		dirty:      map[iptables.Chain]bool{},
		trees:      map[iptables.Chain]*tree{},
	}
	if randomFully {
		p.masquerade += " --random-fully"
	}
	nat := func(name string) iptables.Chain { return iptables.Chain{Table: iptables.NAT, Name: name} }
	filter := func(name string) iptables.Chain { return iptables.Chain{Table: iptables.Filter, Name: name} }
	for _, c := range []iptables.Chain{nat(addressesChain), nat(nodePortsChain), nat(hairpinChain), filter(addressesChain), filter(nodePortsChain)} {
		p.trees[c] = newTree(c.Table, c.Name)
		p.dirty[c] = true
	}
	// A client from outside the cluster may have another way back than through this node, on which nobody knows of the translation.
	foreign := []string{}
	for _, c := range cluster {
		if f.has(c.Addr()) {
			p.pods = append(p.pods, "-s "+c.String())
			foreign = append(foreign, "-s "+c.String()+" -j RETURN")
		}
	}
	dispatch := []string{"-j " + addressesChain, "-m addrtype --dst-type LOCAL -j " + nodePortsChain}
	p.fixed = iptables.Chains{
		nat(servicesChain):    dispatch,
		filter(servicesChain): dispatch,
		nat(foreignChain):     append(foreign, setMark),
		nat(masqueradeChain): {
			"-m mark --mark " + mark + " -j " + markedChain,
			"-m conntrack --ctstate DNAT -j " + hairpinChain,
		},
		// The mark goes, lest a packet that is sent on through a tunnel is masqueraded a second time.
		nat(markedChain): {"-j MARK --set-xmark 0x0/0x2000", p.masquerade},
	}
	for c := range p.fixed {
		p.dirty[c] = true
	}
	return p
}

// set replaces the Balancers of one Service; none removes it.
func (p *program) set(service types.NamespacedName, list []rules.Balancer) {
	old := p.services[service]
	if slices.EqualFunc(old, list, func(a, b rules.Balancer) bool { return reflect.DeepEqual(a, b) }) {
		return
	}
	for _, b := range old {
		p.each(b, p.removeRule)
		for name := range p.chainsOf(b) {
			delete(p.own, name)
			p.dirty[name] = true
		}
	}
	for _, b := range list {
		p.each(b, p.putRule)
		for name, rules := range p.chainsOf(b) {
			p.own[name] = rules
			p.dirty[name] = true
		}
	}
	if p.services[service] = list; len(list) == 0 {
		delete(p.services, service)
	}
}

// changes returns the chains that differ since the last call, those that are gone with nil rules.
func (p *program) changes() iptables.Chains {
	out := make(iptables.Chains, len(p.dirty))
	for c := range p.dirty {
		out[c] = p.chain(c)
	}
	clear(p.dirty)
	return out
}

func (p *program) chain(c iptables.Chain) []string {
	if r, ok := p.fixed[c]; ok {
		return r
	}
	if r, ok := p.own[c]; ok {
		return r
	}
	for _, t := range p.trees {
		if t.table == c.Table {
			if r := t.chain(c.Name); r != nil {
				return r
			}
		}
	}
	return nil
}

func (p *program) putRule(root iptables.Chain, way []step, k ruleKey) {
	p.trees[root].put(way, k, p.dirty)
}
func (p *program) removeRule(root iptables.Chain, way []step, k ruleKey) {
	p.trees[root].remove(way, k, p.dirty)
}

// each calls do for every rule of b that hangs in a tree.
func (p *program) each(b rules.Balancer, do func(root iptables.Chain, way []step, k ruleKey)) {
	proto := strings.ToLower(string(b.Name.Protocol))
	for _, f := range b.Frontends {
		var way []step
		var match, order string
		root := addressesChain
		if f.Kind == rules.NodePort {
			root = nodePortsChain
			way = portWay(proto, f.Port)
			order = fmt.Sprintf("%05d", f.Port)
		} else {
			way = addrWay(f.Addr)
			match = fmt.Sprintf("-d %s/%d ", f.Addr, f.Addr.BitLen())
			order = string(f.Addr.AsSlice()) + fmt.Sprintf("%05d", f.Port)
		}
		match += fmt.Sprintf("-p %s -m comment --comment %s -m %s --dport %d", proto, iptables.Quote(b.Name.String()), proto, f.Port)
		if to := target(b, f); to != "" {
			for _, from := range sources(f) {
				do(iptables.Chain{Table: iptables.NAT, Name: root}, way, ruleKey{order, from + match + " -j " + to})
			}
		}
		if verdict := p.verdict(b, f); verdict != "" {
			do(iptables.Chain{Table: iptables.Filter, Name: root}, way, ruleKey{order, match + " " + verdict})
		}
	}
	// A Pod that is sent to itself would answer itself directly, past the translation, unless it sees the node as its client.
	for _, e := range slices.Concat(b.Cluster, b.Local) {
		if e.Here {
			ip := netip.PrefixFrom(e.Addr.Addr(), e.Addr.Addr().BitLen())
			do(iptables.Chain{Table: iptables.NAT, Name: hairpinChain}, nil,
				ruleKey{string(ip.Addr().AsSlice()), fmt.Sprintf("-s %s -d %s %s", ip, ip, p.masquerade)})
		}
	}
}

func sources(f rules.Frontend) []string {
	if len(f.Sources) == 0 {
		return []string{""}
	}
	var out []string
	for _, s := range f.Sources {
		out = append(out, fmt.Sprintf("-s %s ", s))
	}
	return out
}

// target is the chain that a frontend leads to; none when nobody answers there.
func target(b rules.Balancer, f rules.Frontend) string {
	switch {
	case f.Kind == rules.ClusterIP && f.Policy == rules.Local:
		if len(b.Local) == 0 {
			return ""
		}
		return chainName('L', b.Name)
	case len(b.Cluster) == 0:
		return ""
	case f.Kind == rules.ClusterIP:
		return chainName('S', b.Name)
	}
	return chainName('X', b.Name)
}

// verdict says what happens to connections that were not translated. Where no endpoint exists at all the client is told at once;
// where there are some, but none that this node may use, it hears nothing, so that it or its load balancer tries another node.
func (p *program) verdict(b rules.Balancer, f rules.Frontend) string {
	switch {
	case len(b.Cluster) == 0:
		return "-j REJECT --reject-with " + p.reject
	case f.Policy == rules.Local && len(b.Local) == 0, len(f.Sources) > 0:
		return "-j DROP"
	}
	return ""
}

// chainName names the chain of a Service port: a hash, as chain names are short and Service names are not.
func chainName(kind byte, n rules.PortName) string {
	return chainPrefix + string(kind) + "-" + shortHash(n.String()+"/"+string(n.Protocol))
}

// shortHash is 80 bits of SHA-256 in 16 letters and digits.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base32.StdEncoding.EncodeToString(sum[:10])
}

// chainsOf are a Service port's own chains.
func (p *program) chainsOf(b rules.Balancer) iptables.Chains {
	out := iptables.Chains{}
	put := func(kind byte, rules []string) {
		out[iptables.Chain{Table: iptables.NAT, Name: chainName(kind, b.Name)}] = rules
	}
	uses := func(kind byte) bool {
		return slices.ContainsFunc(b.Frontends, func(f rules.Frontend) bool { return target(b, f) == chainName(kind, b.Name) })
	}
	external := uses('X')
	if external {
		put('X', p.externalRules(b))
	}
	if uses('S') || external {
		put('S', append([]string{"-j " + foreignChain}, p.balance(b, b.Cluster)...))
	}
	if uses('L') || external && policyOutside(b) == rules.Local && len(b.Local) > 0 {
		put('L', p.balance(b, b.Local))
	}
	return out
}

// policyOutside is the policy of b's frontends for clients from outside; all of them have the same.
func policyOutside(b rules.Balancer) rules.Policy {
	for _, f := range b.Frontends {
		if f.Kind != rules.ClusterIP {
			return f.Policy
		}
	}
	return rules.Cluster
}

// externalRules are those of X-<port>. With policy Local a client keeps its address, and so may only meet endpoints of this node; Pods
// and the node itself, for which that is not asked, still reach all endpoints.
func (p *program) externalRules(b rules.Balancer) []string {
	all, local := " -j "+chainName('S', b.Name), "-j "+chainName('L', b.Name)
	if policyOutside(b) == rules.Cluster {
		return []string{setMark, strings.TrimSpace(all)}
	}
	var out []string
	for _, from := range p.pods {
		out = append(out, from+all)
	}
	out = append(out, "-m addrtype --src-type LOCAL "+setMark, "-m addrtype --src-type LOCAL"+all)
	if len(b.Local) > 0 {
		out = append(out, local)
	}
	return out
}

// balance spreads new connections evenly: the first of n endpoints is taken with probability 1/n, the second, if the first was not,
// with 1/(n-1), and so on; the last one takes what is left.
func (p *program) balance(b rules.Balancer, endpoints []rules.Endpoint) []string {
	proto := strings.ToLower(string(b.Name.Protocol))
	var known, fresh []string
	for i, e := range endpoints {
		odds, remember := "", ""
		if left := len(endpoints) - i; left > 1 {
			odds = " -m statistic --mode random --probability " + probability(left)
		}
		dnat := " -j DNAT --to-destination " + e.Addr.String()
		if b.Affinity > 0 {
			list := fmt.Sprintf(" --name %s --mask %s --rsource", recentList(b.Name, e), p.mask)
			known = append(known, fmt.Sprintf("-p %s -m recent --update --seconds %d --reap%s%s", proto, int(b.Affinity.Seconds()), list, dnat))
			remember = " -m recent --set" + list
		}
		fresh = append(fresh, "-p "+proto+odds+remember+dnat)
	}
	return append(known, fresh...)
}

// recentList names the list of clients that an endpoint has, one per Service port and endpoint.
func recentList(n rules.PortName, e rules.Endpoint) string {
	return chainPrefix + shortHash(n.String()+"/"+string(n.Protocol)+"/"+e.Addr.String())
}

// probability is 1/n as iptables-save prints it: the kernel compares 31 random bits with a whole number.
func probability(n int) string {
	const one = 1 << 31
	return fmt.Sprintf("%.11f", float64((one+n/2)/n)/one)
}

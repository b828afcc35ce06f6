package netpolicy

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// chainPrefix starts the name of every chain of this package.
const chainPrefix = "GITOPSD-G-"

var (
	forwardChain = mangle("FORWARD")
	ingressChain = mangle("INGRESS")
	inputChain   = mangle("INPUT")
)

func mangle(name string) iptables.Chain {
	return iptables.Chain{Table: iptables.Mangle, Name: chainPrefix + name}
}

// family is what differs between the rules of IPv4 and IPv6.
type family struct {
	iptables.Family
	// setPrefix starts the name of every set: a set has one family.
	setPrefix string
	inet      uint8
	// itself is a program of the classic packet filter that matches packets of which source and destination are one address.
	itself string
}

// The programs compare the words of the two addresses, at 12 and 16 in the header of IPv4 and at 8 and 24 in that of IPv6: load the one,
// keep it in X, load the other, and give up (return 0) unless they are equal. See linux/filter.h for the codes.
var families = []family{
	{iptables.IPv4, "GITOPSD-G4-", unix.AF_INET, sameAddress(12, 16, 1)},
	{iptables.IPv6, "GITOPSD-G6-", unix.AF_INET6, sameAddress(8, 24, 4)},
}

func sameAddress(source, destination, words int) string {
	n := 4*words + 2
	list := []string{fmt.Sprint(n)}
	for i := range words {
		fail := n - 1 - (4*i + 3) - 1 // how far it is from the comparison to the last instruction
		list = append(list,
			fmt.Sprintf("32 0 0 %d", source+4*i),      // ld [source]
			"7 0 0 0",                                 // tax
			fmt.Sprintf("32 0 0 %d", destination+4*i), // ld [destination]
			fmt.Sprintf("29 0 %d 0", fail),            // jeq x
		)
	}
	return strings.Join(append(list, "6 0 0 65535", "6 0 0 0"), ",")
}

// has says whether an address is of this family.
func (f family) has(a netip.Addr) bool { return a.Is4() == (f.Family == iptables.IPv4) }

func (f family) jumps() []iptables.Jump {
	return []iptables.Jump{
		{From: iptables.Chain{Table: iptables.Mangle, Name: "FORWARD"}, Rule: "-j " + forwardChain.Name},
		{From: iptables.Chain{Table: iptables.Mangle, Name: "INPUT"}, Rule: "-j " + inputChain.Name},
	}
}

// set says what a set holds: addresses of a Guard's Pods, or Peers.
type set struct {
	kind string
	// peers are the Peers whose Members it has; empty: pods are what it has.
	peers string
	pods  []netip.Addr
}

// The kernel's types of sets.
const (
	ranges     = "hash:net"
	rangesPort = "hash:net,port"
)

// program is what the kernel of a node is to hold in one family. dns are the addresses at which the node answers DNS questions.
func (f family) program(g rules.Guards, dns []netip.Addr) (iptables.Chains, map[string]set) {
	forward, ingress, input := []string{}, []string{}, []string{}
	chains, sets := iptables.Chains{}, map[string]set{}
	for _, guard := range g.List {
		pods := slices.DeleteFunc(slices.Clone(guard.Pods), func(a netip.Addr) bool { return !f.has(a) })
		if len(pods) == 0 {
			continue
		}
		id := guardID(guard)
		sets[f.setPrefix+id] = set{kind: ranges, pods: pods}
		side, allow := "dst", "-j RETURN"
		if guard.Direction == rules.Egress {
			side, allow = "src", "-g "+ingressChain.Name
		}
		chains[mangle(id)] = append(f.allow(guard, g.Peers, allow, sets), "-j DROP")
		dispatch := fmt.Sprintf("-m set --match-set %s %s -g %s", f.setPrefix+id, side, chainPrefix+id)
		if guard.Direction == rules.Egress {
			forward = append(forward, dispatch)
		} else {
			ingress = append(ingress, dispatch)
		}
	}
	if len(sets) > 0 {
		forward = slices.Concat([]string{
			"-m conntrack --ctstate RELATED,ESTABLISHED -j RETURN",
			// Only by way of a Service does what a Pod sends to itself come by here.
			`-m conntrack --ctstate DNAT -m bpf --bytecode "` + f.itself + `" -j RETURN`,
		}, forward, []string{"-j " + ingressChain.Name})
		for _, a := range dns {
			if f.has(a) {
				input = append(input, "-d "+netip.PrefixFrom(a, a.BitLen()).String()+" -j "+forwardChain.Name)
			}
		}
	}
	chains[forwardChain], chains[ingressChain], chains[inputChain] = forward, ingress, input
	return chains, sets
}

// allow are the rules of a Guard's chain, each of which ends in target.
func (f family) allow(guard rules.Guard, peers map[string]rules.Peers, target string, sets map[string]set) []string {
	other := "src"
	if guard.Direction == rules.Egress {
		other = "dst"
	}
	var out []string
	for _, r := range guard.Rules {
		var b strings.Builder
		if r.Protocol != "" {
			fmt.Fprintf(&b, "-p %s ", strings.ToLower(string(r.Protocol)))
		}
		if r.Peers != "" {
			name, flags, kind := f.setPrefix+"P-"+shortHash(r.Peers), other, ranges
			if peers[r.Peers].Port != "" {
				flags, kind = other+","+other, rangesPort
			}
			sets[name] = set{kind: kind, peers: r.Peers}
			fmt.Fprintf(&b, "-m set --match-set %s %s ", name, flags)
		}
		if r.Last > 0 {
			ports := fmt.Sprint(r.First)
			if r.Last > r.First {
				ports = fmt.Sprintf("%d:%d", r.First, r.Last)
			}
			fmt.Fprintf(&b, "-m %s --dport %s ", strings.ToLower(string(r.Protocol)), ports)
		}
		fmt.Fprintf(&b, "-m comment --comment %s %s", iptables.Quote(r.Policy), target)
		out = append(out, b.String())
	}
	return out
}

// guardID names the chain and the set of a Guard, after its rules: they stay when Pods come and go.
func guardID(g rules.Guard) string {
	kind := "I-"
	if g.Direction == rules.Egress {
		kind = "E-"
	}
	return kind + shortHash(fmt.Sprint(g.Rules))
}

// shortHash is 80 bits of SHA-256 in 16 letters and digits: names of chains and sets are short, and descriptions of rules are not.
func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return base32.StdEncoding.EncodeToString(sum[:10])
}

package proxy

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"

	"github.com/gitopsd/gitopsd/internal/iptables"
)

// tree is a chain that branches: instead of one long list of rules, each inner chain narrows the packet down to part of the addresses or
// ports, and the rules proper are in its leaves. Branches come and go with the rules under them.
type tree struct {
	table    iptables.Table
	root     string
	branches map[string]*branch
}

// branch is one chain of a tree.
type branch struct {
	// rules by sort key. The same rule may be put more than once, as by two Services with a common endpoint; it goes with the last one.
	rules map[ruleKey]int
}

type ruleKey struct{ order, rule string }

// step is one level of the way from the root to a rule: the next chain, and the match that leads into it.
type step struct{ chain, order, match string }

func newTree(table iptables.Table, root string) *tree {
	return &tree{table: table, root: root, branches: map[string]*branch{root: {rules: map[ruleKey]int{}}}}
}

// put adds a rule at the end of a way, and the names of the chains that this changes to dirty.
func (t *tree) put(way []step, k ruleKey, dirty map[iptables.Chain]bool) {
	at := t.root
	for _, s := range way {
		if t.branches[s.chain] == nil {
			t.branches[s.chain] = &branch{rules: map[ruleKey]int{}}
			t.branches[at].rules[s.key()] = 1
			dirty[iptables.Chain{Table: t.table, Name: at}] = true
		}
		at = s.chain
	}
	b := t.branches[at]
	if b.rules[k]++; b.rules[k] == 1 {
		dirty[iptables.Chain{Table: t.table, Name: at}] = true
	}
}

// remove takes one rule away that was put, and the branches that become empty.
func (t *tree) remove(way []step, k ruleKey, dirty map[iptables.Chain]bool) {
	for i := len(way); i >= 0; i-- {
		at := t.root
		if i > 0 {
			at = way[i-1].chain
		}
		b := t.branches[at]
		if b.rules[k]--; b.rules[k] > 0 {
			return
		}
		delete(b.rules, k)
		dirty[iptables.Chain{Table: t.table, Name: at}] = true
		if len(b.rules) > 0 || i == 0 {
			return
		}
		delete(t.branches, at)
		k = way[i-1].key()
	}
}

// chain is the rules of one chain in order; nil when the chain is no longer there.
func (t *tree) chain(name string) []string {
	b := t.branches[name]
	if b == nil {
		return nil
	}
	keys := slices.SortedFunc(maps.Keys(b.rules), func(a, b ruleKey) int {
		if a.order != b.order {
			if a.order < b.order {
				return -1
			}
			return 1
		}
		if a.rule < b.rule {
			return -1
		}
		return 1
	})
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = k.rule
	}
	return out
}

func (s step) key() ruleKey { return ruleKey{order: s.order, rule: s.match + " -j " + s.chain} }

// addrWay leads to an address by the /20 and the /24 that it is in (of IPv6 the /116 and /120). A Service range of 65,536 addresses
// thus costs a packet at most 16 + 16 rules before those of the addresses that share its /24.
func addrWay(a netip.Addr) []step {
	var way []step
	for _, host := range []int{12, 8} {
		p, err := a.Prefix(a.BitLen() - host)
		if err != nil {
			panic(err) // the lengths are constants that both families allow
		}
		name := fmt.Sprintf("%s%s-%d", chainPrefix, p.Addr(), p.Bits())
		if a.Is6() {
			h := fnv.New64a()
			h.Write([]byte(p.String()))
			name = fmt.Sprintf("%sV-%d-%012x", chainPrefix, p.Bits(), h.Sum64()&0xffffffffffff)
		}
		way = append(way, step{chain: name, order: string(p.Addr().AsSlice()), match: "-d " + p.String()})
	}
	return way
}

// portsPerLeaf makes two levels of about equal length out of the 2,768 NodePorts.
const portsPerLeaf = 64

// portWay leads to a NodePort by the block of 64 ports that it is in.
func portWay(proto string, port uint16) []step {
	first := port / portsPerLeaf * portsPerLeaf
	return []step{{
		chain: fmt.Sprintf("%sPORT-%s-%d", chainPrefix, proto, first),
		order: fmt.Sprintf("%05d", first) + proto,
		match: fmt.Sprintf("-p %s -m %s --dport %d:%d", proto, proto, first, first+portsPerLeaf-1),
	}}
}

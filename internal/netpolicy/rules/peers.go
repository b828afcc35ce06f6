package rules

import (
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Peers are who a rule is about: Pods, by what they are labelled, and addresses.
type Peers struct {
	Pods []Selection
	// Blocks are address ranges, without the parts that a policy excepts.
	Blocks []netip.Prefix
	// Port, unless empty, limits the Pods to that port of theirs; Blocks have no names for ports and do not count then.
	Port     string
	Protocol corev1.Protocol
	// blocks is what the policy wrote.
	blocks []string
}

// Selection is Pods of one or several namespaces.
type Selection struct {
	// Namespace is the only one, unless Namespaces is set.
	Namespace  string
	Namespaces labels.Selector
	Pods       labels.Selector
}

func (s Selection) String() string {
	pods, namespaces := "all Pods", "namespace "+s.Namespace
	if !s.Pods.Empty() {
		pods = "Pods " + s.Pods.String()
	}
	if s.Namespaces != nil {
		if namespaces = "all namespaces"; !s.Namespaces.Empty() {
			namespaces = "namespaces " + s.Namespaces.String()
		}
	}
	return pods + " of " + namespaces
}

// in tells whether the Selection takes Pods of a namespace with these labels.
func (s Selection) in(namespace string, set labels.Set) bool {
	if s.Namespaces == nil {
		return s.Namespace == namespace
	}
	return s.Namespaces.Matches(set)
}

// peers reads the list of a rule; nil is anybody.
func peers(namespace string, list []networkingv1.NetworkPolicyPeer) *Peers {
	if len(list) == 0 {
		return nil
	}
	p := &Peers{}
	for _, peer := range list {
		if b := peer.IPBlock; b != nil {
			p.Blocks = append(p.Blocks, block(b)...)
			text := b.CIDR
			if len(b.Except) > 0 {
				text += " except " + strings.Join(b.Except, " ")
			}
			p.blocks = append(p.blocks, text)
			continue
		}
		s := Selection{Namespace: namespace, Pods: labels.Everything()}
		if peer.NamespaceSelector != nil {
			s.Namespace, s.Namespaces = "", selector(peer.NamespaceSelector)
		}
		if peer.PodSelector != nil {
			s.Pods = selector(peer.PodSelector)
		}
		p.Pods = append(p.Pods, s)
	}
	return p
}

// at is the Peers limited to a port that is given by name. For anybody these are all Pods: nothing else has names for ports.
func (p *Peers) at(port string, protocol corev1.Protocol) *Peers {
	limited := Peers{Pods: []Selection{{Namespaces: labels.Everything(), Pods: labels.Everything()}}}
	if p != nil {
		limited.Pods = p.Pods
	}
	limited.Port, limited.Protocol = port, protocol
	return &limited
}

// Nobody tells that no Pod and no address can ever be among the Peers.
func (p Peers) Nobody() bool { return len(p.Pods) == 0 && len(p.Blocks) == 0 }

// String tells the Peers from all others.
func (p Peers) String() string {
	var parts []string
	for _, s := range p.Pods {
		parts = append(parts, s.String())
	}
	parts = append(parts, p.blocks...)
	slices.Sort(parts)
	text := strings.Join(slices.Compact(parts), ", ")
	if p.Port != "" {
		text = string(p.Protocol) + " port " + p.Port + " of " + text
	}
	return text
}

// block is an ipBlock as ranges that have nothing excepted.
func block(b *networkingv1.IPBlock) []netip.Prefix {
	cidr, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return nil // refused by the API server
	}
	left := []netip.Prefix{cidr.Masked()}
	for _, text := range b.Except {
		except, err := netip.ParsePrefix(text)
		if err != nil {
			// An exception that is not understood must not let anybody in.
			return nil
		}
		var next []netip.Prefix
		for _, p := range left {
			next = append(next, without(p, except.Masked())...)
		}
		left = next
	}
	return left
}

// without is p without the part that is in except.
func without(p, except netip.Prefix) []netip.Prefix {
	switch {
	case !p.Overlaps(except):
		return []netip.Prefix{p}
	case except.Bits() <= p.Bits():
		return nil
	}
	low, high := halves(p)
	return append(without(low, except), without(high, except)...)
}

// halves splits a range that is larger than one address.
func halves(p netip.Prefix) (low, high netip.Prefix) {
	b := p.Addr().AsSlice()
	b[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	upper, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(p.Addr(), p.Bits()+1), netip.PrefixFrom(upper, p.Bits()+1)
}

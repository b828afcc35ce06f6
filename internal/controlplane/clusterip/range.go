package clusterip

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// DefaultName is the ServiceCIDR that the cluster was made with.
	DefaultName = "kubernetes"
	// Finalizer keeps a ServiceCIDR as long as addresses of it are in use that no other has.
	Finalizer = "networking.k8s.io/service-cidr-finalizer"
)

// Range is where cluster IPs of one family come from.
type Range struct {
	// Name is the ServiceCIDR's.
	Name   string
	Prefix netip.Prefix
}

// Hosts is how many addresses a prefix has for Services, numbered from 1: neither the first, nor, with IPv4, the last. Of a very large one only the first 2⁶⁰ are given out.
func Hosts(p netip.Prefix) uint64 {
	bits := min(p.Addr().BitLen()-p.Bits(), 60)
	spare := uint64(1)
	if p.Addr().Is4() {
		spare = 2
	}
	if size := uint64(1) << bits; size > spare {
		return size - spare
	}
	return 0
}

// At is the n-th address of a prefix; the first is number 0.
func At(p netip.Prefix, n uint64) netip.Addr {
	b := p.Masked().Addr().As16()
	low := binary.BigEndian.Uint64(b[8:])
	sum := low + n
	binary.BigEndian.PutUint64(b[8:], sum)
	if sum < low {
		binary.BigEndian.PutUint64(b[:8], binary.BigEndian.Uint64(b[:8])+1)
	}
	a := netip.AddrFrom16(b)
	if p.Addr().Is4() {
		a = a.Unmap()
	}
	return a
}

// Has tells whether an address of a prefix may be a Service's.
func Has(p netip.Prefix, ip netip.Addr) bool {
	if !p.Contains(ip) || ip == p.Masked().Addr() {
		return false
	}
	return !ip.Is4() || ip != At(p, 1<<(32-p.Bits())-1)
}

// Family is an address' family.
func Family(ip netip.Addr) corev1.IPFamily {
	if ip.Unmap().Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// Prefixes are the ranges of a ServiceCIDR.
func Prefixes(c *networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range c.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil { // validated
			out = append(out, p.Masked())
		}
	}
	return out
}

// Usable tells whether addresses of a ServiceCIDR may be given out: it is ready, and stays.
func Usable(c *networkingv1.ServiceCIDR) bool {
	return c.DeletionTimestamp == nil && meta.IsStatusConditionTrue(c.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
}

// Ranges are those of a family of which addresses may be given out: the cluster's own first, then the oldest.
func Ranges(all []networkingv1.ServiceCIDR, family corev1.IPFamily) []Range {
	usable := slices.DeleteFunc(slices.Clone(all), func(c networkingv1.ServiceCIDR) bool { return !Usable(&c) })
	slices.SortFunc(usable, func(a, b networkingv1.ServiceCIDR) int {
		switch {
		case a.Name == DefaultName:
			return -1
		case b.Name == DefaultName:
			return 1
		case !a.CreationTimestamp.Equal(&b.CreationTimestamp):
			return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
		}
		return strings.Compare(a.Name, b.Name)
	})
	var out []Range
	for i := range usable {
		for _, p := range Prefixes(&usable[i]) {
			if Family(p.Addr()) == family {
				out = append(out, Range{usable[i].Name, p})
			}
		}
	}
	return out
}

// Default is the ServiceCIDR of the ranges that the cluster is made with.
func Default(prefixes []netip.Prefix) *networkingv1.ServiceCIDR {
	c := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: DefaultName, Finalizers: []string{Finalizer}}}
	for _, p := range prefixes {
		c.Spec.CIDRs = append(c.Spec.CIDRs, p.Masked().String())
	}
	return c
}

// Ready is the condition of a ServiceCIDR of which addresses may be given out.
func Ready() metav1.Condition {
	return metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Reason: "Allocatable", Message: "Services are given cluster IPs of it",
	}
}

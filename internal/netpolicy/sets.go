package netpolicy

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// maxElements bounds a set; the kernel's own default of 65,536 is less than the Pods of a large cluster.
const maxElements = 1 << 20

// members is what a set holds.
type members map[rules.Member]bool

// elements are a Member as a set can hold it: sets of ranges know none of length 0.
func elements(m rules.Member) []rules.Member {
	if m.Prefix.Bits() > 0 {
		return []rules.Member{m}
	}
	low, high := m, m
	low.Prefix = netip.PrefixFrom(m.Prefix.Addr(), 1)
	upper := m.Prefix.Addr().AsSlice()
	upper[0] = 0x80
	a, _ := netip.AddrFromSlice(upper)
	high.Prefix = netip.PrefixFrom(a, 1)
	return []rules.Member{low, high}
}

var protocols = map[corev1.Protocol]uint8{corev1.ProtocolTCP: unix.IPPROTO_TCP, corev1.ProtocolUDP: unix.IPPROTO_UDP, corev1.ProtocolSCTP: unix.IPPROTO_SCTP}

func entry(m rules.Member) *netlink.IPSetEntry {
	// Replace has an element that is there, or for a removal one that is not, be no error.
	e := &netlink.IPSetEntry{IP: m.Prefix.Addr().AsSlice(), CIDR: uint8(m.Prefix.Bits()), Replace: true}
	if m.Port != 0 {
		protocol := protocols[m.Protocol]
		e.Protocol, e.Port = &protocol, &m.Port
	}
	return e
}

// member reads an element back.
func member(e netlink.IPSetEntry) (rules.Member, bool) {
	a, ok := netip.AddrFromSlice(e.IP)
	if !ok {
		return rules.Member{}, false
	}
	bits := int(e.CIDR)
	if bits == 0 {
		bits = a.BitLen() // the kernel leaves out the length of a single address
	}
	m := rules.Member{Prefix: netip.PrefixFrom(a, bits)}
	if e.Port != nil && e.Protocol != nil {
		m.Port = *e.Port
		for name, number := range protocols {
			if number == *e.Protocol {
				m.Protocol = name
			}
		}
	}
	return m, true
}

// kernelSets are the sets of one family in the kernel.
type kernelSets struct {
	family
	link *netlink.Handle
}

// openSets works in the network namespace of the calling process.
func openSets(f family) (kernelSets, error) {
	link, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return kernelSets{}, fmt.Errorf("open netlink for sets of addresses: %w", err)
	}
	if _, _, err := link.IpsetProtocol(); err != nil {
		return kernelSets{}, fmt.Errorf("the kernel has no sets of addresses, without which NetworkPolicies cannot be enforced: load the module ip_set: %w", err)
	}
	return kernelSets{f, link}, nil
}

// list reads what there is.
func (k kernelSets) list() (map[string]members, error) {
	results, err := k.link.IpsetListAll()
	if err != nil {
		return nil, fmt.Errorf("list the kernel's sets: %w", err)
	}
	out := map[string]members{}
	for _, r := range results {
		if !strings.HasPrefix(r.SetName, k.setPrefix) {
			continue
		}
		if out[r.SetName] == nil {
			out[r.SetName] = members{} // a large set comes in several messages
		}
		for _, e := range r.Entries {
			if m, ok := member(e); ok {
				out[r.SetName][m] = true
			}
		}
	}
	return out, nil
}

func (k kernelSets) create(name, kind string) error {
	err := k.link.IpsetCreate(name, kind, netlink.IpsetCreateOptions{Family: k.inet, MaxElements: maxElements})
	if err != nil {
		return fmt.Errorf("make the set %s of type %s: %w", name, kind, err)
	}
	return nil
}

func (k kernelSets) add(name string, m rules.Member) error {
	for _, e := range elements(m) {
		if err := k.link.IpsetAdd(name, entry(e)); err != nil {
			return fmt.Errorf("add %s to the set %s: %w", e.Prefix, name, err)
		}
	}
	return nil
}

func (k kernelSets) remove(name string, m rules.Member) error {
	for _, e := range elements(m) {
		if err := k.link.IpsetDel(name, entry(e)); err != nil {
			return fmt.Errorf("remove %s from the set %s: %w", e.Prefix, name, err)
		}
	}
	return nil
}

// destroy deletes a set. The kernel frees what a rule had of it a moment after the rule is gone, so a set that is still in use is left for later.
func (k kernelSets) destroy(name string) (inUse bool, err error) {
	switch err := k.link.IpsetDestroy(name); {
	case err == nil:
		return false, nil
	case errors.Is(err, nl.IPSetError(nl.IPSET_ERR_BUSY)):
		return true, nil
	default:
		return false, fmt.Errorf("delete the set %s: %w", name, err)
	}
}

// cleanup deletes all of the family's sets; the rules that use them are gone.
func (k kernelSets) cleanup() error {
	have, err := k.list()
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if busy, e := k.destroy(name); busy {
			err = errors.Join(err, fmt.Errorf("delete the set %s: a rule that is not this node's uses it", name))
		} else {
			err = errors.Join(err, e)
		}
	}
	return err
}

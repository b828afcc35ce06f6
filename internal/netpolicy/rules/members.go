package rules

import (
	"maps"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Member is one range of addresses that Peers have, or one port of it.
type Member struct {
	Prefix   netip.Prefix
	Protocol corev1.Protocol
	Port     uint16
}

// Members keeps the addresses of Peers in step with Pods and Namespaces. A Pod that comes, changes or goes costs one look at each of the
// Peers, however many Pods there are.
type Members struct {
	namespaces map[string]labels.Set
	pods       map[string]Pod
	groups     map[string]*group
}

// group is the Members of one of the Peers.
type group struct {
	Peers
	// of counts, for each Member, the Pods and blocks that it comes from: an address may be that of a Pod which ends and of one that starts.
	of      map[Member]int
	touched map[Member]bool
}

// NewMembers has nobody in it.
func NewMembers() *Members {
	return &Members{namespaces: map[string]labels.Set{}, pods: map[string]Pod{}, groups: map[string]*group{}}
}

// Want replaces the Peers whose Members are kept.
func (m *Members) Want(peers map[string]Peers) {
	maps.DeleteFunc(m.groups, func(key string, _ *group) bool { _, ok := peers[key]; return !ok })
	for key, p := range peers {
		if m.groups[key] != nil {
			continue
		}
		g := &group{Peers: p, of: map[Member]int{}, touched: map[Member]bool{}}
		m.groups[key] = g
		if p.Port == "" {
			for _, b := range p.Blocks {
				g.count(Member{Prefix: b}, 1)
			}
		}
		for _, pod := range m.pods {
			g.add(pod, m.namespaces, 1)
		}
	}
}

// PutNamespace notes the labels of a Namespace; nil when it is gone.
func (m *Members) PutNamespace(name string, set labels.Set) {
	old, known := m.namespaces[name]
	if known && set != nil && maps.Equal(old, set) {
		return
	}
	m.each(name, -1)
	if m.namespaces[name] = set; set == nil {
		delete(m.namespaces, name)
	}
	m.each(name, 1)
}

// each counts the Pods of a namespace.
func (m *Members) each(namespace string, n int) {
	for _, pod := range m.pods {
		if pod.Namespace == namespace {
			for _, g := range m.groups {
				g.add(pod, m.namespaces, n)
			}
		}
	}
}

// Put notes a Pod under a key of the caller's, such as its UID; nil when it is gone.
func (m *Members) Put(key string, pod *Pod) {
	old, known := m.pods[key]
	if known {
		for _, g := range m.groups {
			g.add(old, m.namespaces, -1)
		}
		delete(m.pods, key)
	}
	if pod == nil {
		return
	}
	m.pods[key] = *pod
	for _, g := range m.groups {
		g.add(*pod, m.namespaces, 1)
	}
}

// add counts a Pod n times.
func (g *group) add(pod Pod, namespaces map[string]labels.Set, n int) {
	set, known := namespaces[pod.Namespace]
	if !slices.ContainsFunc(g.Pods, func(s Selection) bool {
		return (known || s.Namespaces == nil) && s.in(pod.Namespace, set) && s.Pods.Matches(pod.Labels)
	}) {
		return
	}
	for _, ip := range pod.IPs {
		at := netip.PrefixFrom(ip, ip.BitLen())
		if g.Port == "" {
			g.count(Member{Prefix: at}, n)
			continue
		}
		for _, p := range pod.Ports {
			if p.Name == g.Port && p.Protocol == g.Protocol {
				g.count(Member{Prefix: at, Protocol: p.Protocol, Port: p.Port}, n)
			}
		}
	}
}

func (g *group) count(m Member, n int) {
	if g.of[m] += n; g.of[m] <= 0 {
		delete(g.of, m)
	}
	g.touched[m] = true
}

// Of lists the Members of Peers.
func (m *Members) Of(peers string) map[Member]bool {
	out := map[Member]bool{}
	if g := m.groups[peers]; g != nil {
		for member := range g.of {
			out[member] = true
		}
	}
	return out
}

// Changes tells, for all Peers of which some are other than at the last call, those that came (true) and those that went (false). It may name some that are as they were.
func (m *Members) Changes() map[string]map[Member]bool {
	out := map[string]map[Member]bool{}
	for key, g := range m.groups {
		if len(g.touched) == 0 {
			continue
		}
		changed := make(map[Member]bool, len(g.touched))
		for member := range g.touched {
			changed[member] = g.of[member] > 0
		}
		out[key] = changed
		g.touched = map[Member]bool{}
	}
	return out
}

// Known are the Namespaces' labels and the Pods that were put and not removed.
func (m *Members) Known() (map[string]labels.Set, map[string]Pod) {
	return maps.Clone(m.namespaces), maps.Clone(m.pods)
}

// Scope is whose Pods have to be known for the Members to be complete.
type Scope struct {
	// Namespaces by name; with All every namespace.
	Namespaces []string
	All        bool
	// Labels says that it depends on the labels of Namespaces.
	Labels bool
}

// watches is how many namespaces are followed one by one before all of them are followed at once.
const watches = 8

// Scope tells whose Pods the Peers may be.
func (m *Members) Scope() Scope {
	var s Scope
	names := map[string]bool{}
	for _, g := range m.groups {
		for _, sel := range g.Pods {
			if sel.Namespaces == nil {
				names[sel.Namespace] = true
				continue
			}
			s.Labels = true
			s.All = s.All || sel.Namespaces.Empty()
			for name, set := range m.namespaces {
				if sel.Namespaces.Matches(set) {
					names[name] = true
				}
			}
		}
	}
	if s.All = s.All || len(names) > watches; !s.All {
		s.Namespaces = slices.Sorted(maps.Keys(names))
	}
	return s
}

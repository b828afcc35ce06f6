package rules

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// Direction says which end of a connection a Guard's Pods are.
type Direction string

// The directions.
const (
	// Ingress is what others open to the Pods.
	Ingress Direction = "ingress"
	// Egress is what the Pods open to others.
	Egress Direction = "egress"
)

// Pod is what policies ask of a Pod.
type Pod struct {
	Namespace, Name string
	Labels          labels.Set
	IPs             []netip.Addr
	Ports           []NamedPort
}

// NamedPort is a port of a container that has a name.
type NamedPort struct {
	Name     string
	Protocol corev1.Protocol
	Port     uint16
}

// Rule lets some connections pass. It is comparable.
type Rule struct {
	// Policy is the policy that says so, as namespace/name.
	Policy string
	// Peers are who may be at the other end, by their String; empty is anybody.
	Peers string
	// Protocol is empty for all of them. The ports are those of the connection's destination; Last is 0 for all of them.
	Protocol    corev1.Protocol
	First, Last uint16
}

func (r Rule) String() string {
	s := "anybody"
	if r.Peers != "" {
		s = "{" + r.Peers + "}"
	}
	switch {
	case r.Last > r.First:
		s += fmt.Sprintf(" %s %d-%d", r.Protocol, r.First, r.Last)
	case r.Last > 0:
		s += fmt.Sprintf(" %s %d", r.Protocol, r.First)
	case r.Protocol != "":
		s += fmt.Sprintf(" %s", r.Protocol)
	}
	return s + " (" + r.Policy + ")"
}

// Guard lets through to its Pods, or from them, what one of the Rules allows, and nothing else.
type Guard struct {
	Direction Direction
	Rules     []Rule
	// Pods are the addresses of the Pods, sorted.
	Pods []netip.Addr
}

// Guards are the rules of one node.
type Guards struct {
	// List is sorted; a Pod is in at most one Guard of each Direction.
	List []Guard
	// Peers are those that the Rules name.
	Peers map[string]Peers
}

// Build returns the Guards of a node's own Pods.
func Build(own []Pod, policies []*networkingv1.NetworkPolicy) Guards {
	g := Guards{Peers: map[string]Peers{}}
	in := map[string][]*networkingv1.NetworkPolicy{}
	for _, p := range slices.SortedFunc(slices.Values(policies), func(a, b *networkingv1.NetworkPolicy) int { return cmp.Compare(a.Name, b.Name) }) {
		in[p.Namespace] = append(in[p.Namespace], p)
	}
	at := map[string]int{}
	for _, pod := range own {
		for _, direction := range []Direction{Ingress, Egress} {
			list, guarded := g.rules(pod, direction, in[pod.Namespace])
			if !guarded {
				continue
			}
			key := fmt.Sprint(direction, list)
			i, ok := at[key]
			if !ok {
				i = len(g.List)
				at[key] = i
				g.List = append(g.List, Guard{Direction: direction, Rules: list})
			}
			g.List[i].Pods = append(g.List[i].Pods, pod.IPs...)
		}
	}
	for i := range g.List {
		slices.SortFunc(g.List[i].Pods, netip.Addr.Compare)
	}
	slices.SortFunc(g.List, func(a, b Guard) int {
		return cmp.Or(cmp.Compare(a.Direction, b.Direction), cmp.Compare(fmt.Sprint(a.Rules), fmt.Sprint(b.Rules)))
	})
	return g
}

// rules are what the policies of a Pod's namespace allow it in one direction, and whether any of them limits it.
func (g *Guards) rules(pod Pod, direction Direction, policies []*networkingv1.NetworkPolicy) (list []Rule, guarded bool) {
	for _, p := range policies {
		if !limits(p, direction) || !matches(&p.Spec.PodSelector, pod.Labels) {
			continue
		}
		guarded = true
		if direction == Ingress {
			for _, r := range p.Spec.Ingress {
				list = g.allow(list, p, pod, direction, r.From, r.Ports)
			}
		} else {
			for _, r := range p.Spec.Egress {
				list = g.allow(list, p, pod, direction, r.To, r.Ports)
			}
		}
	}
	return list, guarded
}

// limits tells whether a policy is about a direction. The API server fills in policyTypes, but not of objects stored before it did.
func limits(p *networkingv1.NetworkPolicy, direction Direction) bool {
	if len(p.Spec.PolicyTypes) == 0 {
		return direction == Ingress || len(p.Spec.Egress) > 0
	}
	want := networkingv1.PolicyTypeIngress
	if direction == Egress {
		want = networkingv1.PolicyTypeEgress
	}
	return slices.Contains(p.Spec.PolicyTypes, want)
}

// allow adds the Rules of one ingress or egress rule of a policy: one for each port.
func (g *Guards) allow(list []Rule, p *networkingv1.NetworkPolicy, pod Pod, direction Direction, to []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort) []Rule {
	who := peers(p.Namespace, to)
	add := func(who *Peers, protocol corev1.Protocol, first, last uint16) {
		r := Rule{Policy: p.Namespace + "/" + p.Name, Protocol: protocol, First: first, Last: last}
		if who != nil {
			if who.Nobody() {
				return
			}
			r.Peers = who.String()
			g.Peers[r.Peers] = *who
		}
		if !slices.Contains(list, r) {
			list = append(list, r)
		}
	}
	if len(ports) == 0 {
		add(who, "", 0, 0)
	}
	for _, port := range ports {
		protocol := ptr.Deref(port.Protocol, corev1.ProtocolTCP)
		switch {
		case port.Port == nil:
			add(who, protocol, 0, 0)
		case port.Port.Type == intstr.Int:
			first := number(port.Port.IntVal)
			if last := max(first, number(ptr.Deref(port.EndPort, 0))); first > 0 {
				add(who, protocol, first, last)
			}
		case direction == Ingress:
			for _, own := range pod.Ports {
				if own.Name == port.Port.StrVal && own.Protocol == protocol {
					add(who, protocol, own.Port, own.Port)
				}
			}
		default:
			// Each peer has the name at a number of its own, which is therefore noted with the peer's address.
			add(who.at(port.Port.StrVal, protocol), "", 0, 0)
		}
	}
	return list
}

// number is a port as an object has it; 0 is none.
func number(n int32) uint16 {
	if n < 1 || n > 65535 {
		return 0
	}
	return uint16(n)
}

// matches tells whether a selector selects labels. The API server refuses selectors that do not parse; such a one selects nothing.
func matches(s *metav1.LabelSelector, set labels.Set) bool {
	return selector(s).Matches(set)
}

func selector(s *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return parsed
}

// String shows the Guards, one line for each Rule.
func (g Guards) String() string {
	var b strings.Builder
	for _, guard := range g.List {
		fmt.Fprintf(&b, "%s of %v\n", guard.Direction, guard.Pods)
		for _, r := range guard.Rules {
			fmt.Fprintf(&b, "  %s\n", r)
		}
		if len(guard.Rules) == 0 {
			b.WriteString("  nobody\n")
		}
	}
	return b.String()
}

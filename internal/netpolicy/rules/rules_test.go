package rules_test

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/netpolicy/rules"
)

// The files under testdata are stories of a cluster seen by one node: "namespaces" and "pods" say what there is, "policies" which policies there are from
// then on; what is shown is the node's Guards and, below them, who its peers are.
func TestGuards(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := &world{members: rules.NewMembers(), pods: map[string]rules.Pod{}}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "namespaces":
				for _, line := range lines(d.Input) {
					f := strings.Fields(line)
					w.members.PutNamespace(f[0], set(f[1:]))
				}
				return w.changes()
			case "pods":
				for _, line := range lines(d.Input) {
					w.pod(t, strings.Fields(line))
				}
				return w.changes()
			case "gone":
				for _, key := range lines(d.Input) {
					delete(w.pods, key)
					w.members.Put(key, nil)
				}
				return w.changes()
			case "policies":
				w.policies = nil
				for _, doc := range strings.Split(d.Input, "---\n") {
					p := &networkingv1.NetworkPolicy{}
					if err := yaml.UnmarshalStrict([]byte(doc), p); err != nil {
						t.Fatalf("%s: %v", d.Pos, err)
					}
					w.policies = append(w.policies, p)
				}
				return w.show()
			}
			t.Fatalf("%s: unknown command", d.Pos)
			return ""
		})
	})
}

// world is what the node knows.
type world struct {
	members  *rules.Members
	pods     map[string]rules.Pod // the node's own
	policies []*networkingv1.NetworkPolicy
}

func lines(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") }

func set(words []string) labels.Set {
	out := labels.Set{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

// pod reads "namespace/name addresses [here] label=value… name:port/protocol…".
func (w *world) pod(t *testing.T, f []string) {
	t.Helper()
	p := rules.Pod{Labels: labels.Set{}}
	p.Namespace, p.Name, _ = strings.Cut(f[0], "/")
	for _, ip := range strings.Split(f[1], ",") {
		p.IPs = append(p.IPs, netip.MustParseAddr(ip))
	}
	here := false
	for _, word := range f[2:] {
		if word == "here" {
			here = true
		} else if name, rest, ok := strings.Cut(word, ":"); ok {
			n, proto, _ := strings.Cut(rest, "/")
			port, err := strconv.ParseUint(n, 10, 16)
			if err != nil {
				t.Fatal(err)
			}
			p.Ports = append(p.Ports, rules.NamedPort{Name: name, Protocol: corev1.Protocol(proto), Port: uint16(port)})
		} else {
			maps.Copy(p.Labels, set([]string{word}))
		}
	}
	if here {
		w.pods[f[0]] = p
	}
	w.members.Put(f[0], &p)
}

func (w *world) show() string {
	var own []rules.Pod
	for _, key := range slices.Sorted(maps.Keys(w.pods)) {
		own = append(own, w.pods[key])
	}
	g := rules.Build(own, w.policies)
	w.members.Want(g.Peers)
	w.members.Changes()
	var b strings.Builder
	b.WriteString(g.String())
	for _, key := range slices.Sorted(maps.Keys(g.Peers)) {
		fmt.Fprintf(&b, "{%s}: %s\n", key, list(slices.Collect(maps.Keys(w.members.Of(key)))))
	}
	if s := w.members.Scope(); s.All {
		b.WriteString("follows all Pods\n")
	} else if len(s.Namespaces) > 0 {
		fmt.Fprintf(&b, "follows the Pods of %v\n", s.Namespaces)
	}
	if b.Len() == 0 {
		return "no Pod is guarded\n"
	}
	return b.String()
}

func list(members []rules.Member) string {
	var out []string
	for _, m := range members {
		s := m.Prefix.String()
		if m.Port != 0 {
			s += fmt.Sprintf("@%s:%d", m.Protocol, m.Port)
		}
		out = append(out, s)
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "nobody yet"
	}
	return strings.Join(out, " ")
}

func (w *world) changes() string {
	var out []string
	for key, changed := range w.members.Changes() {
		for m, there := range changed {
			sign := "-"
			if there {
				sign = "+"
			}
			out = append(out, fmt.Sprintf("{%s} %s%s\n", key, sign, list([]rules.Member{m})))
		}
	}
	slices.Sort(out)
	if len(out) == 0 {
		return "no peers change\n"
	}
	return strings.Join(out, "")
}

func FuzzABlockIsItsRangeWithoutItsExceptions(f *testing.F) {
	f.Add([]byte{10, 0, 0, 0}, 8, []byte{10, 1, 0, 0}, 16, []byte{10, 1, 2, 3})
	f.Add([]byte{0, 0, 0, 0}, 0, []byte{255, 255, 255, 255}, 32, []byte{255, 255, 255, 254})
	f.Add(make([]byte, 16), 0, append(make([]byte, 15), 1), 128, append(make([]byte, 15), 2))
	f.Fuzz(func(t *testing.T, cidr []byte, bits int, except []byte, exceptBits int, probe []byte) {
		a, ok1 := netip.AddrFromSlice(cidr)
		e, ok2 := netip.AddrFromSlice(except)
		p, ok3 := netip.AddrFromSlice(probe)
		block, hole := netip.PrefixFrom(a, bits), netip.PrefixFrom(e, exceptBits)
		if !ok1 || !ok2 || !ok3 || !block.IsValid() || !hole.IsValid() || len(cidr) != len(except) || len(cidr) != len(probe) {
			return
		}
		own := rules.Pod{Namespace: "n", IPs: []netip.Addr{netip.MustParseAddr("10.42.0.2")}}
		g := rules.Build([]rules.Pod{own}, []*networkingv1.NetworkPolicy{{Spec: networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				IPBlock: &networkingv1.IPBlock{CIDR: block.String(), Except: []string{hole.String()}},
			}}}},
		}, ObjectMeta: metav1.ObjectMeta{Namespace: "n"}}})
		m := rules.NewMembers()
		m.Want(g.Peers)
		in := false
		for key := range g.Peers {
			for member := range m.Of(key) {
				in = in || member.Prefix.Contains(p)
			}
		}
		if want := block.Contains(p) && !hole.Contains(p); in != want {
			t.Errorf("%s except %s: %s is in it: %v, want %v", block, hole, p, in, want)
		}
	})
}

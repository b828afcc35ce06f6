package loadbalancer

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// The files under testdata are stories: "nodes" are those of the cluster, with "hosts=" the Services that have endpoints there; "services" creates or replaces Services, in
// the order of their age, and shows what is decided, which is taken over.
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := World{}
		hosts := map[string]map[string]bool{}
		w.Hosts = func(s *corev1.Service) map[string]bool { return hosts[s.Name] }
		born := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "pools":
				w.Pools = nil
				for _, s := range strings.Fields(d.Input) {
					w.Pools = append(w.Pools, netip.MustParsePrefix(s))
				}
			case "others":
				w.Others = true
			case "nodes":
				w.Nodes, hosts = nil, map[string]map[string]bool{}
				for _, line := range strings.Split(d.Input, "\n") {
					w.Nodes = append(w.Nodes, node(strings.Fields(line), hosts))
				}
			case "services":
				for _, doc := range strings.Split(d.Input, "---\n") {
					s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}}}
					if err := yaml.UnmarshalStrict([]byte(doc), s); err != nil {
						t.Fatalf("%s: %v", d.Pos, err)
					}
					born = born.Add(time.Second)
					s.CreationTimestamp = metav1.NewTime(born)
					w.put(s)
				}
			case "gone":
				for i, s := range w.Services {
					if s.Name == d.Input {
						w.Services = append(w.Services[:i], w.Services[i+1:]...)
						break
					}
				}
			default:
				t.Fatalf("%s: unknown command", d.Pos)
			}
			return w.decide()
		})
	})
}

// put replaces a Service of the name, whose age and status it then has.
func (w *World) put(s *corev1.Service) {
	for i, o := range w.Services {
		if o.Name == s.Name {
			s.CreationTimestamp, s.Status = o.CreationTimestamp, o.Status
			w.Services[i] = s
			return
		}
	}
	w.Services = append(w.Services, s)
}

func (w *World) decide() string {
	var b strings.Builder
	a := Decide(*w)
	for _, s := range a.Status {
		var ips []string
		for _, in := range s.Status.LoadBalancer.Ingress {
			ips = append(ips, in.IP)
		}
		fmt.Fprintf(&b, "%s: %v\n", s.Name, ips)
		for i := range w.Services {
			if w.Services[i].Name == s.Name {
				w.Services[i] = s
			}
		}
	}
	for _, m := range a.Given {
		fmt.Fprintf(&b, "told %s: %s\n", m.Service.Name, m.Text)
	}
	for _, m := range a.Pending {
		fmt.Fprintf(&b, "%s waits: %s\n", m.Service.Name, m.Text)
	}
	if again := Decide(*w); len(again.Status) > 0 {
		fmt.Fprintf(&b, "NOT SETTLED: %v\n", again.Status)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// node reads "name address… [unready] [excluded] [ingress=port,…] hosts=service,…".
func node(f []string, hosts map[string]map[string]bool) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: f[0]}}
	ready := corev1.ConditionTrue
	for _, word := range f[1:] {
		if list, ok := strings.CutPrefix(word, "hosts="); ok {
			for _, s := range strings.Split(list, ",") {
				if hosts[s] == nil {
					hosts[s] = map[string]bool{}
				}
				hosts[s][n.Name] = true
			}
			continue
		}
		if ports, ok := strings.CutPrefix(word, "ingress="); ok {
			n.Annotations = map[string]string{annIngressPorts: ports}
			continue
		}
		switch word {
		case "unready":
			ready = corev1.ConditionFalse
		case "excluded":
			n.Labels = map[string]string{corev1.LabelNodeExcludeBalancers: ""}
		default:
			n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: word})
		}
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready}}
	return n
}

package rules_test

import (
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/proxy/rules"
)

// The files under testdata show what each Service and its EndpointSlices mean on one node.
func TestBalancers(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			family := "IPv4"
			if d.HasArg("family") {
				d.ScanArgs(t, "family", &family)
			}
			svc, slices := read(t, d)
			var out strings.Builder
			node := rules.Node{Name: "w1"}
			if d.HasArg("zone") {
				d.ScanArgs(t, "zone", &node.Zone)
			}
			for _, b := range rules.Build(node, corev1.IPFamily(family), svc, slices) {
				out.WriteString(b.String())
			}
			if out.Len() == 0 {
				return "nothing\n"
			}
			return out.String()
		})
	})
}

// read parses a Service and then any number of EndpointSlices, as YAML documents of which what every one has is left out.
func read(t *testing.T, d *datadriven.TestData) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	t.Helper()
	docs := strings.Split(d.Input, "---\n")
	svc := &corev1.Service{}
	unmarshal(t, d, docs[0], svc)
	var list []*discoveryv1.EndpointSlice
	for _, doc := range docs[1:] {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		unmarshal(t, d, doc, s)
		list = append(list, s)
	}
	return svc, list
}

func unmarshal(t *testing.T, d *datadriven.TestData, doc string, into any) {
	t.Helper()
	if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
		t.Fatalf("%s: %v in\n%s", d.Pos, err, doc)
	}
}

func FuzzAnyServiceIsServedOrLeftOutButNeverStopsTheNode(f *testing.F) {
	f.Add("10.43.0.1", "10.42.0.2", "10.0.0.0/8", int32(80), int32(30080))
	f.Add("None", "", "x", int32(-1), int32(70000))
	f.Add("::1", "fd00::1%eth0", "::/0", int32(0), int32(0))
	f.Fuzz(func(t *testing.T, clusterIP, endpoint, source string, port, nodePort int32) {
		svc := &corev1.Service{Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: clusterIP, ClusterIPs: []string{clusterIP}, ExternalIPs: []string{endpoint},
			LoadBalancerSourceRanges: []string{source},
			Ports:                    []corev1.ServicePort{{Port: port, NodePort: nodePort, Protocol: corev1.ProtocolTCP}},
		}}
		slice := &discoveryv1.EndpointSlice{
			AddressType: discoveryv1.AddressTypeIPv4,
			Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{endpoint}}},
			Ports:       []discoveryv1.EndpointPort{{Port: &port}},
		}
		for _, family := range []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol} {
			for _, b := range rules.Build(rules.Node{Name: "w1"}, family, svc, []*discoveryv1.EndpointSlice{slice}) {
				for _, f := range b.Frontends {
					if f.Kind != rules.NodePort && f.Addr.Is4() != (family == corev1.IPv4Protocol) {
						t.Errorf("frontend %s among those of %s", f.Addr, family)
					}
				}
			}
		}
	})
}

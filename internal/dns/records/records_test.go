package records_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/dns/records"
)

// The files under testdata show which records each Service has.
func TestRecords(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var out strings.Builder
			switch d.Cmd {
			case "build":
				svc, list := read(t, d)
				for _, rr := range records.Build("cluster.local.", svc, list) {
					out.WriteString(strings.ReplaceAll(strings.ReplaceAll(rr.String(), "\t5\tIN", ""), "\t", " ") + "\n")
				}
			case "pod":
				for label := range strings.FieldsSeq(d.Input) {
					out.WriteString(label + " " + records.Pod(label).String() + "\n")
				}
			case "zone":
				var at []netip.Addr
				for a := range strings.FieldsSeq(d.Input) {
					at = append(at, netip.MustParseAddr(a))
				}
				for _, rr := range records.Zone("cluster.local.", at) {
					out.WriteString(strings.ReplaceAll(rr.String(), "\t", " ") + "\n")
				}
			default:
				t.Fatalf("%s: unknown command %q", d.Pos, d.Cmd)
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

func FuzzAnyServiceHasRecordsThatCanBePacked(f *testing.F) {
	f.Add("web", "shop", "10.43.0.7", "10.42.0.2", "db-0", "http", "example.org")
	f.Add("", ".", "None", "x", "a.b", "_", "..")
	f.Add("web", "shop", "None", "fd00::1%eth0", "\\000", "\"", "1.2.3.4")
	f.Fuzz(func(t *testing.T, name, namespace, clusterIP, endpoint, host, port, external string) {
		number := int32(70000)
		svc := &corev1.Service{}
		svc.Name, svc.Namespace = name, namespace
		svc.Spec = corev1.ServiceSpec{ClusterIP: clusterIP, ExternalName: external, Ports: []corev1.ServicePort{{Name: port, Port: number}}}
		slice := &discoveryv1.EndpointSlice{
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{endpoint}, Hostname: &host}}, Ports: []discoveryv1.EndpointPort{{Name: &port, Port: &number}},
		}
		for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName} {
			svc.Spec.Type = kind
			for _, rr := range records.Build("cluster.local.", svc, []*discoveryv1.EndpointSlice{slice}) {
				if rr.Header().Name == "" {
					t.Errorf("a record without a name: %v", rr)
				}
			}
		}
	})
}

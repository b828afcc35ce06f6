package endpoints

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"
)

// TestDecide reads the Service, the Endpoints and the EndpointSlices of one name as YAML documents with their kind, shows what is to be written, and checks
// that nothing more is once it is.
func TestDecide(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			o := read(t, d)
			a := Decide(o)
			if again := Decide(done(o, a)); again.CreateEndpoints != nil || again.UpdateEndpoints != nil || again.DeleteEndpoints ||
				len(again.CreateSlices)+len(again.UpdateSlices)+len(again.DeleteSlices) > 0 {
				t.Errorf("%s: there is more to do after it is done: %s", d.Pos, tell(t, again))
			}
			return tell(t, a)
		})
	})
}

func read(t *testing.T, d *datadriven.TestData) (o Observed) {
	t.Helper()
	for _, doc := range strings.Split(d.Input, "---\n") {
		kind, rest, _ := strings.Cut(doc, "\n")
		var into any
		switch kind {
		case "Service":
			o.Service = &corev1.Service{}
			into = o.Service
		case "Endpoints":
			o.Endpoints = &corev1.Endpoints{}
			into = o.Endpoints
		case "EndpointSlice":
			s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
			o.Slices = append(o.Slices, s)
			into = s
		default:
			t.Fatalf("%s: no kind %q", d.Pos, kind)
		}
		if err := yaml.UnmarshalStrict([]byte(rest), into); err != nil {
			t.Fatalf("%s: %v in\n%s", d.Pos, err, rest)
		}
	}
	return o
}

// done is what is observed once a is carried out.
func done(o Observed, a Actions) Observed {
	switch {
	case a.DeleteEndpoints:
		o.Endpoints = nil
	case a.CreateEndpoints != nil:
		o.Endpoints = a.CreateEndpoints
	case a.UpdateEndpoints != nil:
		o.Endpoints = a.UpdateEndpoints
	}
	gone := map[string]bool{}
	for _, s := range append(a.DeleteSlices, a.UpdateSlices...) {
		gone[s.Name] = true
	}
	next := append(append([]*discoveryv1.EndpointSlice{}, a.CreateSlices...), a.UpdateSlices...)
	for _, s := range o.Slices {
		if !gone[s.Name] {
			next = append(next, s)
		}
	}
	o.Slices = next
	return o
}

func tell(t *testing.T, a Actions) string {
	t.Helper()
	var b strings.Builder
	for what, e := range map[string]*corev1.Endpoints{"create": a.CreateEndpoints, "update": a.UpdateEndpoints} {
		if e == nil {
			continue
		}
		fmt.Fprintf(&b, "%s Endpoints %s/%s %v %v\n", what, e.Namespace, e.Name, e.Labels, e.Annotations)
		for _, s := range e.Subsets {
			b.WriteString("  ")
			for _, p := range s.Ports {
				fmt.Fprintf(&b, "%s:%d/%s ", p.Name, p.Port, p.Protocol)
			}
			for _, x := range s.Addresses {
				b.WriteString(short(x))
			}
			for _, x := range s.NotReadyAddresses {
				b.WriteString("!" + short(x))
			}
			b.WriteString("\n")
		}
	}
	if a.DeleteEndpoints {
		b.WriteString("delete Endpoints\n")
	}
	for _, l := range []struct {
		what string
		all  []*discoveryv1.EndpointSlice
	}{{"create", a.CreateSlices}, {"update", a.UpdateSlices}} {
		for _, s := range l.all {
			fmt.Fprintf(&b, "%s %s slice %s %v %v\n  ", l.what, s.AddressType, s.Name, s.Labels, s.Annotations)
			for _, p := range s.Ports {
				fmt.Fprintf(&b, "%s:%d/%s ", *p.Name, *p.Port, *p.Protocol)
			}
			for _, e := range s.Endpoints {
				if !*e.Conditions.Ready {
					b.WriteString("!")
				}
				fmt.Fprintf(&b, "%s ", e.Addresses[0])
			}
			b.WriteString("\n")
		}
	}
	for _, s := range a.DeleteSlices {
		fmt.Fprintf(&b, "delete slice %s\n", s.Name)
	}
	for _, w := range a.Warnings {
		fmt.Fprintf(&b, "%s: %s\n", w.Reason, w.Message)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

func short(a corev1.EndpointAddress) string {
	s := a.IP
	if a.Hostname != "" {
		s += "(" + a.Hostname + ")"
	}
	return s + " "
}

func TestMoreAddressesThanEndpointsMayHaveAreCutOffTheReadyOnesFirst(t *testing.T) {
	svc := &corev1.Service{}
	svc.Namespace, svc.Name, svc.Spec.Selector = "shop", "web", map[string]string{"app": "web"}
	var o Observed
	o.Service = svc
	for i := range 12 {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		s.Labels = map[string]string{discoveryv1.LabelManagedBy: sliceController}
		for j := range 100 {
			ready := i >= 6
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.42.%d.%d", i, j)}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}})
		}
		o.Slices = append(o.Slices, s)
	}
	e := Decide(o).CreateEndpoints
	if e == nil || len(e.Subsets) != 1 || len(e.Subsets[0].Addresses) != 600 || len(e.Subsets[0].NotReadyAddresses) != 400 || e.Annotations[corev1.EndpointsOverCapacity] != "truncated" {
		t.Fatalf("got %+v", e)
	}
	o.Endpoints, o.Slices = e, o.Slices[:3]
	if u := Decide(o).UpdateEndpoints; u == nil || u.Annotations[corev1.EndpointsOverCapacity] != "" {
		t.Errorf("it still says that addresses are left out: %+v", u)
	}
}

func TestHandWrittenEndpointsBeyondTheLimitAreToldOf(t *testing.T) {
	var o Observed
	o.Service, o.Endpoints = &corev1.Service{}, &corev1.Endpoints{}
	o.Endpoints.Name = "web"
	o.Endpoints.Subsets = []corev1.EndpointSubset{{}}
	for i := range 1005 {
		o.Endpoints.Subsets[0].Addresses = append(o.Endpoints.Subsets[0].Addresses, corev1.EndpointAddress{IP: fmt.Sprintf("192.0.%d.%d", i/200, i%200)})
	}
	a := Decide(o)
	if len(a.CreateSlices) != 1 || len(a.CreateSlices[0].Endpoints) != maxAddresses || len(a.Warnings) != 1 || !strings.HasPrefix(a.Warnings[0].Message, "5 addresses") {
		t.Errorf("got %v", a.Warnings)
	}
}

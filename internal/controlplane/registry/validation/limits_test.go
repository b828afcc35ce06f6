package validation_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// TestSizesAreLimited takes each limit that is too large to write down: at it an object may be stored, above it not.
func TestSizesAreLimited(t *testing.T) {
	named := metav1.ObjectMeta{Name: "a", Namespace: "b"}
	slice := func(endpoints, addresses, ports int) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{ObjectMeta: named, AddressType: discoveryv1.AddressTypeIPv4}
		for range endpoints {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{"10.0.0.1"}})
		}
		for i := range addresses {
			s.Endpoints[0].Addresses = append(s.Endpoints[0].Addresses[:i], fmt.Sprintf("10.0.0.%d", i+1))
		}
		for i := range ports {
			s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(fmt.Sprintf("p%d", i)), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](80)})
		}
		return s
	}
	// One letter of the size is the key's.
	text := func(size int) string { return strings.Repeat("x", size-1) }
	const mebibyte = 1 << 20
	for _, test := range []struct {
		name string
		errs field.ErrorList
		want string
	}{
		{"a ConfigMap of 1 MiB", validation.ConfigMap(&corev1.ConfigMap{ObjectMeta: named, Data: map[string]string{"k": text(mebibyte)}}), ""},
		{"a ConfigMap of more, over both of its maps", validation.ConfigMap(&corev1.ConfigMap{
			ObjectMeta: named, Data: map[string]string{"k": text(mebibyte - 1)}, BinaryData: map[string][]byte{"b": {0}},
		}), "data: Too long: may not be more than 1048576 bytes"},
		{"a Secret of 1 MiB", validation.Secret(&corev1.Secret{ObjectMeta: named, Data: map[string][]byte{"k": make([]byte, mebibyte)}}), ""},
		{"a Secret of more", validation.Secret(&corev1.Secret{ObjectMeta: named, Data: map[string][]byte{"k": make([]byte, mebibyte+1)}}), "data: Too long: may not be more than 1048576 bytes"},
		{"a slice of 1000 endpoints and 100 ports, one of 100 addresses", validation.EndpointSlice(slice(1000, 100, 100)), ""},
		{"a slice of more endpoints", validation.EndpointSlice(slice(1001, 0, 0)), "endpoints: Too many: 1001: must have at most 1000 items"},
		{"an endpoint of more addresses", validation.EndpointSlice(slice(1, 101, 0)), "endpoints[0].addresses: Too many: 101: must have at most 100 items"},
		{"a slice of more ports", validation.EndpointSlice(slice(1, 0, 101)), "ports: Too many: 101: must have at most 100 items"},
	} {
		got := ""
		if err := test.errs.ToAggregate(); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

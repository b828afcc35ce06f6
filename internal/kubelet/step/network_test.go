package step

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/network"
)

func TestBandwidthIsReadFromAnnotations(t *testing.T) {
	for _, c := range []struct {
		in, out string
		want    network.Bandwidth
		refused string
	}{
		{"", "", network.Bandwidth{}, ""},
		{"10M", "", network.Bandwidth{Ingress: 10_000_000}, ""},
		{"1k", "1P", network.Bandwidth{Ingress: 1000, Egress: 1_000_000_000_000_000}, ""},
		{"10", "", network.Bandwidth{}, `kubernetes.io/ingress-bandwidth: "10"`},
		{"", "2P", network.Bandwidth{}, `kubernetes.io/egress-bandwidth: "2P"`},
		{"-5M", "", network.Bandwidth{}, `"-5M"`},
		{"fast", "", network.Bandwidth{}, `"fast" must be bits per second`},
	} {
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{}}}
		for name, text := range map[string]string{ingressBandwidth: c.in, egressBandwidth: c.out} {
			if text != "" {
				pod.Annotations[name] = text
			}
		}
		got, err := bandwidthOf(pod)
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%q, %q: %v, want that it says %s", c.in, c.out, err, c.refused)
			}
		case err != nil || got != c.want:
			t.Errorf("%q, %q: %+v, %v; want %+v", c.in, c.out, got, err, c.want)
		}
	}
}

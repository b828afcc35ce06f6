package clusterdns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/dns/records"
)

var ip = netip.MustParseAddr("10.43.0.10")

func decide(o Observed) Actions { return Decide(ip, "cluster.local.", o) }

func TestTheServiceIsMadeAndThenLeftAlone(t *testing.T) {
	a := decide(Observed{})
	if a.Create == nil || a.Create.Spec.ClusterIP != "10.43.0.10" || a.Create.Labels[records.LabelProxy] != records.ProxyName || a.Create.Spec.Selector != nil {
		t.Fatalf("in an empty cluster: %+v", a)
	}
	if diff := cmp.Diff(Actions{}, decide(Observed{Service: a.Create})); diff != "" {
		t.Errorf("what is right is written again (-want +got):\n%s", diff)
	}
}

func TestPortsThatSomebodyChangedAreSetRight(t *testing.T) {
	svc := decide(Observed{}).Create
	svc.Spec.Ports = svc.Spec.Ports[:1]
	if a := decide(Observed{Service: svc}); a.Update == nil || len(a.Update.Spec.Ports) != 2 {
		t.Errorf("got %+v", a)
	}
}

func TestSomebodyElsesServiceIsLeftAlone(t *testing.T) {
	svc := decide(Observed{}).Create
	delete(svc.Labels, records.LabelProxy)
	svc.Spec.Selector = map[string]string{"k8s-app": "kube-dns"}
	svc.Spec.Ports = svc.Spec.Ports[:1]
	if diff := cmp.Diff(Actions{}, decide(Observed{Service: svc})); diff != "" {
		t.Errorf("CoreDNS' own Service is written (-want +got):\n%s", diff)
	}
}

func TestAConfigMapThatNodesCannotReadIsComplainedAbout(t *testing.T) {
	o := Observed{Service: decide(Observed{}).Create, ConfigMap: &corev1.ConfigMap{Data: map[string]string{"a.server": "corp.example { rewrite a b }"}}}
	if a := decide(o); !strings.HasPrefix(a.Complaint, "a.server:1: plugin rewrite is not known here") {
		t.Errorf("got %q", a.Complaint)
	}
	o.ConfigMap.Data["a.server"] = "corp.example { forward . 192.0.2.1 }"
	if a := decide(o); a.Complaint != "" {
		t.Errorf("got %q", a.Complaint)
	}
}

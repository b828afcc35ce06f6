package servicecidr_test

import (
	"net/netip"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/servicecidr"
)

func TestAnAddressIsSpareWhenNoServiceHasItAfterAMinute(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	holder := clusterip.Holder{Namespace: "shop", Name: "web", UID: "u"}
	has := func(ip string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "u"}, Spec: corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}}}
	}
	another := has("10.43.0.7")
	another.UID = "another"
	for name, c := range map[string]struct {
		service *corev1.Service
		age     time.Duration
		others  bool
		spare   bool
		wait    time.Duration
	}{
		"in use":                          {has("10.43.0.7"), time.Hour, false, false, 0},
		"its Service is not stored yet":   {nil, 20 * time.Second, false, false, 40 * time.Second},
		"its Service never was stored":    {nil, time.Minute, false, true, 0},
		"its Service has another now":     {has("10.43.0.8"), time.Hour, false, true, 0},
		"its Service is another now":      {another, time.Hour, false, true, 0},
		"somebody else's, and no Service": {nil, time.Hour, true, false, 0},
	} {
		a := clusterip.Claim(netip.MustParseAddr("10.43.0.7"), holder)
		a.CreationTimestamp = metav1.NewTime(now.Add(-c.age))
		if c.others {
			a.Labels = nil
		}
		if spare, wait := servicecidr.Spare(a, c.service, now); spare != c.spare || wait != c.wait {
			t.Errorf("%s: spare %v, wait %s; want %v, %s", name, spare, wait, c.spare, c.wait)
		}
	}
}

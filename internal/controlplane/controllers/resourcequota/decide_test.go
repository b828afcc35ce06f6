package resourcequota

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func numbers(secrets, configMaps int64) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceSecrets: *resource.NewQuantity(secrets, resource.DecimalSI), corev1.ResourceConfigMaps: *resource.NewQuantity(configMaps, resource.DecimalSI),
	}
}

func TestNewObjectsRaiseWhatIsUsedAndOnlyACountLowersIt(t *testing.T) {
	hard := numbers(5, 5)
	for name, c := range map[string]struct {
		said            corev1.ResourceList
		secrets, maps   int
		count, atLeast  corev1.ResourceList
		differs, raises bool
	}{
		"as counted":                        {numbers(1, 2), 1, 2, numbers(1, 2), numbers(1, 2), false, false},
		"let in before the quota was known": {numbers(0, 2), 1, 2, numbers(1, 2), numbers(1, 2), true, true},
		"counted ahead of the caches":       {numbers(2, 2), 1, 2, numbers(1, 2), numbers(2, 2), true, false},
		"one of each":                       {numbers(0, 3), 1, 2, numbers(1, 2), numbers(1, 3), true, true},
		"never counted":                     {nil, 1, 2, numbers(1, 2), numbers(1, 2), true, true},
	} {
		t.Run(name, func(t *testing.T) {
			q := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard}, Status: corev1.ResourceQuotaStatus{Hard: hard, Used: c.said}}
			objects := func(gr schema.GroupResource) (int, bool) {
				if gr.Resource == "secrets" {
					return c.secrets, true
				}
				return c.maps, true
			}
			for _, m := range []struct {
				name    string
				measure measure
				used    corev1.ResourceList
				differs bool
			}{{"Status", Status, c.count, c.differs}, {"AtLeast", AtLeast, c.atLeast, c.raises}} {
				status, differs, err := m.measure(q, nil, objects)
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(m.used, status.Used); d != "" || differs != m.differs {
					t.Errorf("%s: differs is %t, want %t; used (-want +got):\n%s", m.name, differs, m.differs, d)
				}
			}
		})
	}
}

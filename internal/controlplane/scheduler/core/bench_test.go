package core

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate/podtest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// BenchmarkSchedule places Pods one after another on 5,000 nodes in 3 zones, each counted as it is placed.
func BenchmarkSchedule(b *testing.B) {
	for _, k := range []struct{ name, line string }{
		{"plain", "p cpu=100m memory=100Mi"},
		{"replicas", "p cpu=100m memory=100Mi owner=ReplicaSet/web"},
		{"selector", "p cpu=100m memory=100Mi select=half:a"},
		{"topology", "p cpu=100m memory=100Mi labels=app:web"},
	} {
		b.Run(k.name, func(b *testing.B) {
			s, c := snapshot.New(), New(DefaultProfile())
			for i := range 5000 {
				s.SetNode(scheduletest.Node(b, fmt.Sprintf("n%d cpu=16 memory=64Gi zone=z%d labels=half:%c pods=1100", i, i%3, 'a'+rune(i%2))))
			}
			template := podtest.Line(b, k.line)
			if k.name == "topology" {
				template.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{
					TopologyKey: corev1.LabelTopologyZone, MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{MatchLabels: template.Labels},
				}}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				p := *template
				p.UID = types.UID(fmt.Sprint(i))
				pod := snapshot.NewPod(&p)
				r := c.Schedule(pod, s)
				if r.Node == "" {
					b.Fatal(r.Message())
				}
				s.Assume(pod, r.Node)
				i++
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

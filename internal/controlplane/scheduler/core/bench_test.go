package core

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/scheduletest"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// benchNodes is the cluster of the benchmarks: three zones, half the nodes with another label.
const benchNodes = 5000

func benchCluster(b *testing.B) *snapshot.Snapshot {
	b.Helper()
	s := snapshot.New()
	for i := range benchNodes {
		s.SetNode(scheduletest.Node(b, fmt.Sprintf("n%d cpu=16 memory=64Gi zone=z%d labels=half:%c pods=110", i, i%3, 'a'+rune(i%2))))
	}
	return s
}

// BenchmarkSchedule places Pods one after another on 5,000 nodes, each counted as it is placed. "make bench" places 10,000.
//
// In a line, %d is the number of the Pod and %a that of its workload, of which there are ten.
func BenchmarkSchedule(b *testing.B) {
	for _, k := range []struct{ name, line string }{
		{"plain", "p%d cpu=100m memory=100Mi"},
		{"replicas", "p%d cpu=100m memory=100Mi owner=ReplicaSet/web%a labels=app:web%a"},
		{"nodeSelector", "p%d cpu=100m memory=100Mi select=half:a"},
		{"spreadZone", "p%d cpu=100m memory=100Mi labels=app:web%a spread=topology.kubernetes.io/zone:1"},
		{"spreadHost", "p%d cpu=100m memory=100Mi labels=app:web%a spread=kubernetes.io/hostname:1"},
		{"spreadBothAndSelector", "p%d cpu=100m memory=100Mi labels=app:web%a select=half:a spread=topology.kubernetes.io/zone:1 spread=kubernetes.io/hostname:2"},
		{"spreadPreferred", "p%d cpu=100m memory=100Mi labels=app:web%a anyway=topology.kubernetes.io/zone:1 anyway=kubernetes.io/hostname:1"},
		{"antiAffinity", "p%d cpu=100m memory=100Mi labels=app:web%a away=app:web%a@kubernetes.io/hostname"},
		{"antiAffinityOwnLabels", "p%d cpu=100m memory=100Mi labels=app:web%a,pod:p%d away=app:web%a@kubernetes.io/hostname"},
		{"affinity", "p%d cpu=100m memory=100Mi labels=app:web%a near=app:web%a@topology.kubernetes.io/zone"},
		{"affinityPreferred", "p%d cpu=100m memory=100Mi labels=app:web%a likes=app:web%a@topology.kubernetes.io/zone*10 dislikes=app:web%a@kubernetes.io/hostname*50"},
	} {
		b.Run(k.name, func(b *testing.B) {
			s, c := benchCluster(b), New(DefaultProfile())
			pods := benchPods(b, k.line)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				pod := snapshot.NewPod(pods(i))
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

// BenchmarkPreempt makes room on 5,000 nodes that are full with Pods of lower priority, four on each, and places the Pod in it.
func BenchmarkPreempt(b *testing.B) {
	for _, k := range []struct{ name, line string }{
		{"plain", "p%d cpu=4 memory=100Mi priority=10"},
		{"spreadZone", "p%d cpu=4 memory=100Mi priority=10 labels=app:web%a spread=topology.kubernetes.io/zone:1"},
		{"antiAffinity", "p%d cpu=4 memory=100Mi priority=10 labels=app:web%a away=app:web%a@kubernetes.io/hostname"},
	} {
		b.Run(k.name, func(b *testing.B) {
			s, c := benchCluster(b), New(DefaultProfile())
			low := benchPods(b, "low%d cpu=4 memory=100Mi labels=app:low priority=1")
			for i := range 4 * benchNodes {
				s.Assume(snapshot.NewPod(low(i)), fmt.Sprintf("n%d", i%benchNodes))
			}
			pods := benchPods(b, k.line)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				pod := snapshot.NewPod(pods(i))
				d := c.Decide(pod, s)
				if d.Preempts == nil {
					b.Fatal(d.Message())
				}
				for _, v := range d.Preempts.Victims {
					s.Remove(v.Object.UID)
				}
				s.Assume(pod, d.Preempts.Node)
				i++
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// BenchmarkTurnedAway looks at Pods that fit nowhere, and says why on each of 5,000 nodes: each of another kind than the one before, or all replicas.
func BenchmarkTurnedAway(b *testing.B) {
	for _, k := range []struct{ name, line string }{{"different", "p%d cpu=17 labels=app:web%a"}, {"replicas", "p%d cpu=17 labels=app:web"}} {
		b.Run(k.name, func(b *testing.B) {
			s, c := benchCluster(b), New(DefaultProfile())
			pods := benchPods(b, k.line)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				if r := c.Decide(snapshot.NewPod(pods(i)), s); r.Node != "" {
					b.Fatal(r.Node)
				}
				i++
			}
			b.ReportMetric(float64(i)/b.Elapsed().Seconds(), "pods/s")
		})
	}
}

// benchPods makes Pods by number, each with an object of its own as from a watch.
func benchPods(b *testing.B, line string) func(i int) *corev1.Pod {
	b.Helper()
	return func(i int) *corev1.Pod {
		b.StopTimer()
		defer b.StartTimer()
		p := scheduletest.Pod(b, numbered(line, i))
		p.UID = types.UID(p.Name)
		return p
	}
}

func numbered(line string, i int) string {
	out := make([]byte, 0, len(line)+16)
	for at := 0; at < len(line); at++ {
		if line[at] != '%' {
			out = append(out, line[at])
			continue
		}
		at++
		if line[at] == 'd' {
			out = fmt.Append(out, i)
		} else {
			out = fmt.Append(out, i%10)
		}
	}
	return string(out)
}

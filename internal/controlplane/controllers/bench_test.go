package controllers_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
)

// BenchmarkDeploymentBound measures from the create of a Deployment to the binding of its last Pod, on a real API server with every controller running.
func BenchmarkDeploymentBound(b *testing.B) {
	for _, replicas := range []int{1, 100} {
		b.Run(fmt.Sprintf("replicas=%d", replicas), func(b *testing.B) {
			e := controllerstest.New(b)
			start(b, e)
			for i := range 50 {
				e.Node(b, fmt.Sprintf("node%d", i), "64", "256Gi")
			}
			w, err := e.Client.CoreV1().Pods("default").Watch(e.Ctx, metav1.ListOptions{})
			if err != nil {
				b.Fatal(err)
			}
			defer w.Stop()
			controllerstest.Eventually(b, "the default ServiceAccount is there", func() bool {
				_, err := e.Client.CoreV1().ServiceAccounts("default").Get(e.Ctx, "default", metav1.GetOptions{})
				return err == nil
			})
			var took []time.Duration
			i := 0
			for b.Loop() {
				name := fmt.Sprintf("web%d", i)
				i++
				began := time.Now()
				if _, err := e.Client.AppsV1().Deployments("default").Create(e.Ctx, web(name, int32(replicas), "example.com/web:1"), metav1.CreateOptions{}); err != nil {
					b.Fatal(err)
				}
				bound := map[string]bool{}
				for len(bound) < replicas {
					if p, ok := (<-w.ResultChan()).Object.(*corev1.Pod); ok && p.Labels["app"] == name && p.Spec.NodeName != "" {
						bound[p.Name] = true
					}
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
		})
	}
}

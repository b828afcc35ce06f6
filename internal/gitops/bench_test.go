package gitops_test

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// BenchmarkWebhookToApplied measures from the webhook's request being sent to the changed Deployment being written, over smart HTTP, with a
// commit that changes one of three objects.
func BenchmarkWebhookToApplied(b *testing.B) {
	w := start(b, nil)
	w.applied(w.push(shop("web:0")))
	var took []time.Duration
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		commit := w.repo.Push(shop(fmt.Sprintf("web:%d", n)))
		b.StartTimer()
		sent := time.Now()
		w.tell()
		app := w.until("applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
		took = append(took, app.Status.LastAppliedTime.Sub(sent))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
}

// BenchmarkDriftToReverted measures from a change against Git being acknowledged to its revert being written. It changes another object each
// time, so that it is not the guard against fights that is measured; -benchtime is to be at most 100x.
func BenchmarkDriftToReverted(b *testing.B) {
	const objects = 100
	w := start(b, nil)
	files := map[string]string{"deploy/namespace.yaml": namespace}
	for i := range objects {
		files[fmt.Sprintf("deploy/%d.yaml", i)] = strings.ReplaceAll(web("web:1"), "web", fmt.Sprintf("web%d", i))
	}
	w.applied(w.push(files))
	alice := w.as("alice").AppsV1().Deployments("shop")
	var took []time.Duration
	for n := 0; b.Loop(); n++ {
		name := fmt.Sprintf("web%d", n%objects)
		changes, err := alice.Watch(b.Context(), metav1.ListOptions{FieldSelector: "metadata.name=" + name})
		if err != nil {
			b.Fatal(err)
		}
		<-changes.ResultChan() // as it is
		if _, err := alice.Patch(b.Context(), name, types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{}); err != nil {
			b.Fatal(err)
		}
		acknowledged := time.Now()
		for e := range changes.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok && *d.Spec.Replicas == 0 {
				break
			}
		}
		took = append(took, time.Since(acknowledged))
		changes.Stop()
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-median")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1000, "ms-max")
}

// BenchmarkManyApplications measures, for many Applications in one repository with four objects each: from nothing to all synced, and one
// changed Application from the webhook to its objects being applied. -args are not needed; the count is in the benchmark's name.
func BenchmarkManyApplications(b *testing.B) {
	for _, n := range []int{10, 100, 1000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				many(b, n)
			}
		})
	}
}

func many(b *testing.B, n int) {
	w := start(b, func(a *v1alpha1.Application) { a.Spec.Source.Path = "apps" })
	files := map[string]string{"apps/namespace.yaml": namespace}
	folder := func(i int, image string) {
		files[fmt.Sprintf("app%d/all.yaml", i)] = fmt.Sprintf(`apiVersion: v1
kind: ServiceAccount
metadata: {name: a%[1]d, namespace: shop}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: a%[1]d, namespace: shop}
data: {key: value}
---
apiVersion: v1
kind: Service
metadata: {name: a%[1]d, namespace: shop}
spec: {selector: {app: a%[1]d}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: a%[1]d, namespace: shop}
spec:
  replicas: 0
  selector: {matchLabels: {app: a%[1]d}}
  template:
    metadata: {labels: {app: a%[1]d}}
    spec:
      containers: [{name: web, image: %[2]s}]
`, i, image)
		files["apps/apps.yaml"] += fmt.Sprintf(`apiVersion: gitopsd.io/v1alpha1
kind: Application
metadata: {name: a%d, namespace: gitopsd-system}
spec: {source: {repoURL: %q, path: app%d}, interval: 1h}
---
`, i, w.git.Repo(), i)
	}
	for i := range n {
		folder(i, "web:1")
	}
	began := time.Now()
	w.push(files)
	w.all(n+1, func(a *v1alpha1.Application) bool { return a.Status.Sync == "Synced" })
	b.ReportMetric(time.Since(began).Seconds(), "s-to-all-synced")
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	b.ReportMetric(float64(m.HeapAlloc)/(1<<20), "MiB-heap")

	delete(files, "apps/apps.yaml")
	for i := range n {
		folder(i, "web:1")
	}
	apps := files["apps/apps.yaml"]
	folder(0, "web:2")
	files["apps/apps.yaml"] = apps
	began = time.Now()
	commit := w.push(files)
	app := w.find("a0", "the changed Application", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
	b.ReportMetric(app.Status.LastAppliedTime.Sub(began).Seconds(), "s-one-changed-push-included")
	w.all(n+1, func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == commit })
	b.ReportMetric(time.Since(began).Seconds(), "s-all-looked-at")
}

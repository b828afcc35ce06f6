package gitops_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

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

// BenchmarkDriftToReverted measures from a change against Git being acknowledged to its revert being written.
func BenchmarkDriftToReverted(b *testing.B) {
	w := start(b, nil)
	w.applied(w.push(shop("web:0")))
	n := 0
	for b.Loop() {
		n++
		b.StopTimer()
		// Another object each time, so that it is not the guard against fights that is measured.
		w.applied(w.push(shop(fmt.Sprintf("web:%d", n))))
		b.StartTimer()
		w.editAs("alice", fmt.Sprintf(`{"spec":{"replicas":%d}}`, n))
		for *w.deployment().Spec.Replicas != 0 {
			time.Sleep(time.Millisecond)
		}
	}
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

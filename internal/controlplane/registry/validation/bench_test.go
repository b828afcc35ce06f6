package validation_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/objecttest"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// BenchmarkPod is what a Pod of ordinary size costs on its way in, besides decoding and storing.
func BenchmarkPod(b *testing.B) {
	scheme, err := objecttest.NewScheme()
	if err != nil {
		b.Fatal(err)
	}
	raw, err := objecttest.Parse(`
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, labels: {app: web, pod-template-hash: abc}}
spec:
  volumes: [{name: scratch}, {name: config, configMap: {name: web}}, {name: token, projected: {sources: [{serviceAccountToken: {path: token}}]}}]
  initContainers: [{name: migrate, image: "shop/migrate:1"}]
  containers:
  - name: app
    image: shop/web:1
    ports: [{containerPort: 8080, name: http}]
    env: [{name: A, value: b}, {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]
    resources: {requests: {cpu: 100m, memory: 64Mi}, limits: {memory: 128Mi}}
    readinessProbe: {httpGet: {port: http, path: /ready}}
    volumeMounts: [{name: scratch, mountPath: /tmp}, {name: config, mountPath: /etc/web}, {name: token, mountPath: /var/run/secrets}]
  tolerations: [{key: node.kubernetes.io/not-ready, operator: Exists, effect: NoExecute, tolerationSeconds: 300}]
`)
	if err != nil {
		b.Fatal(err)
	}
	obj, err := raw.Decode(scheme)
	if err != nil {
		b.Fatal(err)
	}
	pod := obj.(*corev1.Pod)
	b.ReportAllocs()
	for b.Loop() {
		scheme.Default(pod)
		if errs := validation.Pod(pod); len(errs) > 0 {
			b.Fatal(errs.ToAggregate())
		}
	}
}

package gitops_test

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// ofChart makes an Application nothing but the chart of a host, in a range of versions.
func ofChart(host *charts) func(*v1alpha1.Application) {
	return func(a *v1alpha1.Application) {
		a.Spec.TargetNamespace = "shop"
		a.Spec.Source = v1alpha1.Source{Rendering: v1alpha1.Rendering{Helm: &v1alpha1.Helm{
			Values:     &runtime.RawExtension{Raw: []byte(`{"colour":"red"}`)},
			ValuesFrom: []v1alpha1.HelmValuesFrom{{Kind: "ConfigMap", Name: "values", Optional: true}},
			Chart: &v1alpha1.HelmChart{
				HelmRepository: v1alpha1.HelmRepository{URL: host.url, SecretRef: &corev1.LocalObjectReference{Name: "charts"}}, Name: "web", Version: "1.x",
			},
		}}}
	}
}

func (b *bench) secret(namespace, name string, data map[string]string) {
	b.t.Helper()
	if _, err := b.kube.CoreV1().Secrets(namespace).Create(b.t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data}, metav1.CreateOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

// sync asks for a look as gitopsd sync does.
func (b *bench) sync(request string) {
	b.t.Helper()
	b.annotate(v1alpha1.AnnotationRequestedAt, request)
}

func (b *bench) annotate(name, value string) {
	b.t.Helper()
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{name: value}}})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.apps.Patch(b.t.Context(), "shop", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
		b.t.Fatal(err)
	}
}

func TestAnApplicationMayBeAChartAloneWhoseVersionsAreItsRevisions(t *testing.T) {
	host := chartHost(t)
	b := start(t, ofChart(host))
	b.secret("gitopsd-system", "charts", host.secret)
	b.sync("1")
	b.applied("1.0.0")
	b.until("it says so of the version", func(a *v1alpha1.Application) bool {
		c := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Message == "version 1.0.0 is applied and healthy"
	})
	chart := func() string {
		t.Helper()
		cm, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "shop", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return cm.Data["chart"] + " " + cm.Data["colour"]
	}
	if got := chart(); got != "1.0.0 red" {
		t.Errorf("the chart's ConfigMap says %q", got)
	}

	// A new version in the range is a new revision, which can be rolled back like a commit.
	host.newer.Store("1.1.0")
	b.sync("2")
	app := b.applied("1.1.0")
	if h := app.Status.History[0]; h.Revision != "1.1.0" || h.Message != "chart web 1.1.0" || h.Updated != 1 {
		t.Errorf("history %+v", h)
	}
	b.annotate(v1alpha1.AnnotationRollback, `{"to":"1.0.0","from":"1.1.0"}`)
	b.until("1.0.0 is applied again", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == "1.0.0" })
	if got := chart(); got != "1.0.0 red" {
		t.Errorf("after the rollback the chart's ConfigMap says %q", got)
	}

	// After a start the version that was applied is what drift is measured against.
	b.halt()
	if err := b.kube.CoreV1().ConfigMaps("shop").Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.until("the ConfigMap is back", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 && len(a.Status.Drift) == 0 })
	if got := chart(); got != "1.0.0 red" {
		t.Errorf("after a start the chart's ConfigMap says %q", got)
	}
}

func TestValuesOfAChartMayBeInTheCluster(t *testing.T) {
	host := chartHost(t)
	b := start(t, func(a *v1alpha1.Application) {
		ofChart(host)(a)
		a.Spec.Source.Helm.Values = nil
	})
	b.secret("gitopsd-system", "charts", host.secret)
	values := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "values"}, Data: map[string]string{"values.yaml": "colour: blue\n"}}
	if _, err := b.kube.CoreV1().ConfigMaps("gitopsd-system").Create(t.Context(), values, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	colour := func(want string) {
		t.Helper()
		b.until("the colour is "+want, func(*v1alpha1.Application) bool {
			cm, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "shop", metav1.GetOptions{})
			return err == nil && cm.Data["colour"] == want
		})
	}
	b.sync("1")
	colour("blue")
	values.Data["values.yaml"] = "colour: green\n"
	if _, err := b.kube.CoreV1().ConfigMaps("gitopsd-system").Update(t.Context(), values, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.sync("2")
	colour("green")
	values.Data = map[string]string{"other": ""}
	if _, err := b.kube.CoreV1().ConfigMaps("gitopsd-system").Update(t.Context(), values, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.edit(`{"spec":{"source":{"helm":{"valuesFrom":[{"kind":"ConfigMap","name":"values"}]}}}}`)
	b.sourceFails("InvalidSource", `has no key "values.yaml"`)
}

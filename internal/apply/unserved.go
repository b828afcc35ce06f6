package apply

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"github.com/gitopsd/gitopsd/internal/source"
)

// unserved says of an object whose kind neither the cluster nor the commit serves what its author can do. versions are those in which the cluster serves the
// kind all the same.
func unserved(s *source.Object, versions []string) *Error {
	gvk := s.GroupVersionKind()
	if len(versions) > 0 {
		return &Error{Source: s, Field: "apiVersion", Temporary: !builtIn(gvk.Group), Message: fmt.Sprintf(
			"the cluster does not serve %s in %s; use %s", gvk.Kind, gvk.GroupVersion(), strings.Join(newestFirst(versions), " or "))}
	}
	if remedy, ok := retired[gvk.GroupKind()]; ok {
		return &Error{Source: s, Field: "apiVersion", Message: fmt.Sprintf("the cluster does not serve %s in %s, which Kubernetes has given up; %s", gvk.Kind, gvk.GroupVersion(), remedy)}
	}
	e := &Error{Source: s, Field: "kind", Temporary: !builtIn(gvk.Group)}
	e.Message = fmt.Sprintf("the cluster knows no kind %s in %s; ", gvk.Kind, gvk.GroupVersion())
	if remedy, ok := said(s); ok {
		e.Message += remedy + "; or leave such objects out with spec.source.omit (docs/moving.md)"
		return e
	}
	e.Message += "correct apiVersion and kind"
	if e.Temporary {
		e.Message += ", add its CustomResourceDefinition to the commit, name the Application that brings it in spec.dependsOn, or leave such objects out with spec.source.omit"
	}
	return e
}

// builtIn says whether only a new release of gitopsd could serve more of a group. Any other may be served as soon as somebody defines it.
func builtIn(group string) bool {
	return Scheme.IsGroupRegistered(group) || group == "extensions"
}

// newestFirst sorts versions of one group so that the one to choose comes first: v2, v1, v1beta1.
func newestFirst(versions []string) []string {
	out := slices.Clone(versions)
	slices.SortFunc(out, func(a, b string) int {
		return version.CompareKubeAwareVersionStrings(versionOf(b), versionOf(a))
	})
	return out
}

func versionOf(groupVersion string) string {
	return groupVersion[strings.LastIndex(groupVersion, "/")+1:]
}

// retired are kinds that Kubernetes once served in groups where they are no longer, and what to write instead.
// https://kubernetes.io/docs/reference/using-api/deprecation-guide/
var retired = map[schema.GroupKind]string{
	{Group: "extensions", Kind: "Ingress"}:           "use networking.k8s.io/v1, where each backend is a service with a name and a port, and each path has a pathType",
	{Group: "extensions", Kind: "Deployment"}:        "use apps/v1, which wants spec.selector",
	{Group: "extensions", Kind: "DaemonSet"}:         "use apps/v1, which wants spec.selector",
	{Group: "extensions", Kind: "ReplicaSet"}:        "use apps/v1, which wants spec.selector",
	{Group: "extensions", Kind: "NetworkPolicy"}:     "use networking.k8s.io/v1",
	{Group: "extensions", Kind: "PodSecurityPolicy"}: podSecurity,
	{Group: "policy", Kind: "PodSecurityPolicy"}:     podSecurity,
}

const podSecurity = "remove it, and label Namespaces with pod-security.kubernetes.io/enforce instead"

// said says how an object of Flux or Argo CD is said to gitopsd, which does their work; false for any other.
func said(s *source.Object) (string, bool) {
	gk := s.GroupVersionKind().GroupKind()
	remedy, ok := translations[gk]
	switch {
	case ok:
	case strings.HasSuffix(gk.Group, ".toolkit.fluxcd.io"):
		return fmt.Sprintf("it is Flux's, and gitopsd has nothing like %s", gk.Kind), true
	default:
		return "", false
	}
	for _, field := range remedy.shown {
		if v, ok := s.Value(field); ok {
			if text, ok := v.(string); ok {
				return fmt.Sprintf("%s (here %s: %s)", remedy.text, field, text), true
			}
		}
	}
	return remedy.text, true
}

// translation is what to write instead of a kind, and which fields to quote, so that a reader knows the object: the first that is there.
type translation struct {
	text  string
	shown []string
}

var translations = map[schema.GroupKind]translation{
	{Group: "kustomize.toolkit.fluxcd.io", Kind: "Kustomization"}: {
		"gitopsd does Flux's work: write an Application of gitopsd.io/v1alpha1 whose spec.source.path is its spec.path", []string{"spec.path"}},
	{Group: "helm.toolkit.fluxcd.io", Kind: "HelmRelease"}: {
		"gitopsd does Flux's work: write an Application of gitopsd.io/v1alpha1 with the chart in spec.source.helm.chart and its values in spec.source.helm.values", []string{"spec.chart.spec.chart", "spec.chartRef.name"}},
	{Group: "source.toolkit.fluxcd.io", Kind: "GitRepository"}: {
		"gitopsd does Flux's work: its url, ref and secretRef belong into spec.source of the Applications that read it", []string{"spec.url"}},
	{Group: "source.toolkit.fluxcd.io", Kind: "HelmRepository"}: {
		"gitopsd does Flux's work: its url belongs into spec.source.helm.chart.url of the Applications that use it", []string{"spec.url"}},
	{Group: "source.toolkit.fluxcd.io", Kind: "OCIRepository"}: {
		"gitopsd does Flux's work: a chart's url belongs into spec.source.helm.chart.url of the Applications that use it", []string{"spec.url"}},
	{Group: "notification.toolkit.fluxcd.io", Kind: "Receiver"}: {
		"gitopsd does Flux's work: point the Git host at gitopsd's own webhook", nil},
	{Group: "argoproj.io", Kind: "Application"}: {
		"gitopsd does Argo CD's work: write an Application of gitopsd.io/v1alpha1 with the same spec.source.repoURL and spec.source.path", []string{"spec.source.path", "spec.source.chart"}},
	{Group: "argoproj.io", Kind: "ApplicationSet"}: {
		"gitopsd does Argo CD's work: write the Applications that it makes, of gitopsd.io/v1alpha1", nil},
	{Group: "argoproj.io", Kind: "AppProject"}: {
		"gitopsd does Argo CD's work: what an Application may do is limited by the rights of its spec.serviceAccountName", nil},
}

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
	if remedy, ok := said(gvk.GroupKind()); ok {
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

// said says of a kind of Flux's that package translate makes nothing of; false for any other.
func said(gk schema.GroupKind) (string, bool) {
	if strings.HasSuffix(gk.Group, ".fluxcd.io") {
		return fmt.Sprintf("it is Flux's, and gitopsd has nothing like %s", gk.Kind), true
	}
	return "", false
}

package aggregation

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

func TestGroupsAndVersionsAreReadFromTheListedPaths(t *testing.T) {
	got := localGroupVersions([]string{"/api", "/api/v1", "/apis", "/apis/apps", "/apis/apps/v1", "/healthz", "/openapi/v2", "/apis/batch/v1/"})
	want := []schema.GroupVersion{{Version: "v1"}, {Group: "apps", Version: "v1"}, {Group: "batch", Version: "v1"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("groups and versions (-want +got):\n%s", diff)
	}
}

func TestAVersionIsServedWhileOneDefinitionServesIt(t *testing.T) {
	crd := func(group, version string, served bool) *apiextensionsv1.CustomResourceDefinition {
		return &apiextensionsv1.CustomResourceDefinition{Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: group, Versions: []apiextensionsv1.CustomResourceDefinitionVersion{{Name: version, Served: served}},
		}}
	}
	all := []*apiextensionsv1.CustomResourceDefinition{crd("a.io", "v1", false), crd("a.io", "v1", true), crd("b.io", "v1", false)}
	for gv, want := range map[schema.GroupVersion]bool{
		{Group: "a.io", Version: "v1"}: true, {Group: "a.io", Version: "v2"}: false, {Group: "b.io", Version: "v1"}: false, {Group: "c.io", Version: "v1"}: false,
	} {
		if got := served(all, gv); got != want {
			t.Errorf("%s: served %v, want %v", gv, got, want)
		}
	}
}

func TestBuiltInGroupsComeBeforeCustomOnesAndNewerVersionsFirst(t *testing.T) {
	p := func(group, version string) priority {
		return priorityOf(schema.GroupVersion{Group: group, Version: version})
	}
	if core, apps, custom := p("", "v1").group, p("apps", "v1").group, p("example.com", "v1").group; core <= apps || apps <= custom {
		t.Errorf("core %d, apps %d, custom %d: want them in this order", core, apps, custom)
	}
	if v2, v1, beta := p("autoscaling", "v2").version, p("autoscaling", "v1").version, p("autoscaling", "v1beta1").version; v2 <= v1 || v1 <= beta {
		t.Errorf("v2 %d, v1 %d, v1beta1 %d: want them in this order", v2, v1, beta)
	}
}

package registry

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/randfill"
)

func sharedPod() *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "web", Namespace: "shop", UID: "1", ResourceVersion: "7", Labels: map[string]string{"app": "web"},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: strings.Clone("kubectl"), FieldsV1: metav1.NewFieldsV1(`{"f:spec":{}}`)}},
		},
		Spec: corev1.PodSpec{
			Containers: []corev1.Container{{
				Name: "web", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: apiresource.MustParse("100m")}},
			}},
			Volumes: []corev1.Volume{{Name: "token", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
				Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token"}}},
			}}}},
		},
	}
}

func TestVersionsOfAnObjectShareWhatDidNotChangeAndNothingElse(t *testing.T) {
	old, now := sharedPod(), sharedPod()
	now.ResourceVersion = "8"
	now.Status.Phase = corev1.PodRunning
	now.Annotations = map[string]string{"note": "new"}
	want := now.DeepCopy()
	share(old, now)
	if d := cmp.Diff(want, now); d != "" {
		t.Errorf("sharing changed the object (-want +got):\n%s", d)
	}
	if &old.Spec.Containers[0] != &now.Spec.Containers[0] {
		t.Error("the spec did not change and is stored twice")
	}
	if reflect.ValueOf(old.Labels).Pointer() != reflect.ValueOf(now.Labels).Pointer() {
		t.Error("the labels did not change and are stored twice")
	}
	if old.ManagedFields[0].FieldsV1 != now.ManagedFields[0].FieldsV1 {
		t.Error("the managed fields did not change and are stored twice")
	}

	changed := sharedPod()
	changed.Spec.Containers[0].Image = "web:v2"
	share(old, changed)
	if &old.Spec.Containers[0] == &changed.Spec.Containers[0] || changed.Spec.Containers[0].Image != "web:v2" || old.Spec.Containers[0].Image != "" {
		t.Error("a spec that changed was shared")
	}
}

func TestSharingNeverChangesWhatEitherObjectSays(t *testing.T) {
	for seed := range int64(200) {
		fill := randfill.NewWithSeed(seed).NilChance(0.3).NumElements(0, 2).MaxDepth(6).Funcs(
			func(q *apiresource.Quantity, c randfill.Continue) {
				*q = *apiresource.NewQuantity(c.Int63n(1000), apiresource.DecimalSI)
			},
			func(f *metav1.FieldsV1, c randfill.Continue) { f.SetRawString(`{}`) },
		)
		var a, b corev1.Pod
		fill.Fill(&a)
		fill.Fill(&b)
		b.Spec = *a.Spec.DeepCopy()
		wantA, wantB := a.DeepCopy(), b.DeepCopy()
		share(&a, &b)
		if d := cmp.Diff(wantA, &a); d != "" {
			t.Fatalf("seed %d: the older object changed (-want +got):\n%s", seed, d)
		}
		if d := cmp.Diff(wantB, &b); d != "" {
			t.Fatalf("seed %d: the newer object changed (-want +got):\n%s", seed, d)
		}
	}
}

func TestObjectsOfTwoTypesShareNothing(t *testing.T) {
	pod := sharedPod()
	want := pod.DeepCopy()
	share(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web", Labels: map[string]string{"app": "web"}}}, runtime.Object(pod))
	if d := cmp.Diff(want, pod); d != "" {
		t.Error(d)
	}
}

func TestWhatObjectsHaveAlikeIsThereOnceAndTheMemoryOfItIsBounded(t *testing.T) {
	var n interned
	a, b, other := sharedPod(), sharedPod(), sharedPod()
	other.Spec.Containers[0].Resources.Requests[corev1.ResourceMemory] = apiresource.MustParse("1Gi")
	other.Labels = map[string]string{"app": "we", "b": ""}
	other.Spec.Volumes[0].Projected.Sources[0].ServiceAccountToken.Path = "elsewhere"
	for i, p := range []*corev1.Pod{a, b, other} {
		p.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: fmt.Sprint("token-", i), MountPath: "/token"}}
	}
	want := []*corev1.Pod{a.DeepCopy(), b.DeepCopy(), other.DeepCopy()}
	for _, p := range []*corev1.Pod{a, b, other} {
		n.managedFields(p.ManagedFields)
		n.pod(p)
	}
	if d := cmp.Diff(want, []*corev1.Pod{a, b, other}); d != "" {
		t.Errorf("sharing changed the objects (-want +got):\n%s", d)
	}
	if a.ManagedFields[0].FieldsV1 != b.ManagedFields[0].FieldsV1 {
		t.Error("two objects with the same managed fields hold them twice")
	}
	requests := func(p *corev1.Pod) uintptr { return reflect.ValueOf(p.Spec.Containers[0].Resources.Requests).Pointer() }
	if requests(a) != requests(b) {
		t.Error("two Pods that ask for the same hold it twice")
	}
	if requests(a) == requests(other) {
		t.Error("two Pods that ask for different things share what they ask for")
	}
	if a.Spec.Volumes[0].Projected != b.Spec.Volumes[0].Projected {
		t.Error("two Pods with the same projected volume hold it twice")
	}
	if a.Spec.Volumes[0].Projected == other.Spec.Volumes[0].Projected {
		t.Error("two Pods with different projected volumes share one")
	}
	if reflect.ValueOf(a.Labels).Pointer() != reflect.ValueOf(b.Labels).Pointer() {
		t.Error("two Pods with the same labels hold them twice")
	}
	if reflect.ValueOf(a.Labels).Pointer() == reflect.ValueOf(other.Labels).Pointer() {
		t.Error("two Pods with different labels share them")
	}
	if unsafe.StringData(a.ManagedFields[0].Manager) != unsafe.StringData(b.ManagedFields[0].Manager) {
		t.Error("two objects with the same manager hold its name twice")
	}
	for i := range 3 * maxInterned {
		n.managedFields([]metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1(string(rune('a' + i)))}})
	}
	if len(n.fields.known) > maxInterned {
		t.Errorf("%d lists are remembered, want at most %d", len(n.fields.known), maxInterned)
	}
}

package deployment

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// The values are fixed: were they to change with a version of this program or of the API, ReplicaSets would not be found again by name, and after
// a loss of etcd running Pods would not be recognised by their labels.
func TestTheHashOfATemplateIsTheSameInEveryVersion(t *testing.T) {
	template := &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "tier": "front"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "example.com/web:1"}}},
	}
	for _, c := range []struct {
		collisions *int32
		want       string
	}{
		{nil, "6d4d94f78b"},
		{ptr.To[int32](0), "799d94f94b"},
		{ptr.To[int32](1), "b4db5f65f"},
	} {
		if got := templateHash(template, c.collisions); got != c.want {
			t.Errorf("with collision count %v the hash is %q, want %q", c.collisions, got, c.want)
		}
	}
}

func TestATemplateEqualsThatOfItsReplicaSetButForTheHashLabel(t *testing.T) {
	d := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	rs := &corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web", "pod-template-hash": "abc"}}}
	if !sameTemplate(d, rs) {
		t.Error("the hash label makes a difference")
	}
	rs.Spec.NodeName = "n1"
	if sameTemplate(d, rs) {
		t.Error("a difference in the spec makes none")
	}
}

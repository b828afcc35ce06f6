package replicaset

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Names of Pods end in so many random characters, and stay usable as host names: a DNS label holds 63 (RFC 1123).
const (
	suffixLength  = 5
	maxNameLength = 63
)

// podName makes a name for a new Pod. The controller chooses it, not the API server's generateName, so that a create whose answer was
// lost can be sent again without making a second Pod.
func podName(rs *appsv1.ReplicaSet) string {
	base := rs.Name + "-"
	if most := maxNameLength - suffixLength; len(base) > most {
		base = base[:most]
	}
	return base + rand.String(suffixLength)
}

func newPod(rs *appsv1.ReplicaSet, kind schema.GroupVersionKind, name string) *corev1.Pod {
	t := &rs.Spec.Template
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       rs.Namespace,
			Name:            name,
			GenerateName:    rs.Name + "-", // shown, not used: readers of the API expect it on a replicated Pod
			Labels:          maps.Clone(t.Labels),
			Annotations:     maps.Clone(t.Annotations),
			Finalizers:      slices.Clone(t.Finalizers),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(rs, kind)},
		},
		Spec: *t.Spec.DeepCopy(),
	}
}

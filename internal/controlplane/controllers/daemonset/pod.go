package daemonset

import (
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

var kind = appsv1.SchemeGroupVersion.WithKind("DaemonSet")

// Names of Pods end in so many random characters, and stay usable as host names: a DNS label holds 63 (RFC 1123).
const (
	suffixLength  = 5
	maxNameLength = 63
)

// podName makes a name for a new Pod. The controller chooses it, not the API server's generateName, so that a create whose answer was lost can be asked after.
func podName(set *appsv1.DaemonSet) string {
	base := set.Name + "-"
	if most := maxNameLength - suffixLength; len(base) > most {
		base = base[:most]
	}
	return base + rand.String(suffixLength)
}

// newPod is a Pod of the template's revision for one node.
func newPod(set *appsv1.DaemonSet, name, node, hash string) *corev1.Pod {
	t := &set.Spec.Template
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			Name:            name,
			GenerateName:    set.Name + "-", // shown, not used: readers of the API expect it on a replicated Pod
			Labels:          maps.Clone(t.Labels),
			Annotations:     maps.Clone(t.Annotations),
			Finalizers:      slices.Clone(t.Finalizers),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Spec: *t.Spec.DeepCopy(),
	}
	metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.DefaultDaemonSetUniqueLabelKey, hash)
	tolerate(&pod.Spec)
	pin(&pod.Spec, node)
	return pod
}

// pin has the scheduler put the Pod on the node. It takes the place of the template's required node affinity, which the node has been seen to meet: terms are
// alternatives, so another beside it would let the Pod go elsewhere.
func pin(spec *corev1.PodSpec, node string) {
	if spec.Affinity == nil {
		spec.Affinity = &corev1.Affinity{}
	}
	if spec.Affinity.NodeAffinity == nil {
		spec.Affinity.NodeAffinity = &corev1.NodeAffinity{}
	}
	spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution = &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
		MatchFields: []corev1.NodeSelectorRequirement{{Key: metav1.ObjectNameField, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
	}}}
}

// nodeOf is the node that a Pod is on or, before it is bound, the one it is for; "" for a Pod that says neither.
func nodeOf(pod *corev1.Pod) string {
	if pod.Spec.NodeName != "" {
		return pod.Spec.NodeName
	}
	a := pod.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return ""
	}
	for _, t := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
		for _, r := range t.MatchFields {
			if r.Key == metav1.ObjectNameField && r.Operator == corev1.NodeSelectorOpIn && len(r.Values) == 1 {
				return r.Values[0]
			}
		}
	}
	return ""
}

func hashOf(pod *corev1.Pod) string { return pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] }

package statefulset

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

var (
	kind    = appsv1.SchemeGroupVersion.WithKind("StatefulSet")
	podKind = corev1.SchemeGroupVersion.WithKind("Pod")
)

// Revision is a template of the StatefulSet, and the name of the ControllerRevision that holds it.
type Revision struct {
	Name     string
	Template *corev1.PodTemplateSpec
}

// start is the first ordinal.
func start(set *appsv1.StatefulSet) int {
	if set.Spec.Ordinals == nil {
		return 0
	}
	return int(set.Spec.Ordinals.Start)
}

func size(set *appsv1.StatefulSet) int { return int(ptr.Deref(set.Spec.Replicas, 1)) }

func podName(set *appsv1.StatefulSet, ordinal int) string {
	return set.Name + "-" + strconv.Itoa(ordinal)
}

// member splits a name into that of a StatefulSet and the ordinal. An ordinal is written in one way only: "web-01" is nobody's.
func member(name string) (set string, ordinal int, ok bool) {
	i := strings.LastIndexByte(name, '-')
	if i <= 0 {
		return "", 0, false
	}
	n, err := strconv.ParseInt(name[i+1:], 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name[i+1:] {
		return "", 0, false
	}
	return name[:i], int(n), true
}

// ordinalOf is that of a Pod of the StatefulSet.
func ordinalOf(set *appsv1.StatefulSet, name string) (int, bool) {
	parent, ordinal, ok := member(name)
	return ordinal, ok && parent == set.Name
}

// inRange says that the StatefulSet, as large as it is to be, has the ordinal.
func inRange(set *appsv1.StatefulSet, ordinal int) bool {
	return ordinal >= start(set) && ordinal < start(set)+size(set)
}

func revisionOf(pod *corev1.Pod) string { return pod.Labels[appsv1.StatefulSetRevisionLabel] }

// newPod is the Pod of an ordinal.
func newPod(set *appsv1.StatefulSet, r Revision, ordinal int) *corev1.Pod {
	t := r.Template
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			Name:            podName(set, ordinal),
			GenerateName:    set.Name + "-", // shown, not used: readers of the API expect it on a replicated Pod
			Labels:          maps.Clone(t.Labels),
			Annotations:     maps.Clone(t.Annotations),
			Finalizers:      slices.Clone(t.Finalizers),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)},
		},
		Spec: *t.Spec.DeepCopy(),
	}
	metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.StatefulSetRevisionLabel, r.Name)
	identify(pod, ordinal)
	pod.Spec.Hostname, pod.Spec.Subdomain = pod.Name, set.Spec.ServiceName
	pod.Spec.Volumes = withClaims(set, ordinal, pod.Spec.Volumes)
	return pod
}

// identify puts a Pod's identity into its labels, by which Services and people choose it.
func identify(pod *corev1.Pod, ordinal int) {
	metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.StatefulSetPodNameLabel, pod.Name)
	metav1.SetMetaDataLabel(&pod.ObjectMeta, appsv1.PodIndexLabel, strconv.Itoa(ordinal))
}

func identified(pod *corev1.Pod) bool {
	return pod.Labels[appsv1.StatefulSetPodNameLabel] == pod.Name
}

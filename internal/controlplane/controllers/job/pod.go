package job

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// kind is a Job, as its Pods' owner references name it.
var kind = batchv1.SchemeGroupVersion.WithKind("Job")

// Names of Pods end in so many random characters, and stay usable as host names: a DNS label holds 63 (RFC 1123).
const (
	suffixLength  = 5
	maxNameLength = 63
)

// indexEnv is the variable that tells a container of an indexed Job its index, by the name that the Job API documents.
const indexEnv = "JOB_COMPLETION_INDEX"

// namePrefix is what the names of the Pods begin with; of an indexed Job it ends in the index, also where the Job's name has to be cut.
func namePrefix(job *batchv1.Job, index int) string {
	end := "-"
	if indexed(job) {
		end = fmt.Sprintf("-%d-", index)
	}
	base := job.Name
	if most := maxNameLength - suffixLength - len(end); len(base) > most {
		base = base[:most]
	}
	return base + end
}

// indexOfName reads the index from a name that namePrefix began; -1 from another.
func indexOfName(name string) int {
	parts := strings.Split(name, "-")
	if len(parts) < 3 {
		return -1
	}
	i, err := strconv.Atoi(parts[len(parts)-2])
	if err != nil {
		return -1
	}
	return i
}

// podName makes up a name. The controller chooses it, not the API server, so that a create whose answer was lost can be sent again without making a second
// Pod.
func podName(job *batchv1.Job, index int) string {
	return namePrefix(job, index) + rand.String(suffixLength)
}

func newPod(job *batchv1.Job, n NewPod) *corev1.Pod {
	t := &job.Spec.Template
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       job.Namespace,
			Name:            n.Name,
			GenerateName:    namePrefix(job, n.Index), // shown, not used: readers of the API expect it on such a Pod
			Labels:          maps.Clone(t.Labels),
			Annotations:     maps.Clone(t.Annotations),
			Finalizers:      slices.Clone(t.Finalizers),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(job, kind)},
		},
		Spec: *t.Spec.DeepCopy(),
	}
	if !tracked(pod) {
		pod.Finalizers = append(pod.Finalizers, batchv1.JobTrackingFinalizer)
	}
	if indexed(job) {
		setIndex(pod, job, n)
	}
	return pod
}

// setIndex tells a Pod, and through it its containers, which part of the work is its own.
func setIndex(pod *corev1.Pod, job *batchv1.Job, n NewPod) {
	if pod.Annotations == nil {
		pod.Annotations = map[string]string{}
	}
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	pod.Annotations[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(n.Index)
	pod.Labels[batchv1.JobCompletionIndexAnnotation] = strconv.Itoa(n.Index)
	pod.Spec.Hostname = fmt.Sprintf("%s-%d", job.Name, n.Index)
	if n.CarriesFailures {
		pod.Annotations[batchv1.JobIndexFailureCountAnnotation] = strconv.Itoa(n.Failures)
		if n.IgnoredFailures > 0 {
			pod.Annotations[batchv1.JobIndexIgnoredFailureCountAnnotation] = strconv.Itoa(n.IgnoredFailures)
		}
	}
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if !slices.ContainsFunc(list[i].Env, func(e corev1.EnvVar) bool { return e.Name == indexEnv }) {
				list[i].Env = append(list[i].Env, corev1.EnvVar{Name: indexEnv, ValueFrom: &corev1.EnvVarSource{
					FieldRef: &corev1.ObjectFieldSelector{FieldPath: fmt.Sprintf("metadata.labels['%s']", batchv1.JobCompletionIndexAnnotation)},
				}})
			}
		}
	}
}

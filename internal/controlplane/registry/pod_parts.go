package registry

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// podPartStrategy lets a subresource of a Pod change one part of its spec and nothing else.
type podPartStrategy struct {
	rest.RESTUpdateStrategy
	// take copies the part into pod.
	take func(pod, from *corev1.Pod)
	// judge is asked about the Pod with its new part.
	judge func(pod, old *corev1.Pod) field.ErrorList
}

func (s podPartStrategy) PrepareForUpdate(_ context.Context, obj, old runtime.Object) {
	pod, was := obj.(*corev1.Pod), old.(*corev1.Pod)
	next := was.DeepCopy()
	s.take(next, pod)
	// The version that the client read is what makes the write conditional; the owners of the fields were worked out by the library.
	next.ResourceVersion, next.ManagedFields = pod.ResourceVersion, pod.ManagedFields
	if !apiequality.Semantic.DeepEqual(next.Spec, was.Spec) {
		next.Generation++
	}
	*pod = *next
}

func (s podPartStrategy) ValidateUpdate(_ context.Context, obj, old runtime.Object) field.ErrorList {
	return s.judge(obj.(*corev1.Pod), old.(*corev1.Pod))
}

// takeEphemeral is the part that `kubectl debug` writes.
func takeEphemeral(pod, from *corev1.Pod) {
	pod.Spec.EphemeralContainers = from.Spec.EphemeralContainers
}

// takeResources is the part that the resize subresource writes. Where containers were added, moved or renamed the lists are taken as they are, for
// validation to refuse.
func takeResources(pod, from *corev1.Pod) {
	pod.Spec.Resources = from.Spec.Resources
	pod.Spec.Containers = resized(pod.Spec.Containers, from.Spec.Containers)
	pod.Spec.InitContainers = resized(pod.Spec.InitContainers, from.Spec.InitContainers)
}

func resized(list, from []corev1.Container) []corev1.Container {
	if len(list) != len(from) {
		return from
	}
	for i := range list {
		if list[i].Name != from[i].Name {
			return from
		}
		list[i].Resources, list[i].ResizePolicy = from[i].Resources, from[i].ResizePolicy
	}
	return list
}

// podParts are the subresources that write one part of a Pod.
func podParts(update rest.RESTUpdateStrategy) map[string]rest.RESTUpdateStrategy {
	return map[string]rest.RESTUpdateStrategy{
		"ephemeralcontainers": podPartStrategy{update, takeEphemeral, validation.PodEphemeralContainersUpdate},
		"resize": podPartStrategy{update, takeResources, func(pod, old *corev1.Pod) field.ErrorList {
			return validation.PodResizeUpdate(pod, old, qosClass(pod))
		}},
	}
}

package validation

import (
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodResizeUpdate says what may be written through the resize subresource, whose rest the caller has put back: cpu and memory of containers and of
// sidecars. quality is how the Pod would be classed with its new resources: a node has placed it by the class that it was created with.
func PodResizeUpdate(obj, old *corev1.Pod, quality corev1.PodQOSClass) field.ErrorList {
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	}
	if old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	errs := podMetaUpdate(obj, old)
	errs = append(errs, podContent(obj)...)
	if old.Status.QOSClass != "" && quality != old.Status.QOSClass {
		errs = append(errs, field.Invalid(specPath, quality, "Pod QOS Class may not change as a result of resizing"))
	}
	if len(obj.Spec.Containers) != len(old.Spec.Containers) || len(obj.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable"))
	}
	rest := obj.Spec.DeepCopy()
	for i := range rest.Containers {
		at := specPath.Child("containers").Index(i)
		if rest.Containers[i].Name != old.Spec.Containers[i].Name {
			errs = append(errs, field.Forbidden(at.Child("name"), "containers may not be renamed or reordered on resize"))
			continue
		}
		errs = append(errs, containerResize(at.Child("resources"), &rest.Containers[i].Resources, &old.Spec.Containers[i].Resources)...)
		keepResizable(&rest.Containers[i].Resources, &old.Spec.Containers[i].Resources)
	}
	for i := range rest.InitContainers {
		c, was := &rest.InitContainers[i], &old.Spec.InitContainers[i]
		at := specPath.Child("initContainers").Index(i)
		if c.Name != was.Name {
			errs = append(errs, field.Forbidden(at.Child("name"), "containers may not be renamed or reordered on resize"))
			continue
		}
		if !isSidecar(c) {
			if !apiequality.Semantic.DeepEqual(c.Resources, was.Resources) {
				errs = append(errs, field.Forbidden(specPath, "resources for non-sidecar init containers are immutable"))
			}
			c.Resources = was.Resources
			continue
		}
		errs = append(errs, containerResize(at.Child("resources"), &c.Resources, &was.Resources)...)
		keepResizable(&c.Resources, &was.Resources)
	}
	if rest.Resources != nil && old.Spec.Resources != nil {
		keepResizable(rest.Resources, old.Spec.Resources)
	}
	if len(errs) == 0 && !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable"))
	}
	return errs
}

// containerResize wants what a container had to stay named: without a request or limit it would be another kind of container to its node.
func containerResize(at *field.Path, obj, old *corev1.ResourceRequirements) field.ErrorList {
	var errs field.ErrorList
	for _, part := range []struct {
		child    string
		now, was corev1.ResourceList
	}{{"requests", obj.Requests, old.Requests}, {"limits", obj.Limits, old.Limits}} {
		for _, name := range sortedKeys(part.was) {
			if _, ok := part.now[name]; !ok {
				errs = append(errs, field.Forbidden(at.Child(part.child), "resource "+part.child+" cannot be removed"))
				break
			}
		}
	}
	return errs
}

// keepResizable sets the cpu and memory of r to what they were.
func keepResizable(r, old *corev1.ResourceRequirements) {
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		for _, pair := range []struct {
			list *corev1.ResourceList
			was  corev1.ResourceList
		}{{&r.Requests, old.Requests}, {&r.Limits, old.Limits}} {
			was, ok := pair.was[name]
			switch {
			case !ok:
				delete(*pair.list, name)
			case *pair.list == nil:
				*pair.list = corev1.ResourceList{name: was}
			default:
				(*pair.list)[name] = was
			}
		}
	}
}

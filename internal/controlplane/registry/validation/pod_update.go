package validation

import (
	"math"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// PodUpdate says what a Pod may be replaced with. A Pod's spec is what its node acts on once, so nearly all of it stays as it
// was created: images may change, deadlines may shrink, tolerations may be added, and while scheduling gates hold a Pod back,
// gates may go and the choice of nodes may become narrower.
func PodUpdate(obj, old *corev1.Pod) field.ErrorList {
	errs := podMetaUpdate(obj, old)
	errs = append(errs, podContent(obj)...)
	spec, oldSpec := &obj.Spec, &old.Spec
	if len(spec.Containers) != len(oldSpec.Containers) {
		return append(errs, field.Forbidden(specPath.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(spec.InitContainers) != len(oldSpec.InitContainers) {
		return append(errs, field.Forbidden(specPath.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	errs = append(errs, activeDeadlineUpdate(specPath.Child("activeDeadlineSeconds"), spec.ActiveDeadlineSeconds, oldSpec.ActiveDeadlineSeconds)...)
	errs = append(errs, tolerationsUpdate(specPath.Child("tolerations"), spec.Tolerations, oldSpec.Tolerations)...)
	gated := len(oldSpec.SchedulingGates) > 0
	errs = append(errs, schedulingGatesUpdate(specPath.Child("schedulingGates"), spec.SchedulingGates, oldSpec.SchedulingGates)...)
	if gated {
		errs = append(errs, nodeSelectorUpdate(specPath.Child("nodeSelector"), spec.NodeSelector, oldSpec.NodeSelector)...)
		errs = append(errs, nodeAffinityUpdate(specPath.Child("affinity", "nodeAffinity"), spec.Affinity, oldSpec.Affinity)...)
	}
	// What may differ has been looked at: put it back, and nothing else may.
	if rest := withMutableFieldsOf(spec, oldSpec, gated); !apiequality.Semantic.DeepEqual(*rest, *oldSpec) {
		errs = append(errs, field.Forbidden(specPath, "pod updates may not change fields other than `spec.containers[*].image`,"+
			"`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"+
			"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"+diff.Diff(*oldSpec, *rest)))
	}
	return errs
}

// podMetaUpdate says what of a Pod's metadata may change, through whichever subresource. Whether it is the mirror of a static Pod was said when it was
// created: nodes leave mirrors alone, and would leave alone one that only claims to be.
func podMetaUpdate(obj, old *corev1.Pod) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	at := metadataPath.Child("annotations").Key(corev1.MirrorPodAnnotationKey)
	now, is := obj.Annotations[corev1.MirrorPodAnnotationKey]
	before, was := old.Annotations[corev1.MirrorPodAnnotationKey]
	switch {
	case is && !was:
		errs = append(errs, field.Forbidden(at, "may not add mirror pod annotation"))
	case is != was || now != before:
		errs = append(errs, field.Forbidden(at, "may not remove or update mirror pod annotation"))
	}
	return errs
}

// withMutableFieldsOf is spec with the fields that an update may change as they are in old.
func withMutableFieldsOf(spec, old *corev1.PodSpec, gated bool) *corev1.PodSpec {
	spec = spec.DeepCopy()
	for i := range spec.Containers {
		spec.Containers[i].Image = old.Containers[i].Image
	}
	for i := range spec.InitContainers {
		spec.InitContainers[i].Image = old.InitContainers[i].Image
	}
	spec.ActiveDeadlineSeconds = old.ActiveDeadlineSeconds
	spec.Tolerations = old.Tolerations
	spec.SchedulingGates = old.SchedulingGates
	if o, n := old.TerminationGracePeriodSeconds, spec.TerminationGracePeriodSeconds; o != nil && *o < 0 && n != nil && *n == 1 {
		spec.TerminationGracePeriodSeconds = o
	}
	// Two names of one field; the rules are about the new one.
	if spec.ServiceAccountName == old.ServiceAccountName {
		spec.DeprecatedServiceAccount = old.DeprecatedServiceAccount
	}
	if !gated {
		return spec
	}
	spec.NodeSelector = old.NodeSelector
	var now, was corev1.Affinity // no affinity and an empty one are the same
	if spec.Affinity != nil {
		now = *spec.Affinity
	}
	if old.Affinity != nil {
		was = *old.Affinity
	}
	now.NodeAffinity = was.NodeAffinity
	if spec.Affinity = &now; apiequality.Semantic.DeepEqual(now, was) {
		spec.Affinity = old.Affinity
	}
	return spec
}

func activeDeadlineUpdate(at *field.Path, obj, old *int64) field.ErrorList {
	switch {
	case old == nil:
		return nil // podContent has checked the new value
	case obj == nil:
		return field.ErrorList{field.Invalid(at, nil, "must not update from a positive integer to nil value")}
	case *obj < 0 || *obj > math.MaxInt32:
		return field.ErrorList{field.Invalid(at, *obj, validation.InclusiveRangeError(0, math.MaxInt32))}
	case *obj > *old:
		return field.ErrorList{field.Invalid(at, *obj, "must be less than or equal to previous value")}
	}
	return nil
}

// tolerationsUpdate lets tolerations be added, and the seconds of one change.
func tolerationsUpdate(at *field.Path, obj, old []corev1.Toleration) field.ErrorList {
	for i := range old {
		kept := slices.ContainsFunc(obj, func(t corev1.Toleration) bool { return t.MatchToleration(&old[i]) })
		if !kept {
			return field.ErrorList{field.Forbidden(at, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

func schedulingGatesUpdate(at *field.Path, obj, old []corev1.PodSchedulingGate) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range obj {
		if !slices.Contains(old, gate) {
			errs = append(errs, field.Forbidden(at.Index(i), "only deletion is allowed, but found new scheduling gate '"+gate.Name+"'"))
		}
	}
	return errs
}

func nodeSelectorUpdate(at *field.Path, obj, old map[string]string) field.ErrorList {
	for key, value := range old {
		if now, ok := obj[key]; !ok || now != value {
			return field.ErrorList{field.Invalid(at, obj, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")}
		}
	}
	return nil
}

// nodeAffinityUpdate lets a gated Pod's choice of nodes become narrower: each term, of which one is enough, may get further
// requirements, all of which are needed. Preferences are free.
func nodeAffinityUpdate(at *field.Path, obj, old *corev1.Affinity) field.ErrorList {
	var objRequired, oldRequired *corev1.NodeSelector
	if obj != nil && obj.NodeAffinity != nil {
		objRequired = obj.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if old != nil && old.NodeAffinity != nil {
		oldRequired = old.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	if oldRequired == nil {
		return nil
	}
	at = at.Child("requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")
	if objRequired == nil || len(objRequired.NodeSelectorTerms) != len(oldRequired.NodeSelectorTerms) {
		var terms []corev1.NodeSelectorTerm
		if objRequired != nil {
			terms = objRequired.NodeSelectorTerms
		}
		return field.ErrorList{field.Invalid(at, terms, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range oldRequired.NodeSelectorTerms {
		o, n := &oldRequired.NodeSelectorTerms[i], &objRequired.NodeSelectorTerms[i]
		// A term without requirements matches no node: narrower than it is nothing.
		empty := len(o.MatchExpressions) == 0 && len(o.MatchFields) == 0
		changed := empty && len(n.MatchExpressions)+len(n.MatchFields) > 0
		if changed || !containsAll(n.MatchExpressions, o.MatchExpressions) || !containsAll(n.MatchFields, o.MatchFields) {
			errs = append(errs, field.Invalid(at.Index(i), *n, "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func containsAll(list, wanted []corev1.NodeSelectorRequirement) bool {
	for i := range wanted {
		if !slices.ContainsFunc(list, func(r corev1.NodeSelectorRequirement) bool {
			return apiequality.Semantic.DeepEqual(r, wanted[i])
		}) {
			return false
		}
	}
	return true
}

// PodEphemeralContainersUpdate says what may be written through the ephemeralcontainers subresource, whose rest the caller has
// put back: containers may be added, and stay as they are from then on.
func PodEphemeralContainersUpdate(obj, old *corev1.Pod) field.ErrorList {
	errs := podMetaUpdate(obj, old)
	errs = append(errs, podContent(obj)...)
	at := specPath.Child("ephemeralContainers")
	if _, mirror := old.Annotations[corev1.MirrorPodAnnotationKey]; mirror {
		return append(errs, field.Forbidden(at, "static pods do not support ephemeral containers"))
	}
	byName := map[string]*corev1.EphemeralContainer{}
	for i := range obj.Spec.EphemeralContainers {
		byName[obj.Spec.EphemeralContainers[i].Name] = &obj.Spec.EphemeralContainers[i]
	}
	for i := range old.Spec.EphemeralContainers {
		o := &old.Spec.EphemeralContainers[i]
		switch n := byName[o.Name]; {
		case n == nil:
			errs = append(errs, field.Forbidden(at, "existing ephemeral containers \""+o.Name+"\" may not be removed\n"))
		case !apiequality.Semantic.DeepEqual(n, o):
			errs = append(errs, field.Forbidden(at, "existing ephemeral containers \""+o.Name+"\" may not be changed\n"+diff.Diff(*o, *n)))
		}
	}
	return errs
}

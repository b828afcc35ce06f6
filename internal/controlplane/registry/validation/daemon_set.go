package validation

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// DaemonSet says what may be created.
func DaemonSet(obj *appsv1.DaemonSet) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, daemonSetSpec(&obj.Spec)...)
}

// DaemonSetUpdate says what a DaemonSet may be replaced with.
func DaemonSetUpdate(obj, old *appsv1.DaemonSet) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, daemonSetSpec(&obj.Spec)...)
	return append(errs, validateImmutable(obj.Spec.Selector, old.Spec.Selector, specPath.Child("selector"))...)
}

func daemonSetSpec(spec *appsv1.DaemonSetSpec) field.ErrorList {
	errs := workload("daemonset", spec.Selector, &spec.Template)
	errs = append(errs, nonNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	errs = append(errs, daemonSetStrategy(specPath.Child("updateStrategy"), &spec.UpdateStrategy)...)
	return append(errs, optionalNonNegative(specPath.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit)...)
}

// daemonSetStrategy wants an update to replace a node's Pod either first or last: with both or neither of surge and unavailable it could not decide.
func daemonSetStrategy(at *field.Path, s *appsv1.DaemonSetUpdateStrategy) field.ErrorList {
	errs := oneOf(at.Child("type"), s.Type, appsv1.RollingUpdateDaemonSetStrategyType, appsv1.OnDeleteDaemonSetStrategyType)
	if s.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		return errs
	}
	at = at.Child("rollingUpdate")
	if s.RollingUpdate == nil {
		return append(errs, field.Required(at, ""))
	}
	unavailable, surge := s.RollingUpdate.MaxUnavailable, s.RollingUpdate.MaxSurge
	if unavailable != nil {
		errs = append(errs, share(at.Child("maxUnavailable"), unavailable)...)
		errs = append(errs, atMostAll(at.Child("maxUnavailable"), *unavailable)...)
	}
	if surge != nil {
		errs = append(errs, share(at.Child("maxSurge"), surge)...)
		errs = append(errs, atMostAll(at.Child("maxSurge"), *surge)...)
	}
	switch before, after := !isZeroShare(unavailable), !isZeroShare(surge); {
	case before && after:
		errs = append(errs, field.Invalid(at.Child("maxSurge"), surge, "may not be set when maxUnavailable is non-zero"))
	case !before && !after:
		errs = append(errs, field.Required(at.Child("maxUnavailable"), "cannot be 0 when maxSurge is 0"))
	}
	return errs
}

// DaemonSetStatusUpdate says what the DaemonSet controller may report.
func DaemonSetStatusUpdate(obj, old *appsv1.DaemonSet) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	s := &obj.Status
	for _, c := range []count{
		{"currentNumberScheduled", s.CurrentNumberScheduled}, {"numberMisscheduled", s.NumberMisscheduled}, {"desiredNumberScheduled", s.DesiredNumberScheduled},
		{"numberReady", s.NumberReady}, {"updatedNumberScheduled", s.UpdatedNumberScheduled}, {"numberAvailable", s.NumberAvailable}, {"numberUnavailable", s.NumberUnavailable},
	} {
		errs = append(errs, nonNegative(statusPath.Child(c.name), c.n)...)
	}
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	return append(errs, collisionCount(s.CollisionCount, old.Status.CollisionCount)...)
}

// collisionCount wants the number that salts the names of what a controller makes not to shrink: an older salt would bring back a name that is taken.
func collisionCount(n, was *int32) field.ErrorList {
	at := statusPath.Child("collisionCount")
	errs := optionalNonNegative(at, n)
	if was != nil && (n == nil || *n < *was) {
		errs = append(errs, field.Invalid(at, n, "cannot be decremented"))
	}
	return errs
}

// ControllerRevision says what may be created: a snapshot that decodes as an object.
func ControllerRevision(obj *appsv1.ControllerRevision) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, nonNegative(field.NewPath("revision"), obj.Revision)...)
	return append(errs, jsonObject(field.NewPath("data"), obj.Data.Raw, "data is mandatory")...)
}

// ControllerRevisionUpdate says what a ControllerRevision may be replaced with. Its number moves when it is rolled back to; what it holds never changes.
func ControllerRevisionUpdate(obj, old *appsv1.ControllerRevision) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, ControllerRevision(obj)...)
	return append(errs, validateImmutable(obj.Data, old.Data, field.NewPath("data"))...)
}

package validation

import (
	"encoding/json"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// StatefulSet says what may be created. Its name begins its Pods' host names, so it is a DNS label.
func StatefulSet(obj *appsv1.StatefulSet) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsLabelName)
	for i := range obj.Spec.VolumeClaimTemplates {
		errs = append(errs, claimSpec(specPath.Child("volumeClaimTemplates").Index(i).Child("spec"), &obj.Spec.VolumeClaimTemplates[i].Spec)...)
	}
	if obj.Spec.ServiceName != "" {
		errs = append(errs, dnsLabel(specPath.Child("serviceName"), obj.Spec.ServiceName)...)
	}
	return append(errs, statefulSetSpec(&obj.Spec)...)
}

func statefulSetSpec(spec *appsv1.StatefulSetSpec) field.ErrorList {
	errs := requiredOneOf(specPath.Child("podManagementPolicy"), spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement, appsv1.ParallelPodManagement)
	errs = append(errs, statefulSetStrategy(specPath.Child("updateStrategy"), &spec.UpdateStrategy)...)
	if policy := spec.PersistentVolumeClaimRetentionPolicy; policy != nil {
		at := specPath.Child("persistentVolumeClaimRetentionPolicy")
		list := map[string]appsv1.PersistentVolumeClaimRetentionPolicyType{"whenDeleted": policy.WhenDeleted, "whenScaled": policy.WhenScaled}
		for _, child := range sortedKeys(list) {
			value := list[child]
			errs = append(errs, oneOf(at.Child(child), value, appsv1.RetainPersistentVolumeClaimRetentionPolicyType, appsv1.DeletePersistentVolumeClaimRetentionPolicyType)...)
		}
	}
	errs = append(errs, optionalNonNegative(specPath.Child("replicas"), spec.Replicas)...)
	errs = append(errs, nonNegative(specPath.Child("minReadySeconds"), spec.MinReadySeconds)...)
	errs = append(errs, optionalNonNegative(specPath.Child("revisionHistoryLimit"), spec.RevisionHistoryLimit)...)
	if spec.Ordinals != nil {
		errs = append(errs, nonNegative(specPath.Child("ordinals", "start"), spec.Ordinals.Start)...)
	}
	return append(errs, workload("statefulset", spec.Selector, withClaimVolumes(spec))...)
}

// withClaimVolumes is the template as the Pods made from it will look: each claim template brings a volume of its name.
func withClaimVolumes(spec *appsv1.StatefulSetSpec) *corev1.PodTemplateSpec {
	template := spec.Template.DeepCopy()
	// Both are set anew for each Pod.
	template.Spec.Hostname, template.Spec.Subdomain = "", ""
	for i := range spec.VolumeClaimTemplates {
		name := spec.VolumeClaimTemplates[i].Name
		template.Spec.Volumes = slices.DeleteFunc(template.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	return template
}

func statefulSetStrategy(at *field.Path, s *appsv1.StatefulSetUpdateStrategy) field.ErrorList {
	errs := requiredOneOf(at.Child("type"), s.Type, appsv1.RollingUpdateStatefulSetStrategyType, appsv1.OnDeleteStatefulSetStrategyType)
	if s.RollingUpdate == nil {
		return errs
	}
	at = at.Child("rollingUpdate")
	if s.Type == appsv1.OnDeleteStatefulSetStrategyType {
		return append(errs, field.Invalid(at, s.RollingUpdate, "only allowed for updateStrategy 'RollingUpdate'"))
	}
	errs = append(errs, optionalNonNegative(at.Child("partition"), s.RollingUpdate.Partition)...)
	if most := s.RollingUpdate.MaxUnavailable; most != nil {
		errs = append(errs, share(at.Child("maxUnavailable"), most)...)
		if isZeroShare(most) {
			errs = append(errs, field.Invalid(at.Child("maxUnavailable"), *most, "cannot be 0"))
		}
		errs = append(errs, atMostAll(at.Child("maxUnavailable"), *most)...)
	}
	return errs
}

// StatefulSetUpdate says what a StatefulSet may be replaced with: what gave its Pods and claims their identity stays.
func StatefulSetUpdate(obj, old *appsv1.StatefulSet) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, statefulSetSpec(&obj.Spec)...)
	rest := obj.Spec.DeepCopy()
	rest.Replicas, rest.Ordinals, rest.Template, rest.UpdateStrategy = old.Spec.Replicas, old.Spec.Ordinals, old.Spec.Template, old.Spec.UpdateStrategy
	rest.RevisionHistoryLimit, rest.MinReadySeconds = old.Spec.RevisionHistoryLimit, old.Spec.MinReadySeconds
	rest.PersistentVolumeClaimRetentionPolicy = old.Spec.PersistentVolumeClaimRetentionPolicy
	if !apiequality.Semantic.DeepEqual(*rest, old.Spec) {
		errs = append(errs, field.Forbidden(specPath, "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "+
			"'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"))
	}
	return errs
}

// StatefulSetStatusUpdate says what the StatefulSet controller may report.
func StatefulSetStatusUpdate(obj, old *appsv1.StatefulSet) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	s := &obj.Status
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), s.ObservedGeneration)...)
	errs = append(errs, replicaCounts(s.Replicas, []count{
		{"readyReplicas", s.ReadyReplicas}, {"currentReplicas", s.CurrentReplicas}, {"updatedReplicas", s.UpdatedReplicas}, {"availableReplicas", s.AvailableReplicas},
	})...)
	if s.AvailableReplicas > s.ReadyReplicas {
		errs = append(errs, field.Invalid(statusPath.Child("availableReplicas"), s.AvailableReplicas, "cannot be greater than status.readyReplicas"))
	}
	return append(errs, collisionCount(s.CollisionCount, old.Status.CollisionCount)...)
}

// jsonObject wants raw to be an object in JSON.
func jsonObject(at *field.Path, raw []byte, missing string) field.ErrorList {
	if len(raw) == 0 {
		return field.ErrorList{field.Required(at, missing)}
	}
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return field.ErrorList{field.Invalid(at, "<value omitted>", "error parsing data: "+err.Error())}
	}
	switch v.(type) {
	case nil:
		return field.ErrorList{field.Required(at, missing)}
	case map[string]any:
		return nil
	}
	return field.ErrorList{field.Required(at, "data must be a valid JSON object")}
}

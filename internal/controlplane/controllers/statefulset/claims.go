package statefulset

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// claimName is that of the claim made from a template for an ordinal.
func claimName(set *appsv1.StatefulSet, template string, ordinal int) string {
	return template + "-" + set.Name + "-" + strconv.Itoa(ordinal)
}

// claims reports whether a claim of that name is one of the StatefulSet's.
func claims(set *appsv1.StatefulSet, name string) bool {
	prefix, _, ok := member(name)
	return ok && slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(t corev1.PersistentVolumeClaim) bool {
		rest, found := strings.CutPrefix(prefix, t.Name+"-")
		return found && rest == set.Name
	})
}

// newClaim is the claim made from a template for an ordinal that the StatefulSet has.
func newClaim(set *appsv1.StatefulSet, template *corev1.PersistentVolumeClaim, ordinal int) *corev1.PersistentVolumeClaim {
	c := template.DeepCopy()
	c.Namespace, c.Name = set.Namespace, claimName(set, template.Name, ordinal)
	c.Labels = maps.Clone(template.Labels)
	if set.Spec.Selector != nil {
		for k, v := range set.Spec.Selector.MatchLabels {
			metav1.SetMetaDataLabel(&c.ObjectMeta, k, v)
		}
	}
	c.OwnerReferences = wantedOwners(set, &metav1.ObjectMeta{}, false)
	c.Status = corev1.PersistentVolumeClaimStatus{}
	return c
}

// withClaims are a Pod's volumes: each claim template brings one of its name, and the template's own of that name gives way.
func withClaims(set *appsv1.StatefulSet, ordinal int, own []corev1.Volume) []corev1.Volume {
	var out []corev1.Volume
	for i := range set.Spec.VolumeClaimTemplates {
		name := set.Spec.VolumeClaimTemplates[i].Name
		out = append(out, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claimName(set, name, ordinal)},
		}})
	}
	for _, v := range own {
		if !slices.ContainsFunc(set.Spec.VolumeClaimTemplates, func(t corev1.PersistentVolumeClaim) bool { return t.Name == v.Name }) {
			out = append(out, v)
		}
	}
	return out
}

// hasClaims says that a Pod uses the claims that are meant for it. One that was adopted may not.
func hasClaims(set *appsv1.StatefulSet, pod *corev1.Pod, ordinal int) bool {
	for i := range set.Spec.VolumeClaimTemplates {
		name := set.Spec.VolumeClaimTemplates[i].Name
		if !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
			return v.Name == name && v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == claimName(set, name, ordinal)
		}) {
			return false
		}
	}
	return true
}

// deletes tells what spec.persistentVolumeClaimRetentionPolicy says: whether claims go when the StatefulSet is deleted, and when it shrinks.
func deletes(set *appsv1.StatefulSet) (whenDeleted, whenScaled bool) {
	p := set.Spec.PersistentVolumeClaimRetentionPolicy
	if p == nil {
		return false, false
	}
	return p.WhenDeleted == appsv1.DeletePersistentVolumeClaimRetentionPolicyType, p.WhenScaled == appsv1.DeletePersistentVolumeClaimRetentionPolicyType
}

// wantedOwners are the owners by which the garbage collector deletes a claim when the policy says so: the StatefulSet for one that goes with it, the Pod for
// one whose Pod the StatefulSet has outgrown (condemned).
func wantedOwners(set *appsv1.StatefulSet, pod metav1.Object, condemned bool) []metav1.OwnerReference {
	whenDeleted, whenScaled := deletes(set)
	switch {
	case whenScaled && condemned:
		return []metav1.OwnerReference{*metav1.NewControllerRef(pod, podKind)}
	case whenDeleted:
		return []metav1.OwnerReference{*metav1.NewControllerRef(set, kind)}
	}
	return nil
}

// owned returns the owners that a claim is to have, whether that is a change, and whether somebody else controls it, in which case the policy is not followed.
//
// A claim that an earlier StatefulSet or Pod of the same name owns is left as it is: the garbage collector is about to decide about it.
func owned(claim *corev1.PersistentVolumeClaim, set *appsv1.StatefulSet, pod metav1.Object, condemned bool) (owners []metav1.OwnerReference, change, foreign bool) {
	whenDeleted, whenScaled := deletes(set)
	var rest, ours []metav1.OwnerReference
	for _, ref := range claim.OwnerReferences {
		switch {
		case names(ref, set, kind) && ref.UID != set.UID, names(ref, pod, podKind) && ref.UID != pod.GetUID():
			return claim.OwnerReferences, false, false
		case names(ref, set, kind), names(ref, pod, podKind):
			ours = append(ours, ref)
		default:
			rest = append(rest, ref)
			foreign = foreign || ref.Controller != nil && *ref.Controller
		}
	}
	foreign = foreign && (whenDeleted || whenScaled)
	var wanted []metav1.OwnerReference
	if !foreign {
		wanted = wantedOwners(set, pod, condemned)
	}
	return append(rest, wanted...), !apiequality.Semantic.DeepEqual(ours, wanted), foreign
}

// names says that a reference is to an object of that name and kind, be it this one or an earlier one.
func names(ref metav1.OwnerReference, o metav1.Object, k schema.GroupVersionKind) bool {
	return ref.APIVersion == k.GroupVersion().String() && ref.Kind == k.Kind && ref.Name == o.GetName()
}

// leftBehind says that a claim goes with a Pod that is no more: it is being deleted, although that does not show yet.
func leftBehind(claim *corev1.PersistentVolumeClaim, pod metav1.Object) bool {
	return slices.ContainsFunc(claim.OwnerReferences, func(ref metav1.OwnerReference) bool { return names(ref, pod, podKind) && ref.UID != pod.GetUID() })
}

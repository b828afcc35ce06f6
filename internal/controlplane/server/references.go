package server

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// uses tells whether the Pod refers to the named object of its own namespace.
func uses(p *corev1.Pod, resource, name string) bool {
	switch resource {
	case "serviceaccounts":
		return p.Spec.ServiceAccountName == name
	case "configmaps":
		return anyVolume(p, func(v *corev1.Volume) bool {
			if v.ConfigMap != nil && v.ConfigMap.Name == name {
				return true
			}
			return v.Projected != nil && anySource(v.Projected.Sources, func(s *corev1.VolumeProjection) bool {
				return s.ConfigMap != nil && s.ConfigMap.Name == name
			})
		}) || anyEnv(p, func(e *corev1.EnvVar) bool {
			return e.ValueFrom != nil && e.ValueFrom.ConfigMapKeyRef != nil && e.ValueFrom.ConfigMapKeyRef.Name == name
		}, func(f *corev1.EnvFromSource) bool { return f.ConfigMapRef != nil && f.ConfigMapRef.Name == name })
	case "secrets":
		for _, s := range p.Spec.ImagePullSecrets {
			if s.Name == name {
				return true
			}
		}
		return anyVolume(p, func(v *corev1.Volume) bool { return volumeUsesSecret(v, name) }) || anyEnv(p, func(e *corev1.EnvVar) bool {
			return e.ValueFrom != nil && e.ValueFrom.SecretKeyRef != nil && e.ValueFrom.SecretKeyRef.Name == name
		}, func(f *corev1.EnvFromSource) bool { return f.SecretRef != nil && f.SecretRef.Name == name })
	case "persistentvolumeclaims":
		return anyVolume(p, func(v *corev1.Volume) bool {
			return v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ClaimName == name || v.Ephemeral != nil && p.Name+"-"+v.Name == name
		})
	case "resourceclaims":
		for _, c := range p.Spec.ResourceClaims {
			if c.ResourceClaimName != nil && *c.ResourceClaimName == name {
				return true
			}
		}
		for _, c := range p.Status.ResourceClaimStatuses { // made from templates
			if c.ResourceClaimName != nil && *c.ResourceClaimName == name {
				return true
			}
		}
	}
	return false
}

func volumeUsesSecret(v *corev1.Volume, name string) bool {
	if v.Secret != nil && v.Secret.SecretName == name {
		return true
	}
	if v.Projected != nil && anySource(v.Projected.Sources, func(s *corev1.VolumeProjection) bool { return s.Secret != nil && s.Secret.Name == name }) {
		return true
	}
	for _, ref := range []*corev1.LocalObjectReference{
		refOf(v.CSI, func(s *corev1.CSIVolumeSource) *corev1.LocalObjectReference { return s.NodePublishSecretRef }),
		refOf(v.ISCSI, func(s *corev1.ISCSIVolumeSource) *corev1.LocalObjectReference { return s.SecretRef }),
	} {
		if ref != nil && ref.Name == name {
			return true
		}
	}
	return false
}

func refOf[T any](source *T, ref func(*T) *corev1.LocalObjectReference) *corev1.LocalObjectReference {
	if source == nil {
		return nil
	}
	return ref(source)
}

func anyVolume(p *corev1.Pod, match func(*corev1.Volume) bool) bool {
	for i := range p.Spec.Volumes {
		if match(&p.Spec.Volumes[i]) {
			return true
		}
	}
	return false
}

func anySource(sources []corev1.VolumeProjection, match func(*corev1.VolumeProjection) bool) bool {
	for i := range sources {
		if match(&sources[i]) {
			return true
		}
	}
	return false
}

func anyEnv(p *corev1.Pod, match func(*corev1.EnvVar) bool, from func(*corev1.EnvFromSource) bool) bool {
	in := func(env []corev1.EnvVar, envFrom []corev1.EnvFromSource) bool {
		for i := range env {
			if match(&env[i]) {
				return true
			}
		}
		for i := range envFrom {
			if from(&envFrom[i]) {
				return true
			}
		}
		return false
	}
	for _, list := range [][]corev1.Container{p.Spec.InitContainers, p.Spec.Containers} {
		for i := range list {
			if in(list[i].Env, list[i].EnvFrom) {
				return true
			}
		}
	}
	for i := range p.Spec.EphemeralContainers {
		if in(p.Spec.EphemeralContainers[i].Env, p.Spec.EphemeralContainers[i].EnvFrom) {
			return true
		}
	}
	return false
}

// namesSecret tells whether a volume's driver, or the node itself, is to be given the Secret on nodes.
func namesSecret(v *corev1.PersistentVolume, namespace, name string) bool {
	var refs []*corev1.SecretReference
	if s := v.Spec.CSI; s != nil {
		refs = []*corev1.SecretReference{s.NodeStageSecretRef, s.NodePublishSecretRef, s.NodeExpandSecretRef}
	}
	if s := v.Spec.ISCSI; s != nil && s.SecretRef != nil {
		ref := *s.SecretRef
		if ref.Namespace == "" && v.Spec.ClaimRef != nil {
			ref.Namespace = v.Spec.ClaimRef.Namespace
		}
		refs = []*corev1.SecretReference{&ref}
	}
	return slices.ContainsFunc(refs, func(r *corev1.SecretReference) bool { return r != nil && r.Namespace == namespace && r.Name == name })
}

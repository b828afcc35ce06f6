package static

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// check refuses what a node cannot run by itself: a Pod without what names it and its containers, and one that needs objects of the API, for which it has no identity.
func check(p *v1.Pod) field.ErrorList {
	var errs field.ErrorList
	meta, spec := field.NewPath("metadata"), field.NewPath("spec")
	name := func(at *field.Path, value string, valid func(string) []string) {
		if value == "" {
			errs = append(errs, field.Required(at, "is its name"))
			return
		}
		for _, bad := range valid(value) {
			errs = append(errs, field.Invalid(at, value, bad))
		}
	}
	name(meta.Child("name"), p.Name, validation.IsDNS1123Subdomain)
	name(meta.Child("namespace"), p.Namespace, validation.IsDNS1123Label)
	volumes := map[string]bool{}
	for i := range p.Spec.Volumes {
		v, at := &p.Spec.Volumes[i], spec.Child("volumes").Index(i)
		name(at.Child("name"), v.Name, validation.IsDNS1123Label)
		if volumes[v.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), v.Name))
		}
		volumes[v.Name] = true
		errs = append(errs, volumeNeedsAPI(at, v)...)
	}
	if len(p.Spec.Containers) == 0 {
		errs = append(errs, field.Required(spec.Child("containers"), "a Pod has at least one"))
	}
	if len(p.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(spec.Child("ephemeralContainers"), "are added to Pods that run"))
	}
	names := map[string]bool{}
	for _, list := range []struct {
		at *field.Path
		of []v1.Container
	}{{spec.Child("initContainers"), p.Spec.InitContainers}, {spec.Child("containers"), p.Spec.Containers}} {
		for i := range list.of {
			c, at := &list.of[i], list.at.Index(i)
			name(at.Child("name"), c.Name, validation.IsDNS1123Label)
			if names[c.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
			}
			names[c.Name] = true
			if c.Image == "" {
				errs = append(errs, field.Required(at.Child("image"), "is what it runs"))
			}
			for j := range c.VolumeMounts {
				if m := &c.VolumeMounts[j]; !volumes[m.Name] {
					errs = append(errs, field.NotFound(at.Child("volumeMounts").Index(j).Child("name"), m.Name))
				}
			}
			errs = append(errs, containerNeedsAPI(at, c)...)
		}
	}
	if p.Spec.ServiceAccountName != "" {
		errs = append(errs, needsAPI(spec.Child("serviceAccountName")))
	}
	if len(p.Spec.ImagePullSecrets) > 0 {
		errs = append(errs, needsAPI(spec.Child("imagePullSecrets")))
	}
	if len(p.Spec.ResourceClaims) > 0 {
		errs = append(errs, needsAPI(spec.Child("resourceClaims")))
	}
	return errs
}

func needsAPI(at *field.Path) *field.Error {
	return field.Forbidden(at, "a static Pod may not refer to objects of the API; use what is on the node")
}

func volumeNeedsAPI(at *field.Path, v *v1.Volume) (errs field.ErrorList) {
	switch {
	case v.ConfigMap != nil:
		errs = append(errs, needsAPI(at.Child("configMap")))
	case v.Secret != nil:
		errs = append(errs, needsAPI(at.Child("secret")))
	case v.PersistentVolumeClaim != nil:
		errs = append(errs, needsAPI(at.Child("persistentVolumeClaim")))
	case v.Ephemeral != nil:
		errs = append(errs, needsAPI(at.Child("ephemeral")))
	case v.Projected != nil:
		for i, s := range v.Projected.Sources {
			if s.DownwardAPI == nil {
				errs = append(errs, needsAPI(at.Child("projected", "sources").Index(i)))
			}
		}
	}
	return errs
}

func containerNeedsAPI(at *field.Path, c *v1.Container) (errs field.ErrorList) {
	if len(c.EnvFrom) > 0 {
		errs = append(errs, needsAPI(at.Child("envFrom")))
	}
	for i, e := range c.Env {
		if e.ValueFrom != nil && (e.ValueFrom.ConfigMapKeyRef != nil || e.ValueFrom.SecretKeyRef != nil) {
			errs = append(errs, needsAPI(at.Child("env").Index(i).Child("valueFrom")))
		}
	}
	return errs
}

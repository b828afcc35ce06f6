package validation

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func envVars(at *field.Path, vars []corev1.EnvVar, in podContext) field.ErrorList {
	var errs field.ErrorList
	for i := range vars {
		v, at := &vars[i], at.Index(i)
		if v.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, invalid(at.Child("name"), v.Name, validation.IsRelaxedEnvVarName(v.Name))...)
		}
		if v.ValueFrom != nil {
			errs = append(errs, envVarSource(at.Child("valueFrom"), v, in)...)
		}
	}
	return errs
}

func envVarSource(at *field.Path, v *corev1.EnvVar, in podContext) field.ErrorList {
	var errs field.ErrorList
	from, sources := v.ValueFrom, 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, objectFieldRef(at.Child("fieldRef"), from.FieldRef, envFieldPaths)...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, resourceFieldRef(at.Child("resourceFieldRef"), from.ResourceFieldRef, false)...)
	}
	if from.ConfigMapKeyRef != nil {
		sources++
		errs = append(errs, dataKeyRef(at.Child("configMapKeyRef"), from.ConfigMapKeyRef.Name, from.ConfigMapKeyRef.Key)...)
	}
	if from.SecretKeyRef != nil {
		sources++
		errs = append(errs, dataKeyRef(at.Child("secretKeyRef"), from.SecretKeyRef.Name, from.SecretKeyRef.Key)...)
	}
	if from.FileKeyRef != nil {
		sources++
		errs = append(errs, fileKeyRef(at.Child("fileKeyRef"), from.FileKeyRef, in)...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case v.Value != "":
		errs = append(errs, field.Invalid(at, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func dataKeyRef(at *field.Path, name, key string) field.ErrorList {
	errs := required(at.Child("name"), name)
	if key == "" {
		return append(errs, field.Required(at.Child("key"), ""))
	}
	return append(errs, invalid(at.Child("key"), key, validation.IsConfigMapKey(key))...)
}

// fileKeyRef wants a file in an emptyDir, the one kind of volume that an earlier container can have written (KEP-3721).
func fileKeyRef(at *field.Path, ref *corev1.FileKeySelector, in podContext) field.ErrorList {
	errs := required(at.Child("key"), ref.Key)
	if len(ref.Key) > 128 {
		errs = append(errs, field.TooLong(at.Child("key"), ref.Key, 128))
	}
	errs = append(errs, volumeFilePath(at.Child("path"), ref.Path)...)
	if ref.VolumeName == "" {
		return append(errs, field.Required(at.Child("volumeName"), ""))
	}
	switch volume := in.volumes[ref.VolumeName]; {
	case volume == nil:
		errs = append(errs, field.NotFound(at.Child("volumeName"), ref.VolumeName))
	case volume.EmptyDir == nil:
		errs = append(errs, field.Invalid(at.Child("volumeName"), ref.VolumeName, "must be a volume of type emptyDir"))
	}
	return errs
}

func envFrom(at *field.Path, sources []corev1.EnvFromSource) field.ErrorList {
	var errs field.ErrorList
	for i, source := range sources {
		at := at.Index(i)
		if source.Prefix != "" {
			errs = append(errs, invalid(at.Child("prefix"), source.Prefix, validation.IsRelaxedEnvVarName(source.Prefix))...)
		}
		if source.ConfigMapRef != nil {
			errs = append(errs, required(at.Child("configMapRef", "name"), source.ConfigMapRef.Name)...)
		}
		if source.SecretRef != nil {
			errs = append(errs, required(at.Child("secretRef", "name"), source.SecretRef.Name)...)
		}
		switch {
		case source.ConfigMapRef == nil && source.SecretRef == nil:
			errs = append(errs, field.Invalid(at, "", "must specify one of: `configMapRef` or `secretRef`"))
		case source.ConfigMapRef != nil && source.SecretRef != nil:
			errs = append(errs, field.Invalid(at, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

// The fields of its own Pod that a container may read.
var (
	envFieldPaths = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	volumeFieldPaths = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}
)

// objectFieldRef wants one of the paths that can be read at this place, or one label or annotation, as metadata.labels['key'].
func objectFieldRef(at *field.Path, ref *corev1.ObjectFieldSelector, readable []string) field.ErrorList {
	var errs field.ErrorList
	if ref.APIVersion == "" {
		errs = append(errs, field.Required(at.Child("apiVersion"), ""))
	} else if ref.APIVersion != "v1" {
		errs = append(errs, field.NotSupported(at.Child("apiVersion"), ref.APIVersion, []string{"v1"}))
	}
	at = at.Child("fieldPath")
	if ref.FieldPath == "" {
		return append(errs, field.Required(at, ""))
	}
	path, key, ok := splitSubscript(ref.FieldPath)
	if !ok {
		if slices.Contains(readable, ref.FieldPath) {
			return errs
		}
		if slices.Contains(envFieldPaths, ref.FieldPath) || slices.Contains(volumeFieldPaths, ref.FieldPath) {
			return append(errs, field.NotSupported(at, ref.FieldPath, readable))
		}
		return append(errs, field.Invalid(at, ref.FieldPath, "error converting fieldPath: field label not supported: "+ref.FieldPath))
	}
	switch path {
	case "metadata.annotations":
		// An annotation's key may have any case; the rule for it is written for lower case.
		return append(errs, invalid(at, key, content.IsLabelKey(strings.ToLower(key)))...)
	case "metadata.labels":
		return append(errs, qualifiedName(at, key)...)
	}
	return append(errs, field.Invalid(at, path, "does not support subscript"))
}

// splitSubscript takes "path['key']" apart.
func splitSubscript(s string) (path, key string, ok bool) {
	rest, ok := strings.CutSuffix(s, "']")
	if !ok {
		return s, "", false
	}
	path, key, ok = strings.Cut(rest, "['")
	if !ok || path == "" {
		return s, "", false
	}
	return path, key, true
}

// The divisors in which a resource may be told to a container.
var (
	cpuDivisors  = []string{"1m", "1"}
	byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
)

// resourceFieldRef wants a request or limit. In a volume it also has to name the container, as no one container reads it.
func resourceFieldRef(at *field.Path, ref *corev1.ResourceFieldSelector, inVolume bool) field.ErrorList {
	var errs field.ErrorList
	if inVolume && ref.ContainerName == "" {
		errs = append(errs, field.Required(at.Child("containerName"), ""))
	}
	if ref.Resource == "" {
		return append(errs, field.Required(at.Child("resource"), ""))
	}
	_, name, _ := strings.Cut(ref.Resource, ".")
	var divisors []string
	var called string
	switch {
	case !strings.HasPrefix(ref.Resource, "limits.") && !strings.HasPrefix(ref.Resource, "requests."):
	case name == "cpu":
		divisors, called = cpuDivisors, "cpu"
	case name == "memory":
		divisors, called = byteDivisors, "memory"
	case name == "ephemeral-storage":
		divisors, called = byteDivisors, "local ephemeral storage"
	case strings.HasPrefix(name, corev1.ResourceHugePagesPrefix):
		divisors, called = byteDivisors, "hugepages"
	}
	if divisors == nil {
		return append(errs, field.NotSupported(at.Child("resource"), ref.Resource, []string{
			"limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage", "requests.memory",
		}))
	}
	if ref.Divisor.Cmp(resource.Quantity{}) == 0 {
		return errs // left out, which means 1
	}
	if text := ref.Divisor.String(); !slices.Contains(divisors, text) {
		list := strings.Join(divisors[:len(divisors)-1], ", ") + " and " + divisors[len(divisors)-1]
		errs = append(errs, field.Invalid(at.Child("divisor"), text, fmt.Sprintf("only divisor's values %s are supported with the %s resource", list, called)))
	}
	return errs
}

package validation

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Paths are immutable, so the roots can be shared.
var (
	metadataPath = field.NewPath("metadata")
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
)

// Rules for metadata.name. A prefix is a generateName, which a suffix will follow.
var (
	dnsSubdomainName  = apivalidation.NameIsDNSSubdomain
	dnsLabelName      = apivalidation.NameIsDNSLabel
	dns1035LabelName  = apivalidation.NameIsDNS1035Label
	fieldIsImmutable  = apivalidation.FieldImmutableErrorMsg
	validateImmutable = apivalidation.ValidateImmutableField
)

// pathSegmentName is the widest rule: what can stand between two slashes of a URL.
func pathSegmentName(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

func namespacedMeta(m *metav1.ObjectMeta, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMeta(m, true, name, metadataPath)
}

func clusterMeta(m *metav1.ObjectMeta, name apivalidation.ValidateNameFunc) field.ErrorList {
	return apivalidation.ValidateObjectMeta(m, false, name, metadataPath)
}

func metaUpdate(m, old *metav1.ObjectMeta) field.ErrorList {
	return apivalidation.ValidateObjectMetaUpdate(m, old, metadataPath)
}

// invalid turns the complaints of a string rule about value into errors.
func invalid(at *field.Path, value any, complaints []string) field.ErrorList {
	var errs field.ErrorList
	for _, complaint := range complaints {
		errs = append(errs, field.Invalid(at, value, complaint))
	}
	return errs
}

func dnsLabel(at *field.Path, value string) field.ErrorList {
	return invalid(at, value, validation.IsDNS1123Label(value))
}

func dnsSubdomain(at *field.Path, value string) field.ErrorList {
	return invalid(at, value, validation.IsDNS1123Subdomain(value))
}

// required wants a string that is not empty.
func required(at *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return nil
}

// qualifiedName wants the form of a label's key: a name, with a DNS subdomain and a slash before it or not.
func qualifiedName(at *field.Path, value string) field.ErrorList {
	return invalid(at, value, content.IsLabelKey(value))
}

func labelValue(at *field.Path, value string) field.ErrorList {
	return invalid(at, value, content.IsLabelValue(value))
}

// requiredLabel wants a DNS label.
func requiredLabel(at *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return dnsLabel(at, value)
}

// oneOf wants one of the valid values; the error lists them in alphabetical order.
func oneOf[T ~string](at *field.Path, value T, valid ...T) field.ErrorList {
	if slices.Contains(valid, value) {
		return nil
	}
	valid = slices.Clone(valid)
	slices.Sort(valid)
	return field.ErrorList{field.NotSupported(at, value, valid)}
}

// requiredOneOf is oneOf with an error of its own for a value that is missing.
func requiredOneOf[T ~string](at *field.Path, value T, valid ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return oneOf(at, value, valid...)
}

// optionalOneOf is oneOf for a field that may be left out.
func optionalOneOf[T ~string](at *field.Path, value *T, valid ...T) field.ErrorList {
	if value == nil {
		return nil
	}
	return oneOf(at, *value, valid...)
}

func nonNegative[T int32 | int64](at *field.Path, value T) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), at)
}

func optionalNonNegative[T int32 | int64](at *field.Path, value *T) field.ErrorList {
	if value == nil {
		return nil
	}
	return nonNegative(at, *value)
}

func portNumber(at *field.Path, port int32) field.ErrorList {
	return invalid(at, port, validation.IsValidPortNum(int(port)))
}

// portOrName wants a port's number, or the name of a container's port.
func portOrName(at *field.Path, port intstr.IntOrString) field.ErrorList {
	switch port.Type {
	case intstr.Int:
		return invalid(at, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
	case intstr.String:
		return invalid(at, port.StrVal, validation.IsValidPortName(port.StrVal))
	}
	// Only protobuf can carry another type.
	return field.ErrorList{field.Invalid(at, int64(port.Type), "must be a number or a name")}
}

// relativePath wants a path below the folder that it is relative to.
func relativePath(at *field.Path, value string) field.ErrorList {
	if strings.HasPrefix(value, "/") {
		return field.ErrorList{field.Invalid(at, value, "must be a relative path")}
	}
	return noBackSteps(at, value)
}

// noBackSteps refuses the element "..", with which a path could leave its folder.
func noBackSteps(at *field.Path, value string) field.ErrorList {
	if slices.Contains(strings.Split(value, "/"), "..") {
		return field.ErrorList{field.Invalid(at, value, "must not contain '..'")}
	}
	return nil
}

// volumeFilePath wants the path of a file in a volume that the node writes: names that start with ".." are the node's own.
func volumeFilePath(at *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := relativePath(at, value)
	if strings.HasPrefix(value, "..") && !strings.HasPrefix(value, "../") {
		errs = append(errs, field.Invalid(at, value, "must not start with '..'"))
	}
	return errs
}

func sortedKeys[K ~string, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}

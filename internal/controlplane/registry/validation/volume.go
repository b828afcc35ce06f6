package validation

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podVolumes checks the volumes and returns the ones whose name can be used, for the rules of those who mount them.
func podVolumes(at *field.Path, volumes []corev1.Volume, in podContext) (field.ErrorList, map[string]*corev1.Volume) {
	var errs field.ErrorList
	byName := make(map[string]*corev1.Volume, len(volumes))
	for i := range volumes {
		v, at := &volumes[i], at.Index(i)
		wrong := requiredLabel(at.Child("name"), v.Name)
		if _, taken := byName[v.Name]; taken {
			wrong = append(wrong, field.Duplicate(at.Child("name"), v.Name))
		}
		if len(wrong) == 0 {
			byName[v.Name] = v
		}
		errs = append(errs, wrong...)
		errs = append(errs, exactlyOne(at, volume{v, in}, volumeSources)...)
	}
	return errs, byName
}

// source is one of the kinds that a volume, or a part of a projected one, can be.
type source[T any] struct {
	name  string
	set   func(T) bool
	check func(*field.Path, T) field.ErrorList
}

// exactlyOne wants one source; the first that is set is the one that is meant.
func exactlyOne[T any](at *field.Path, v T, kinds []source[T]) field.ErrorList {
	var errs field.ErrorList
	found := false
	for i := range kinds {
		kind := &kinds[i]
		switch {
		case !kind.set(v):
		case found:
			errs = append(errs, field.Forbidden(at.Child(kind.name), "may not specify more than 1 volume type"))
		default:
			found = true
			errs = append(errs, kind.check(at.Child(kind.name), v)...)
		}
	}
	if !found {
		errs = append(errs, field.Required(at, "must specify a volume type"))
	}
	return errs
}

// volume is a volume in its Pod.
type volume struct {
	*corev1.Volume
	in podContext
}

var volumeSources = append([]source[volume]{
	{"emptyDir", func(v volume) bool { return v.EmptyDir != nil }, func(at *field.Path, v volume) field.ErrorList { return emptyDir(at, v.EmptyDir) }},
	{"hostPath", func(v volume) bool { return v.HostPath != nil }, func(at *field.Path, v volume) field.ErrorList { return hostPath(at, v.HostPath) }},
	{"configMap", func(v volume) bool { return v.ConfigMap != nil }, func(at *field.Path, v volume) field.ErrorList { return configMapVolume(at, v.ConfigMap) }},
	{"secret", func(v volume) bool { return v.Secret != nil }, func(at *field.Path, v volume) field.ErrorList { return secretVolume(at, v.Secret) }},
	{"downwardAPI", func(v volume) bool { return v.DownwardAPI != nil }, func(at *field.Path, v volume) field.ErrorList { return downwardAPIVolume(at, v.DownwardAPI) }},
	{"projected", func(v volume) bool { return v.Projected != nil }, func(at *field.Path, v volume) field.ErrorList { return projectedVolume(at, v.Projected) }},
	{"persistentVolumeClaim", func(v volume) bool { return v.PersistentVolumeClaim != nil }, func(at *field.Path, v volume) field.ErrorList {
		return required(at.Child("claimName"), v.PersistentVolumeClaim.ClaimName)
	}},
	{"ephemeral", func(v volume) bool { return v.Ephemeral != nil }, ephemeralVolume},
	{"csi", func(v volume) bool { return v.CSI != nil }, func(at *field.Path, v volume) field.ErrorList { return csiVolume(at, v.CSI) }},
	{"image", func(v volume) bool { return v.Image != nil }, imageVolume},
	{"gitRepo", func(v volume) bool { return v.GitRepo != nil }, func(at *field.Path, v volume) field.ErrorList { return gitRepo(at, v.GitRepo) }},
}, remoteSources...)

func emptyDir(at *field.Path, e *corev1.EmptyDirVolumeSource) field.ErrorList {
	var errs field.ErrorList
	if e.SizeLimit != nil && e.SizeLimit.Sign() < 0 {
		errs = append(errs, field.Forbidden(at.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity"))
	}
	if e.Mode != nil && (*e.Mode < 0 || *e.Mode > 0o1777) {
		errs = append(errs, field.Invalid(at.Child("mode"), *e.Mode, "must be a number between 0 and 01777 (octal), both inclusive"))
	}
	if medium := e.Medium; !strings.HasPrefix(string(medium), string(corev1.StorageMediumHugePagesPrefix)) {
		errs = append(errs, oneOf(at.Child("medium"), medium, corev1.StorageMediumDefault, corev1.StorageMediumMemory, corev1.StorageMediumHugePages)...)
	}
	return errs
}

func hostPath(at *field.Path, h *corev1.HostPathVolumeSource) field.ErrorList {
	if h.Path == "" {
		return field.ErrorList{field.Required(at.Child("path"), "")}
	}
	errs := noBackSteps(at.Child("path"), h.Path)
	return append(errs, optionalOneOf(at.Child("type"), h.Type, corev1.HostPathUnset, corev1.HostPathDirectoryOrCreate, corev1.HostPathDirectory,
		corev1.HostPathFileOrCreate, corev1.HostPathFile, corev1.HostPathSocket, corev1.HostPathCharDev, corev1.HostPathBlockDev)...)
}

func gitRepo(at *field.Path, g *corev1.GitRepoVolumeSource) field.ErrorList {
	errs := required(at.Child("repository"), g.Repository)
	return append(errs, relativePath(at.Child("directory"), g.Directory)...)
}

func configMapVolume(at *field.Path, c *corev1.ConfigMapVolumeSource) field.ErrorList {
	errs := required(at.Child("name"), c.Name)
	errs = append(errs, fileMode(at.Child("defaultMode"), c.DefaultMode)...)
	errs = append(errs, fileOwner(at.Child("defaultUser"), c.DefaultUser)...)
	return append(errs, keysToPaths(at.Child("items"), c.Items)...)
}

func secretVolume(at *field.Path, s *corev1.SecretVolumeSource) field.ErrorList {
	errs := required(at.Child("secretName"), s.SecretName)
	errs = append(errs, fileMode(at.Child("defaultMode"), s.DefaultMode)...)
	errs = append(errs, fileOwner(at.Child("defaultUser"), s.DefaultUser)...)
	return append(errs, keysToPaths(at.Child("items"), s.Items)...)
}

func keysToPaths(at *field.Path, items []corev1.KeyToPath) field.ErrorList {
	var errs field.ErrorList
	for i, item := range items {
		at := at.Index(i)
		errs = append(errs, required(at.Child("key"), item.Key)...)
		errs = append(errs, volumeFilePath(at.Child("path"), item.Path)...)
		errs = append(errs, fileMode(at.Child("mode"), item.Mode)...)
		errs = append(errs, fileOwner(at.Child("user"), item.User)...)
	}
	return errs
}

func fileMode(at *field.Path, mode *int32) field.ErrorList {
	if mode != nil && (*mode < 0 || *mode > 0o777) {
		return field.ErrorList{field.Invalid(at, *mode, "must be a number between 0 and 0777 (octal), both inclusive")}
	}
	return nil
}

func fileOwner(at *field.Path, user *int64) field.ErrorList {
	if user == nil {
		return nil
	}
	return invalid(at, *user, validation.IsValidUserID(*user))
}

func downwardAPIVolume(at *field.Path, d *corev1.DownwardAPIVolumeSource) field.ErrorList {
	errs := fileMode(at.Child("defaultMode"), d.DefaultMode)
	errs = append(errs, fileOwner(at.Child("defaultUser"), d.DefaultUser)...)
	return append(errs, downwardFiles(at.Child("items"), d.Items)...)
}

func downwardFiles(at *field.Path, files []corev1.DownwardAPIVolumeFile) field.ErrorList {
	var errs field.ErrorList
	for i := range files {
		f, at := &files[i], at.Index(i)
		errs = append(errs, volumeFilePath(at.Child("path"), f.Path)...)
		switch {
		case f.FieldRef != nil && f.ResourceFieldRef != nil:
			errs = append(errs, field.Invalid(at, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		case f.FieldRef != nil:
			errs = append(errs, objectFieldRef(at.Child("fieldRef"), f.FieldRef, volumeFieldPaths)...)
		case f.ResourceFieldRef != nil:
			errs = append(errs, resourceFieldRef(at.Child("resourceFieldRef"), f.ResourceFieldRef, true)...)
		default:
			errs = append(errs, field.Required(at.Child("fieldRef"), "one of fieldRef and resourceFieldRef is required"))
		}
		errs = append(errs, fileMode(at.Child("mode"), f.Mode)...)
		errs = append(errs, fileOwner(at.Child("user"), f.User)...)
	}
	return errs
}

func imageVolume(at *field.Path, v volume) field.ErrorList {
	var errs field.ErrorList
	if v.in.isPod {
		errs = required(at.Child("reference"), v.Image.Reference)
	}
	return append(errs, optionalPullPolicy(at.Child("pullPolicy"), v.Image.PullPolicy)...)
}

func optionalPullPolicy(at *field.Path, policy corev1.PullPolicy) field.ErrorList {
	if policy == "" {
		return nil
	}
	return oneOf(at, policy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)
}

func csiVolume(at *field.Path, csi *corev1.CSIVolumeSource) field.ErrorList {
	errs := csiDriver(at.Child("driver"), csi.Driver)
	if csi.NodePublishSecretRef != nil {
		errs = append(errs, required(at.Child("nodePublishSecretRef", "name"), csi.NodePublishSecretRef.Name)...)
	}
	return errs
}

// csiDriver wants a driver's name as the CSI specification has it: a domain name of at most 63 characters.
func csiDriver(at *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	if len(name) > 63 {
		errs = append(errs, field.TooLong(at, name, 63))
	}
	return append(errs, dnsSubdomain(at, strings.ToLower(name))...)
}

package validation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// volumeMounts wants each mount to be of a volume of the Pod, at a place of its own.
func volumeMounts(at *field.Path, c *corev1.Container, in podContext) field.ErrorList {
	var errs field.ErrorList
	devices, devicePaths := map[string]bool{}, map[string]bool{}
	for _, device := range c.VolumeDevices {
		devices[device.Name], devicePaths[device.DevicePath] = true, true
	}
	mountPaths := map[string]bool{}
	for i := range c.VolumeMounts {
		m, at := &c.VolumeMounts[i], at.Index(i)
		volume := in.volumes[m.Name]
		switch {
		case m.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case volume == nil:
			errs = append(errs, field.NotFound(at.Child("name"), m.Name))
		}
		if m.MountPath == "" {
			errs = append(errs, field.Required(at.Child("mountPath"), ""))
		} else if mountPaths[m.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must be unique"))
		}
		mountPaths[m.MountPath] = true
		if devices[m.Name] {
			errs = append(errs, field.Invalid(at.Child("name"), m.Name, "must not already exist in volumeDevices"))
		}
		if devicePaths[m.MountPath] {
			errs = append(errs, field.Invalid(at.Child("mountPath"), m.MountPath, "must not already exist as a path in volumeDevices"))
		}
		errs = append(errs, subPath(at, m)...)
		errs = append(errs, mountPropagation(at.Child("mountPropagation"), m.MountPropagation, c)...)
		errs = append(errs, recursiveReadOnly(at.Child("recursiveReadOnly"), m)...)
		errs = append(errs, bindMountOptions(at.Child("bindMountOptions"), m, volume)...)
	}
	return errs
}

func subPath(at *field.Path, m *corev1.VolumeMount) field.ErrorList {
	errs := relativePath(at.Child("subPath"), m.SubPath)
	if m.SubPathExpr == "" {
		return errs
	}
	if m.SubPath != "" {
		errs = append(errs, field.Invalid(at.Child("subPathExpr"), m.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
	}
	return append(errs, relativePath(at.Child("subPathExpr"), m.SubPathExpr)...)
}

func mountPropagation(at *field.Path, mode *corev1.MountPropagationMode, c *corev1.Container) field.ErrorList {
	errs := optionalOneOf(at, mode, corev1.MountPropagationNone, corev1.MountPropagationHostToContainer, corev1.MountPropagationBidirectional)
	if mode != nil && *mode == corev1.MountPropagationBidirectional && (c.SecurityContext == nil || !isTrue(c.SecurityContext.Privileged)) {
		errs = append(errs, field.Forbidden(at, "Bidirectional mount propagation is available only to privileged containers"))
	}
	return errs
}

func recursiveReadOnly(at *field.Path, m *corev1.VolumeMount) field.ErrorList {
	if m.RecursiveReadOnly == nil {
		return nil
	}
	errs := oneOf(at, *m.RecursiveReadOnly, corev1.RecursiveReadOnlyDisabled, corev1.RecursiveReadOnlyIfPossible, corev1.RecursiveReadOnlyEnabled)
	if *m.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return errs
	}
	if !m.ReadOnly {
		errs = append(errs, field.Forbidden(at, "may only be specified when readOnly is true"))
	}
	if m.MountPropagation != nil && *m.MountPropagation != corev1.MountPropagationNone {
		errs = append(errs, field.Forbidden(at, "may only be specified when mountPropagation is None or not specified"))
	}
	return errs
}

func bindMountOptions(at *field.Path, m *corev1.VolumeMount, volume *corev1.Volume) field.ErrorList {
	var errs field.ErrorList
	if len(m.BindMountOptions) > 0 && volume != nil && volume.Image != nil {
		errs = append(errs, field.Forbidden(at, "not supported with image volumes"))
	}
	seen := map[string]bool{}
	for i, option := range m.BindMountOptions {
		at := at.Index(i)
		errs = append(errs, oneOf(at, corev1.BindMountOption(option), corev1.BindMountOptionNoExec, corev1.BindMountOptionNoDev, corev1.BindMountOptionNoSUID)...)
		if seen[option] {
			errs = append(errs, field.Duplicate(at, option))
		}
		seen[option] = true
	}
	return errs
}

// volumeDevices wants each raw device to be a claim of the Pod, at a place of its own.
func volumeDevices(at *field.Path, c *corev1.Container, in podContext) field.ErrorList {
	var errs field.ErrorList
	mounts, mountPaths := map[string]bool{}, map[string]bool{}
	for _, mount := range c.VolumeMounts {
		mounts[mount.Name], mountPaths[mount.MountPath] = true, true
	}
	names, paths := map[string]bool{}, map[string]bool{}
	for i, device := range c.VolumeDevices {
		at := at.Index(i)
		volume := in.volumes[device.Name]
		switch {
		case device.Name == "":
			errs = append(errs, field.Required(at.Child("name"), ""))
		case names[device.Name]:
			errs = append(errs, field.Invalid(at.Child("name"), device.Name, "must be unique"))
		case volume == nil:
			errs = append(errs, field.NotFound(at.Child("name"), device.Name))
		case volume.PersistentVolumeClaim == nil && volume.Ephemeral == nil:
			errs = append(errs, field.Invalid(at.Child("name"), device.Name, "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode"))
		}
		names[device.Name] = true
		switch {
		case device.DevicePath == "":
			errs = append(errs, field.Required(at.Child("devicePath"), ""))
		case paths[device.DevicePath]:
			errs = append(errs, field.Invalid(at.Child("devicePath"), device.DevicePath, "must be unique"))
		default:
			errs = append(errs, noBackSteps(at.Child("devicePath"), device.DevicePath)...)
		}
		paths[device.DevicePath] = true
		if mounts[device.Name] {
			errs = append(errs, field.Invalid(at.Child("name"), device.Name, "must not already exist in volumeMounts"))
		}
		if mountPaths[device.DevicePath] {
			errs = append(errs, field.Invalid(at.Child("devicePath"), device.DevicePath, "must not already exist as a path in volumeMounts"))
		}
	}
	return errs
}

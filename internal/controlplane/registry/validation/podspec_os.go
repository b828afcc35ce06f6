package validation

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func podOS(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if spec.OS == nil {
		return nil
	}
	name := at.Child("os", "name")
	errs := requiredOneOf(name, spec.OS.Name, corev1.Linux, corev1.Windows)
	sc := at.Child("securityContext")
	switch spec.OS.Name {
	case corev1.Linux:
		if spec.SecurityContext != nil && spec.SecurityContext.WindowsOptions != nil {
			errs = append(errs, field.Forbidden(sc.Child("windowsOptions"), "windows options cannot be set for a linux pod"))
		}
		for at, c := range allContainers(at, spec) {
			if c.SecurityContext != nil && c.SecurityContext.WindowsOptions != nil {
				errs = append(errs, field.Forbidden(at.Child("securityContext", "windowsOptions"), "windows options cannot be set for a linux pod"))
			}
		}
	case corev1.Windows:
		errs = append(errs, windowsPod(at, spec)...)
	}
	return errs
}

// windowsPod refuses the fields that mean something to Linux alone.
func windowsPod(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	const detail = "cannot be set for a windows pod"
	var errs field.ErrorList
	forbid := func(at *field.Path, set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(at.Child(name), detail))
		}
	}
	forbid(at, spec.HostPID, "hostPID")
	forbid(at, spec.HostIPC, "hostIPC")
	forbid(at, spec.HostUsers != nil, "hostUsers")
	forbid(at, isTrue(spec.ShareProcessNamespace), "shareProcessNamespace")
	if sc := spec.SecurityContext; sc != nil {
		at := at.Child("securityContext")
		forbid(at, sc.AppArmorProfile != nil, "appArmorProfile")
		forbid(at, sc.SELinuxOptions != nil, "seLinuxOptions")
		forbid(at, sc.SeccompProfile != nil, "seccompProfile")
		forbid(at, sc.FSGroup != nil, "fsGroup")
		forbid(at, sc.FSGroupChangePolicy != nil, "fsGroupChangePolicy")
		forbid(at, len(sc.Sysctls) > 0, "sysctls")
		forbid(at, sc.RunAsUser != nil, "runAsUser")
		forbid(at, sc.RunAsGroup != nil, "runAsGroup")
		forbid(at, len(sc.SupplementalGroups) > 0, "supplementalGroups")
		forbid(at, sc.SupplementalGroupsPolicy != nil, "supplementalGroupsPolicy")
		forbid(at, sc.SELinuxChangePolicy != nil, "seLinuxChangePolicy")
	}
	for at, c := range allContainers(at, spec) {
		if sc := c.SecurityContext; sc != nil {
			at := at.Child("securityContext")
			forbid(at, sc.AppArmorProfile != nil, "appArmorProfile")
			forbid(at, sc.SELinuxOptions != nil, "seLinuxOptions")
			forbid(at, sc.SeccompProfile != nil, "seccompProfile")
			forbid(at, sc.Capabilities != nil, "capabilities")
			forbid(at, sc.ReadOnlyRootFilesystem != nil, "readOnlyRootFilesystem")
			forbid(at, sc.Privileged != nil, "privileged")
			forbid(at, sc.AllowPrivilegeEscalation != nil, "allowPrivilegeEscalation")
			forbid(at, sc.ProcMount != nil, "procMount")
			forbid(at, sc.RunAsUser != nil, "runAsUser")
			forbid(at, sc.RunAsGroup != nil, "runAsGroup")
		}
	}
	return errs
}

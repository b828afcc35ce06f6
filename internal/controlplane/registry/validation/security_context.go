package validation

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"
)

func podSecurityContext(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	sc := spec.SecurityContext
	if sc == nil {
		return nil
	}
	errs := userID(at.Child("runAsUser"), sc.RunAsUser)
	errs = append(errs, groupID(at.Child("runAsGroup"), sc.RunAsGroup)...)
	errs = append(errs, groupID(at.Child("fsGroup"), sc.FSGroup)...)
	for i, gid := range sc.SupplementalGroups {
		errs = append(errs, groupID(at.Child("supplementalGroups").Index(i), &gid)...)
	}
	errs = append(errs, optionalOneOf(at.Child("supplementalGroupsPolicy"), sc.SupplementalGroupsPolicy,
		corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	errs = append(errs, optionalOneOf(at.Child("fsGroupChangePolicy"), sc.FSGroupChangePolicy,
		corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	errs = append(errs, optionalOneOf(at.Child("seLinuxChangePolicy"), sc.SELinuxChangePolicy,
		corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	errs = append(errs, sysctls(at.Child("sysctls"), spec)...)
	errs = append(errs, seccompProfile(at.Child("seccompProfile"), sc.SeccompProfile)...)
	errs = append(errs, appArmorProfile(at.Child("appArmorProfile"), sc.AppArmorProfile)...)
	return append(errs, windowsOptions(at.Child("windowsOptions"), sc.WindowsOptions)...)
}

func securityContext(at *field.Path, sc *corev1.SecurityContext, spec *corev1.PodSpec) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := userID(at.Child("runAsUser"), sc.RunAsUser)
	errs = append(errs, groupID(at.Child("runAsGroup"), sc.RunAsGroup)...)
	if sc.ProcMount != nil {
		errs = append(errs, oneOf(at.Child("procMount"), *sc.ProcMount, corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if *sc.ProcMount == corev1.UnmaskedProcMount && (spec.HostUsers == nil || *spec.HostUsers) {
			// What the runtime masks is the host's; a user namespace keeps it out of reach.
			errs = append(errs, field.Invalid(at.Child("procMount"), *sc.ProcMount, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, seccompProfile(at.Child("seccompProfile"), sc.SeccompProfile)...)
	errs = append(errs, appArmorProfile(at.Child("appArmorProfile"), sc.AppArmorProfile)...)
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if isTrue(sc.Privileged) {
			errs = append(errs, field.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if sc.Capabilities != nil && slices.Contains(sc.Capabilities.Add, "CAP_SYS_ADMIN") {
			errs = append(errs, field.Invalid(at, sc, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
		}
	}
	return append(errs, windowsOptions(at.Child("windowsOptions"), sc.WindowsOptions)...)
}

func userID(at *field.Path, id *int64) field.ErrorList {
	if id == nil {
		return nil
	}
	return invalid(at, *id, validation.IsValidUserID(*id))
}

func groupID(at *field.Path, id *int64) field.ErrorList {
	if id == nil {
		return nil
	}
	return invalid(at, *id, validation.IsValidGroupID(*id))
}

// sysctls wants kernel parameters to be named once, and not to reach out of the Pod's own namespaces.
func sysctls(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, s := range spec.SecurityContext.Sysctls {
		at := at.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
			continue
		case !isSysctlName(s.Name):
			errs = append(errs, field.Invalid(at, s.Name, "must have at most 253 characters and match regex "+sysctlNameFormat))
		case seen[s.Name]:
			errs = append(errs, field.Duplicate(at, s.Name))
		}
		seen[s.Name] = true
		namespace, _, _ := sysctl.GetNamespace(s.Name)
		switch {
		case spec.HostNetwork && namespace == sysctl.NetNamespace:
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostNetwork' is true"))
		case spec.HostIPC && namespace == sysctl.IPCNamespace:
			errs = append(errs, field.Invalid(at, s.Name, "may not be specified when 'hostIPC' is true"))
		}
	}
	return errs
}

// sysctlNameFormat is the form of a name of sysctl.d(5): words separated by dots or by slashes.
const sysctlNameFormat = `^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`

func isSysctlName(name string) bool {
	if len(name) > 253 {
		return false
	}
	for word := range strings.FieldsFuncSeq(name, func(r rune) bool { return r == '.' || r == '/' }) {
		if strings.Trim(word, "-_") != word || strings.Trim(word, "-_abcdefghijklmnopqrstuvwxyz0123456789") != "" {
			return false
		}
	}
	// FieldsFuncSeq skips what is empty: a separator at an end, or two in a row.
	return strings.Trim(name, "./") == name && !strings.Contains(strings.ReplaceAll(name, "/", "."), "..")
}

func seccompProfile(at *field.Path, p *corev1.SeccompProfile) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, oneOf(at.Child("type"), p.Type, corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	at = at.Child("localhostProfile")
	switch local := p.Type == corev1.SeccompProfileTypeLocalhost; {
	case local && (p.LocalhostProfile == nil || *p.LocalhostProfile == ""):
		errs = append(errs, field.Required(at, "must be set when seccomp type is Localhost"))
	case local:
		errs = append(errs, relativePath(at, *p.LocalhostProfile)...)
	case p.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(at, *p.LocalhostProfile, "can only be set when seccomp type is Localhost"))
	}
	return errs
}

// maxAppArmorProfileName is what the kernel takes: PATH_MAX without the closing zero.
const maxAppArmorProfileName = 4095

func appArmorProfile(at *field.Path, p *corev1.AppArmorProfile) field.ErrorList {
	if p == nil {
		return nil
	}
	var errs field.ErrorList
	if p.Type == "" {
		errs = append(errs, field.Required(at.Child("type"), "type is required when appArmorProfile is set"))
	} else {
		errs = append(errs, oneOf(at.Child("type"), p.Type, corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)...)
	}
	at = at.Child("localhostProfile")
	if p.Type != corev1.AppArmorProfileTypeLocalhost {
		if p.LocalhostProfile != nil {
			errs = append(errs, field.Invalid(at, *p.LocalhostProfile, "can only be set when AppArmor type is Localhost"))
		}
		return errs
	}
	if p.LocalhostProfile == nil || strings.TrimSpace(*p.LocalhostProfile) == "" {
		return append(errs, field.Required(at, "must be set when AppArmor type is Localhost"))
	}
	if name := *p.LocalhostProfile; name != strings.TrimSpace(name) {
		errs = append(errs, field.Invalid(at, name, "must not be padded with whitespace"))
	} else if len(name) > maxAppArmorProfileName {
		errs = append(errs, field.TooLong(at, name, maxAppArmorProfileName))
	}
	return errs
}

func windowsOptions(at *field.Path, w *corev1.WindowsSecurityContextOptions) field.ErrorList {
	if w == nil {
		return nil
	}
	var errs field.ErrorList
	if w.GMSACredentialSpecName != nil {
		errs = append(errs, dnsSubdomain(at.Child("gmsaCredentialSpecName"), *w.GMSACredentialSpecName)...)
	}
	if w.GMSACredentialSpec != nil {
		if n := len(*w.GMSACredentialSpec); n == 0 {
			errs = append(errs, field.Invalid(at.Child("gmsaCredentialSpec"), "", "gmsaCredentialSpec cannot be an empty string"))
		} else if n > 64<<10 {
			errs = append(errs, field.TooLong(at.Child("gmsaCredentialSpec"), "", 64<<10))
		}
	}
	if w.RunAsUserName != nil {
		name := *w.RunAsUserName
		at := at.Child("runAsUserName")
		domain, user, qualified := strings.Cut(name, `\`)
		if !qualified {
			domain, user = "", name
		}
		switch {
		case name == "":
			errs = append(errs, field.Invalid(at, name, "runAsUserName cannot be an empty string"))
		case strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f }):
			errs = append(errs, field.Invalid(at, name, "runAsUserName cannot contain control characters"))
		case strings.Count(name, `\`) > 1:
			errs = append(errs, field.Invalid(at, name, `runAsUserName cannot contain more than one backslash`))
		case qualified && domain == "":
			errs = append(errs, field.Invalid(at, name, "runAsUserName's Domain cannot be empty"))
		case user == "":
			errs = append(errs, field.Invalid(at, name, "runAsUserName's User cannot be empty"))
		}
	}
	return errs
}

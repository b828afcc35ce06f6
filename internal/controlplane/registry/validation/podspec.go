package validation

import (
	"fmt"
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	resourcehelper "k8s.io/component-helpers/resource"
)

// podSpec checks a spec, in the order in which a reader meets its parts.
func podSpec(at *field.Path, spec *corev1.PodSpec, in podContext) field.ErrorList {
	in.spec = spec
	errs, volumes := podVolumes(at.Child("volumes"), spec.Volumes, in)
	in.volumes = volumes
	errs = append(errs, containers(at.Child("containers"), spec.Containers, in)...)
	errs = append(errs, initContainers(at.Child("initContainers"), spec.InitContainers, in)...)
	errs = append(errs, ephemeralContainers(at.Child("ephemeralContainers"), spec.EphemeralContainers, in)...)
	errs = append(errs, podLifetime(at, spec)...)
	errs = append(errs, podIdentity(at, spec)...)
	errs = append(errs, podNames(at, spec)...)
	errs = append(errs, podNetwork(at, spec)...)
	errs = append(errs, podScheduling(at, spec)...)
	errs = append(errs, podResources(at, spec)...)
	errs = append(errs, podOS(at, spec)...)
	return errs
}

func podLifetime(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	errs := requiredOneOf(at.Child("restartPolicy"), spec.RestartPolicy, corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	if deadline := spec.ActiveDeadlineSeconds; deadline != nil && (*deadline < 1 || *deadline > math.MaxInt32) {
		errs = append(errs, field.Invalid(at.Child("activeDeadlineSeconds"), *deadline, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	for i, gate := range spec.ReadinessGates {
		errs = append(errs, qualifiedName(at.Child("readinessGates").Index(i).Child("conditionType"), string(gate.ConditionType))...)
	}
	return errs
}

// podIdentity checks as whom, and how privileged, the Pod runs.
func podIdentity(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if spec.ServiceAccountName != "" {
		errs = append(errs, invalid(at.Child("serviceAccountName"), spec.ServiceAccountName, dnsSubdomainName(spec.ServiceAccountName, false))...)
	}
	errs = append(errs, podSecurityContext(at.Child("securityContext"), spec)...)
	if spec.HostPID && isTrue(spec.ShareProcessNamespace) {
		errs = append(errs, field.Invalid(at.Child("shareProcessNamespace"), true, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	if spec.HostUsers == nil || *spec.HostUsers {
		return errs
	}
	// A user namespace of the Pod's own owns no namespace of the host.
	for _, host := range []struct {
		name string
		used bool
	}{{"hostNetwork", spec.HostNetwork}, {"hostPID", spec.HostPID}, {"hostIPC", spec.HostIPC}} {
		if host.used {
			errs = append(errs, field.Forbidden(at.Child(host.name), "when `hostUsers` is false"))
		}
	}
	for at, c := range allContainers(at, spec) {
		if len(c.VolumeDevices) > 0 {
			errs = append(errs, field.Forbidden(at.Child("volumeDevices"), "when `hostUsers` is false"))
		}
	}
	return errs
}

func podNames(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if spec.NodeName != "" {
		errs = append(errs, dnsSubdomain(at.Child("nodeName"), spec.NodeName)...)
	}
	if spec.Hostname != "" {
		errs = append(errs, dnsLabel(at.Child("hostname"), spec.Hostname)...)
	}
	if spec.Subdomain != "" {
		errs = append(errs, dnsLabel(at.Child("subdomain"), spec.Subdomain)...)
	}
	if override := spec.HostnameOverride; override != nil {
		path := at.Child("hostnameOverride")
		errs = append(errs, dnsSubdomain(path, *override)...)
		// The kernel's limit, HOST_NAME_MAX.
		if len(*override) > 64 {
			errs = append(errs, field.TooLong(path, *override, 64))
		}
		if isTrue(spec.SetHostnameAsFQDN) {
			errs = append(errs, field.Forbidden(path, "may not be specified when `setHostnameAsFQDN` is true"))
		}
		if spec.HostNetwork {
			errs = append(errs, field.Forbidden(path, "may not be specified when `hostNetwork` is true"))
		}
	}
	if spec.PriorityClassName != "" {
		errs = append(errs, dnsSubdomain(at.Child("priorityClassName"), spec.PriorityClassName)...)
	}
	if spec.RuntimeClassName != nil {
		errs = append(errs, dnsSubdomain(at.Child("runtimeClassName"), *spec.RuntimeClassName)...)
	}
	errs = append(errs, optionalOneOf(at.Child("preemptionPolicy"), spec.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	return errs
}

// podResources checks the Pod's own requests and limits, its overhead, and the claims that its containers may use.
func podResources(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Overhead) > 0 {
		errs = append(errs, resourceRequirements(at.Child("overhead"), &corev1.ResourceRequirements{Limits: spec.Overhead}, containerResource, nil)...)
	}
	claims := at.Child("resourceClaims")
	seen := map[string]bool{}
	for i, claim := range spec.ResourceClaims {
		path := claims.Index(i)
		if seen[claim.Name] {
			errs = append(errs, field.Duplicate(path.Child("name"), claim.Name))
		} else {
			errs = append(errs, requiredLabel(path.Child("name"), claim.Name)...)
		}
		seen[claim.Name] = true
		switch {
		case claim.ResourceClaimName == nil && claim.ResourceClaimTemplateName == nil:
			errs = append(errs, field.Invalid(path, claim.Name, "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`"))
		case claim.ResourceClaimName != nil && claim.ResourceClaimTemplateName != nil:
			errs = append(errs, field.Invalid(path, claim.Name, "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified"))
		}
		if claim.ResourceClaimName != nil {
			errs = append(errs, dnsSubdomain(path.Child("resourceClaimName"), *claim.ResourceClaimName)...)
		}
		if claim.ResourceClaimTemplateName != nil {
			errs = append(errs, dnsSubdomain(path.Child("resourceClaimTemplateName"), *claim.ResourceClaimTemplateName)...)
		}
	}
	if spec.Resources == nil {
		return errs
	}
	path := at.Child("resources")
	errs = append(errs, resourceRequirements(path, spec.Resources, podLevelResource, nil)...)
	if len(spec.Resources.Claims) > 0 {
		errs = append(errs, field.Forbidden(path.Child("claims"), "claims may not be set for Resources at pod-level"))
	}
	return append(errs, podResourcesCoverContainers(path, spec)...)
}

// podResourcesCoverContainers wants a Pod's own requests to be enough for what its containers request, and its limits not to be
// below any one container's.
func podResourcesCoverContainers(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	asked := resourcehelper.AggregateContainerRequests(&corev1.Pod{Spec: *spec}, resourcehelper.PodResourcesOptions{})
	for _, name := range sortedKeys(spec.Resources.Requests) {
		request, sum := spec.Resources.Requests[name], asked[name]
		if sum.Cmp(request) > 0 {
			errs = append(errs, field.Invalid(at.Child("requests").Key(string(name)), request.String(), fmt.Sprintf("must be greater than or equal to aggregate container requests of %s", sum.String())))
		}
	}
	for _, c := range allContainers(nil, spec) {
		for _, name := range sortedKeys(spec.Resources.Limits) {
			limit := spec.Resources.Limits[name]
			if own, ok := c.Resources.Limits[name]; ok && own.Cmp(limit) > 0 {
				errs = append(errs, field.Invalid(at.Child("limits").Key(string(name)), own.String(), fmt.Sprintf("must be less than or equal to pod limits of %s", limit.String())))
			}
		}
	}
	return errs
}

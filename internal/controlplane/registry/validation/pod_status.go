package validation

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
)

// PodStatusUpdate says what a node, a scheduler or a controller may report of a Pod.
func PodStatusUpdate(obj, old *corev1.Pod) field.ErrorList {
	errs := podMetaUpdate(obj, old)
	status := &obj.Status
	if obj.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(statusPath.Child("nodeName"), "may not be changed directly"))
	}
	if status.NominatedNodeName != "" {
		errs = append(errs, dnsSubdomain(statusPath.Child("nominatedNodeName"), status.NominatedNodeName)...)
		if old.Spec.NodeName != "" && status.NominatedNodeName != old.Status.NominatedNodeName {
			errs = append(errs, field.Forbidden(statusPath.Child("nominatedNodeName"), "may not be set on pods that are already bound to a node"))
		}
	}
	errs = append(errs, nonNegative(statusPath.Child("observedGeneration"), status.ObservedGeneration)...)
	if old.Status.QOSClass != "" && status.QOSClass != old.Status.QOSClass {
		errs = append(errs, field.Invalid(statusPath.Child("qosClass"), status.QOSClass, fieldIsImmutable))
	}
	errs = append(errs, podConditions(statusPath.Child("conditions"), status.Conditions)...)
	errs = append(errs, podAddresses(status)...)
	if old.Spec.RestartPolicy != corev1.RestartPolicyAlways && !mayRestartAll(&old.Spec) {
		errs = append(errs, staysTerminated(statusPath.Child("containerStatuses"), status.ContainerStatuses, old.Status.ContainerStatuses, old.Spec.Containers, old.Spec.RestartPolicy)...)
		errs = append(errs, staysTerminated(statusPath.Child("initContainerStatuses"), status.InitContainerStatuses, old.Status.InitContainerStatuses, old.Spec.InitContainers, old.Spec.RestartPolicy)...)
	}
	return errs
}

func podConditions(at *field.Path, conditions []corev1.PodCondition) field.ErrorList {
	systems := map[corev1.PodConditionType]bool{
		corev1.PodScheduled: true, corev1.PodReady: true, corev1.PodInitialized: true, corev1.ContainersReady: true,
	}
	var errs field.ErrorList
	for i, condition := range conditions {
		if systems[condition.Type] {
			continue
		}
		errs = append(errs, qualifiedName(at.Index(i).Child("type"), string(condition.Type))...)
	}
	return errs
}

// podAddresses wants the old field for one address to be the first of the new field's, and at most one address per family.
func podAddresses(status *corev1.PodStatus) field.ErrorList {
	podIPs := make([]string, len(status.PodIPs))
	for i, ip := range status.PodIPs {
		podIPs[i] = ip.IP
	}
	hostIPs := make([]string, len(status.HostIPs))
	for i, ip := range status.HostIPs {
		hostIPs[i] = ip.IP
	}
	errs := addressList(statusPath.Child("podIPs"), podIPs)
	errs = append(errs, addressList(statusPath.Child("hostIPs"), hostIPs)...)
	if len(podIPs) > 0 && status.PodIP != "" && status.PodIP != podIPs[0] {
		errs = append(errs, field.Invalid(statusPath.Child("podIPs").Index(0), podIPs[0], "must be equal to `podIP`"))
	}
	if len(hostIPs) > 0 && status.HostIP != "" && status.HostIP != hostIPs[0] {
		errs = append(errs, field.Invalid(statusPath.Child("hostIPs").Index(0), hostIPs[0], "must be equal to `hostIP`"))
	}
	return errs
}

func addressList(at *field.Path, ips []string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, ip := range ips {
		errs = append(errs, validation.IsValidIPForLegacyField(at.Index(i), ip, true, nil)...)
		if seen[ip] {
			errs = append(errs, field.Duplicate(at.Index(i), ip))
		}
		seen[ip] = true
	}
	if len(errs) > 0 || len(ips) < 2 {
		return errs
	}
	if dual, err := netutils.IsDualStackIPStrings(ips); err != nil || !dual || len(ips) > 2 {
		errs = append(errs, field.Invalid(at, strings.Join(ips, ","), "may specify no more than one IP for each IP family"))
	}
	return errs
}

// mayRestartAll says whether one container's end can have every other of the Pod run again, whatever its own policy and however it ended (KEP-5532).
func mayRestartAll(spec *corev1.PodSpec) bool {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			for _, r := range list[i].RestartPolicyRules {
				if r.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
					return true
				}
			}
		}
	}
	return false
}

// staysTerminated refuses a report in which a container runs again that its restart policy does not restart: two nodes, or a
// node that forgot, would otherwise run a job twice unseen.
func staysTerminated(at *field.Path, obj, old []corev1.ContainerStatus, specs []corev1.Container, podPolicy corev1.RestartPolicy) field.ErrorList {
	var errs field.ErrorList
	states := make(map[string]*corev1.ContainerState, len(obj))
	for i := range obj {
		states[obj[i].Name] = &obj[i].State
	}
	restarts := make(map[string]bool, len(specs))
	for i := range specs {
		if specs[i].RestartPolicy != nil {
			restarts[specs[i].Name] = *specs[i].RestartPolicy != corev1.ContainerRestartPolicyNever || len(specs[i].RestartPolicyRules) > 0
		}
	}
	for i := range old {
		was := old[i].State.Terminated
		if was == nil || restarts[old[i].Name] || (was.ExitCode != 0 && podPolicy == corev1.RestartPolicyOnFailure) {
			continue
		}
		if now := states[old[i].Name]; now != nil && now.Terminated == nil {
			errs = append(errs, field.Forbidden(at.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}

package defaults

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// SetPod completes a Pod. Requests and host ports are completed only here and not in a workload's template: what a template
// leaves open stays open until a Pod is made from it.
func SetPod(obj *corev1.Pod) {
	spec := &obj.Spec
	for i := range spec.InitContainers {
		setRequests(&spec.InitContainers[i].Resources)
	}
	for i := range spec.Containers {
		setRequests(&spec.Containers[i].Resources)
	}
	setPodRequests(obj)
	setIfNil(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	if spec.HostNetwork {
		setHostPorts(spec.InitContainers)
		setHostPorts(spec.Containers)
	}
	setPodSpec(spec)
}

// setPodSpec completes what a Pod and a workload's template have in common.
func setPodSpec(spec *corev1.PodSpec) {
	setIfZero(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	setIfZero(&spec.DNSPolicy, corev1.DNSClusterFirst)
	setIfZero(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setIfNil(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	setIfNil(&spec.SecurityContext, corev1.PodSecurityContext{})

	// serviceAccount is the old name of serviceAccountName. Old clients write only it, and read only it.
	setIfZero(&spec.ServiceAccountName, spec.DeprecatedServiceAccount)
	spec.DeprecatedServiceAccount = spec.ServiceAccountName

	for i := range spec.Volumes {
		setVolume(&spec.Volumes[i])
	}
	for i := range spec.InitContainers {
		setContainer(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		setContainer(&spec.Containers[i])
	}
	for i := range spec.EphemeralContainers {
		// The two types are the same but for the target's name; the API guarantees that they convert.
		setContainer((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	roundUpResources(spec.Overhead)
	if spec.Resources != nil {
		roundUpResources(spec.Resources.Limits)
		roundUpResources(spec.Resources.Requests)
	}
}

// setRequests makes a limit the request too where no request is given.
func setRequests(resources *corev1.ResourceRequirements) {
	for name, limit := range resources.Limits {
		if _, ok := resources.Requests[name]; ok {
			continue
		}
		if resources.Requests == nil {
			resources.Requests = corev1.ResourceList{}
		}
		resources.Requests[name] = limit.DeepCopy()
	}
}

// setPodRequests completes the requests of the Pod as a whole, where it has resources of its own: what its containers request
// together, and for the rest its limit.
func setPodRequests(pod *corev1.Pod) {
	resources := pod.Spec.Resources
	if resources == nil || len(resources.Limits) == 0 {
		return
	}
	sum := resourcehelper.AggregateContainerRequests(pod, resourcehelper.PodResourcesOptions{})
	for name := range resources.Limits {
		if _, ok := resources.Requests[name]; ok || !resourcehelper.IsSupportedPodLevelResource(name) {
			continue
		}
		if amount, ok := sum[name]; ok {
			if resources.Requests == nil {
				resources.Requests = corev1.ResourceList{}
			}
			resources.Requests[name] = amount.DeepCopy()
		}
	}
	setRequests(resources)
}

// setHostPorts gives each port of a Pod in the host's network the same number on the host, which is where it will listen.
func setHostPorts(containers []corev1.Container) {
	for i := range containers {
		for j := range containers[i].Ports {
			port := &containers[i].Ports[j]
			setIfZero(&port.HostPort, port.ContainerPort)
		}
	}
}

package validation

import (
	"fmt"
	"iter"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// allContainers goes through the containers of all three lists, each with its path below at.
func allContainers(at *field.Path, spec *corev1.PodSpec) iter.Seq2[*field.Path, *corev1.Container] {
	return func(yield func(*field.Path, *corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield(at.Child("initContainers").Index(i), &spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(at.Child("containers").Index(i), &spec.Containers[i]) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield(at.Child("ephemeralContainers").Index(i), ephemeralAsContainer(&spec.EphemeralContainers[i])) {
				return
			}
		}
	}
}

// ephemeralAsContainer relies on the API's promise that the two types stay convertible.
func ephemeralAsContainer(c *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&c.EphemeralContainerCommon)
}

func isTrue(b *bool) bool { return b != nil && *b }

// isSidecar says whether an init container runs beside the containers instead of before them (KEP-753).
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

func containers(at *field.Path, list []corev1.Container, in podContext) field.ErrorList {
	if len(list) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range list {
		c, at := &list[i], at.Index(i)
		errs = append(errs, containerName(at, c.Name, names)...)
		errs = append(errs, container(at, c, in)...)
		errs = append(errs, lifecycle(at.Child("lifecycle"), c.Lifecycle, in)...)
		errs = append(errs, containerProbes(at, c)...)
		errs = append(errs, containerRestart(at, c)...)
		errs = append(errs, resizePolicy(at.Child("resizePolicy"), c.ResizePolicy, in.spec.RestartPolicy)...)
	}
	return append(errs, hostPortConflicts(at, list)...)
}

// initContainers run one after the other, so the same host port in two of them is no conflict.
func initContainers(at *field.Path, list []corev1.Container, in podContext) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i := range in.spec.Containers {
		names[in.spec.Containers[i].Name] = true
	}
	for i := range list {
		c, at := &list[i], at.Index(i)
		errs = append(errs, containerName(at, c.Name, names)...)
		errs = append(errs, container(at, c, in)...)
		errs = append(errs, containerRestart(at, c)...)
		if isSidecar(c) {
			errs = append(errs, lifecycle(at.Child("lifecycle"), c.Lifecycle, in)...)
			errs = append(errs, containerProbes(at, c)...)
			errs = append(errs, resizePolicy(at.Child("resizePolicy"), c.ResizePolicy, in.spec.RestartPolicy)...)
		} else {
			errs = append(errs, runsToCompletion(at, c)...)
		}
	}
	return errs
}

// runsToCompletion refuses what has no meaning for a container whose end the Pod waits for.
func runsToCompletion(at *field.Path, c *corev1.Container) field.ErrorList {
	var errs field.ErrorList
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"lifecycle", c.Lifecycle != nil},
		{"livenessProbe", c.LivenessProbe != nil},
		{"readinessProbe", c.ReadinessProbe != nil},
		{"startupProbe", c.StartupProbe != nil},
	} {
		if f.set {
			errs = append(errs, field.Forbidden(at.Child(f.name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	return append(errs, resizePolicy(at.Child("resizePolicy"), c.ResizePolicy, corev1.RestartPolicyNever)...)
}

func ephemeralContainers(at *field.Path, list []corev1.EphemeralContainer, in podContext) field.ErrorList {
	if len(list) == 0 {
		return nil
	}
	var errs field.ErrorList
	names, targets := map[string]bool{}, map[string]bool{}
	for i := range in.spec.InitContainers {
		names[in.spec.InitContainers[i].Name] = true
	}
	for i := range in.spec.Containers {
		names[in.spec.Containers[i].Name] = true
		targets[in.spec.Containers[i].Name] = true
	}
	for i := range list {
		c, at := ephemeralAsContainer(&list[i]), at.Index(i)
		errs = append(errs, containerName(at, c.Name, names)...)
		errs = append(errs, container(at, c, in)...)
		for _, f := range []struct {
			name string
			set  bool
		}{
			{"ports", len(c.Ports) > 0},
			{"resources", len(c.Resources.Limits) > 0 || len(c.Resources.Requests) > 0 || len(c.Resources.Claims) > 0},
			{"resizePolicy", len(c.ResizePolicy) > 0},
			{"restartPolicy", c.RestartPolicy != nil},
			{"restartPolicyRules", len(c.RestartPolicyRules) > 0},
			{"livenessProbe", c.LivenessProbe != nil},
			{"readinessProbe", c.ReadinessProbe != nil},
			{"startupProbe", c.StartupProbe != nil},
			{"lifecycle", c.Lifecycle != nil},
		} {
			if f.set {
				errs = append(errs, field.Forbidden(at.Child(f.name), "cannot be set for an Ephemeral Container"))
			}
		}
		for j, mount := range c.VolumeMounts {
			at := at.Child("volumeMounts").Index(j)
			if mount.SubPath != "" {
				errs = append(errs, field.Forbidden(at.Child("subPath"), "cannot be set for an Ephemeral Container"))
			}
			if mount.SubPathExpr != "" {
				errs = append(errs, field.Forbidden(at.Child("subPathExpr"), "cannot be set for an Ephemeral Container"))
			}
		}
		if target := list[i].TargetContainerName; target != "" && !targets[target] {
			errs = append(errs, field.NotFound(at.Child("targetContainerName"), target))
		}
	}
	return errs
}

// containerName wants a label that no container before it has, in any of the Pod's lists.
func containerName(at *field.Path, name string, taken map[string]bool) field.ErrorList {
	at = at.Child("name")
	errs := requiredLabel(at, name)
	if name != "" && taken[name] {
		errs = append(errs, field.Duplicate(at, name))
	}
	taken[name] = true
	return errs
}

// container checks what all kinds of container have in common.
func container(at *field.Path, c *corev1.Container, in podContext) field.ErrorList {
	var errs field.ErrorList
	switch {
	case c.Image == "":
		errs = append(errs, field.Required(at.Child("image"), ""))
	case in.isPod && c.Image != strings.TrimSpace(c.Image):
		// A template may hold such a value as a mark for a controller to replace.
		errs = append(errs, field.Invalid(at.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, containerPorts(at.Child("ports"), c.Ports, in)...)
	errs = append(errs, envVars(at.Child("env"), c.Env, in)...)
	errs = append(errs, envFrom(at.Child("envFrom"), c.EnvFrom)...)
	errs = append(errs, resourceRequirements(at.Child("resources"), &c.Resources, containerResource, in.spec.ResourceClaims)...)
	errs = append(errs, volumeMounts(at.Child("volumeMounts"), c, in)...)
	errs = append(errs, volumeDevices(at.Child("volumeDevices"), c, in)...)
	errs = append(errs, requiredOneOf(at.Child("terminationMessagePolicy"), c.TerminationMessagePolicy,
		corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError)...)
	errs = append(errs, requiredOneOf(at.Child("imagePullPolicy"), c.ImagePullPolicy, corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever)...)
	return append(errs, securityContext(at.Child("securityContext"), c.SecurityContext, in.spec)...)
}

func containerPorts(at *field.Path, ports []corev1.ContainerPort, in podContext) field.ErrorList {
	var errs field.ErrorList
	names := map[string]bool{}
	for i, port := range ports {
		at := at.Index(i)
		if port.Name != "" {
			complaints := validation.IsValidPortName(port.Name)
			errs = append(errs, invalid(at.Child("name"), port.Name, complaints)...)
			if len(complaints) == 0 && names[port.Name] {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			}
			names[port.Name] = true
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(at.Child("containerPort"), ""))
		} else {
			errs = append(errs, portNumber(at.Child("containerPort"), port.ContainerPort)...)
		}
		if port.HostPort != 0 {
			errs = append(errs, portNumber(at.Child("hostPort"), port.HostPort)...)
		}
		// In a template the host port may be left open: it is completed when a Pod is made.
		if in.spec.HostNetwork && port.HostPort != port.ContainerPort && (in.isPod || port.HostPort != 0) {
			errs = append(errs, field.Invalid(at.Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true"))
		}
		errs = append(errs, requiredOneOf(at.Child("protocol"), port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
		if port.HostIP != "" {
			errs = append(errs, validation.IsValidIPForLegacyField(at.Child("hostIP"), port.HostIP, true, nil)...)
		}
	}
	return errs
}

// hostPortConflicts finds two ports that would listen at the same place of the host.
func hostPortConflicts(at *field.Path, list []corev1.Container) field.ErrorList {
	var errs field.ErrorList
	taken := map[string]bool{}
	for i := range list {
		for j, port := range list[i].Ports {
			if port.HostPort == 0 {
				continue
			}
			key := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
			if taken[key] {
				errs = append(errs, field.Duplicate(at.Index(i).Child("ports").Index(j).Child("hostPort"), key))
			}
			taken[key] = true
		}
	}
	return errs
}

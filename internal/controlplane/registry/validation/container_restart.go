package validation

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// The limits of KEP-5307, container restart rules.
	maxRestartRules     = 20
	maxRestartExitCodes = 255
)

func containerRestart(at *field.Path, c *corev1.Container) field.ErrorList {
	errs := optionalOneOf(at.Child("restartPolicy"), c.RestartPolicy,
		corev1.ContainerRestartPolicyAlways, corev1.ContainerRestartPolicyOnFailure, corev1.ContainerRestartPolicyNever)
	if len(c.RestartPolicyRules) == 0 {
		return errs
	}
	if c.RestartPolicy == nil {
		errs = append(errs, field.Required(at.Child("restartPolicy"), "must specify restartPolicy when restart rules are used"))
	}
	at = at.Child("restartPolicyRules")
	if n := len(c.RestartPolicyRules); n > maxRestartRules {
		errs = append(errs, field.TooMany(at, n, maxRestartRules))
	}
	for i, rule := range c.RestartPolicyRules {
		at := at.Index(i)
		errs = append(errs, requiredOneOf(at.Child("action"), rule.Action,
			corev1.ContainerRestartRuleActionRestart, corev1.ContainerRestartRuleActionRestartAllContainers)...)
		if rule.ExitCodes == nil {
			errs = append(errs, field.Required(at.Child("exitCodes"), "must be specified"))
			continue
		}
		at = at.Child("exitCodes")
		errs = append(errs, requiredOneOf(at.Child("operator"), rule.ExitCodes.Operator,
			corev1.ContainerRestartRuleOnExitCodesOpIn, corev1.ContainerRestartRuleOnExitCodesOpNotIn)...)
		if n := len(rule.ExitCodes.Values); n > maxRestartExitCodes {
			errs = append(errs, field.TooMany(at.Child("values"), n, maxRestartExitCodes))
		}
		seen := map[int32]bool{}
		for j, code := range rule.ExitCodes.Values {
			if seen[code] {
				errs = append(errs, field.Duplicate(at.Child("values").Index(j), code))
			}
			seen[code] = true
		}
	}
	return errs
}

// resizePolicy checks what happens to a container whose resources change. One that the Pod does not restart cannot ask for it.
func resizePolicy(at *field.Path, policies []corev1.ContainerResizePolicy, restart corev1.RestartPolicy) field.ErrorList {
	var errs field.ErrorList
	seen := map[corev1.ResourceName]bool{}
	for i, policy := range policies {
		at := at.Index(i)
		if seen[policy.ResourceName] {
			errs = append(errs, field.Duplicate(at, policy.ResourceName))
		}
		seen[policy.ResourceName] = true
		errs = append(errs, requiredOneOf(at.Child("resourceName"), policy.ResourceName, corev1.ResourceCPU, corev1.ResourceMemory)...)
		errs = append(errs, requiredOneOf(at.Child("restartPolicy"), policy.RestartPolicy, corev1.NotRequired, corev1.RestartContainer)...)
		if restart == corev1.RestartPolicyNever && policy.RestartPolicy == corev1.RestartContainer {
			errs = append(errs, field.Invalid(at, policy.RestartPolicy, fmt.Sprintf("must be %q when `restartPolicy` is %q", corev1.NotRequired, restart)))
		}
	}
	return errs
}

package job

import (
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// judgement is what spec.podFailurePolicy says about one failed Pod.
type judgement struct {
	action batchv1.PodFailurePolicyAction
	// why is the message of a Job that fails for this Pod.
	why string
}

// counts says whether the failure counts towards the back-off limits.
func (j judgement) counts() bool { return j.action != batchv1.PodFailurePolicyActionIgnore }

// judge applies the first rule that matches; a failure that no rule knows is counted.
func judge(policy *batchv1.PodFailurePolicy, pod *corev1.Pod) judgement {
	if policy != nil {
		for i := range policy.Rules {
			rule := &policy.Rules[i]
			var why string
			switch {
			case rule.OnExitCodes != nil:
				c := exitedWith(pod, rule.OnExitCodes)
				if c == nil {
					continue
				}
				why = fmt.Sprintf("Container %s for pod %s/%s failed with exit code %d matching %s rule at index %d",
					c.Name, pod.Namespace, pod.Name, c.State.Terminated.ExitCode, rule.Action, i)
			default:
				c := inCondition(pod, rule.OnPodConditions)
				if c == "" {
					continue
				}
				why = fmt.Sprintf("Pod %s/%s has condition %s matching %s rule at index %d", pod.Namespace, pod.Name, c, rule.Action, i)
			}
			return judgement{action: rule.Action, why: why}
		}
	}
	return judgement{action: batchv1.PodFailurePolicyActionCount}
}

// exitedWith is the container that the requirement speaks of, or nil. Success is never a failure, whatever the values say.
func exitedWith(pod *corev1.Pod, r *batchv1.PodFailurePolicyOnExitCodesRequirement) *corev1.ContainerStatus {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			c := &list[i]
			if c.State.Terminated == nil || c.State.Terminated.ExitCode == 0 || r.ContainerName != nil && *r.ContainerName != c.Name {
				continue
			}
			if listed := slices.Contains(r.Values, c.State.Terminated.ExitCode); listed == (r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn) {
				return c
			}
		}
	}
	return nil
}

func inCondition(pod *corev1.Pod, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) corev1.PodConditionType {
	for _, c := range pod.Status.Conditions {
		for _, p := range patterns {
			if c.Type == p.Type && c.Status == p.Status {
				return c.Type
			}
		}
	}
	return ""
}

// successful says whether the succeeded indexes satisfy a rule of spec.successPolicy, and which.
func successful(policy *batchv1.SuccessPolicy, succeeded indexes, completions int) (message string, ok bool) {
	if policy == nil {
		return "", false
	}
	have := succeeded.count()
	for i, rule := range policy.Rules {
		need, got := 0, have
		if rule.SucceededIndexes != nil {
			wanted := parseIndexes(*rule.SucceededIndexes, completions)
			need, got = wanted.count(), succeeded.common(wanted)
		}
		if rule.SucceededCount != nil {
			need = int(*rule.SucceededCount)
		}
		if need > 0 && got >= need {
			return fmt.Sprintf("Matched rules at index %d", i), true
		}
	}
	return "", false
}

package validation

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits that the Job API documents for policies.
const (
	maxPolicyRules      = 20
	maxPolicyExitCodes  = 255
	maxPolicyConditions = 20
)

// failurePolicy checks what is to happen when a Pod fails in a certain way.
func failurePolicy(at *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	if spec.PodFailurePolicy == nil {
		return nil
	}
	at = at.Child("rules")
	var errs field.ErrorList
	rules := spec.PodFailurePolicy.Rules
	if n := len(rules); n > maxPolicyRules {
		errs = append(errs, field.TooMany(at, n, maxPolicyRules))
	}
	for i := range rules {
		rule, at := &rules[i], at.Index(i)
		errs = append(errs, requiredOneOf(at.Child("action"), rule.Action, batchv1.PodFailurePolicyActionCount, batchv1.PodFailurePolicyActionFailIndex,
			batchv1.PodFailurePolicyActionFailJob, batchv1.PodFailurePolicyActionIgnore)...)
		if rule.Action == batchv1.PodFailurePolicyActionFailIndex && spec.BackoffLimitPerIndex == nil {
			errs = append(errs, field.Invalid(at.Child("action"), rule.Action, "requires the backoffLimitPerIndex to be set"))
		}
		if rule.OnExitCodes != nil {
			errs = append(errs, exitCodes(at.Child("onExitCodes"), rule.OnExitCodes, &spec.Template.Spec)...)
		}
		errs = append(errs, conditionPatterns(at.Child("onPodConditions"), rule.OnPodConditions)...)
		switch codes, conditions := rule.OnExitCodes != nil, len(rule.OnPodConditions) > 0; {
		case codes && conditions:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying both OnExitCodes and OnPodConditions is not supported"))
		case !codes && !conditions:
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, "specifying one of OnExitCodes and OnPodConditions is required"))
		}
	}
	return errs
}

func exitCodes(at *field.Path, r *batchv1.PodFailurePolicyOnExitCodesRequirement, spec *corev1.PodSpec) field.ErrorList {
	errs := requiredOneOf(at.Child("operator"), r.Operator, batchv1.PodFailurePolicyOnExitCodesOpIn, batchv1.PodFailurePolicyOnExitCodesOpNotIn)
	named := func(c corev1.Container) bool { return c.Name == *r.ContainerName }
	if r.ContainerName != nil && !slices.ContainsFunc(spec.Containers, named) && !slices.ContainsFunc(spec.InitContainers, named) {
		errs = append(errs, field.Invalid(at.Child("containerName"), *r.ContainerName, "must be one of the container or initContainer names in the pod template"))
	}
	at = at.Child("values")
	switch n := len(r.Values); {
	case n == 0:
		errs = append(errs, field.Invalid(at, r.Values, "at least one value is required"))
	case n > maxPolicyExitCodes:
		errs = append(errs, field.TooMany(at, n, maxPolicyExitCodes))
	}
	for i, code := range r.Values {
		if code == 0 && r.Operator == batchv1.PodFailurePolicyOnExitCodesOpIn {
			errs = append(errs, field.Invalid(at.Index(i), code, "must not be 0 for the In operator"))
		}
		if slices.Contains(r.Values[:i], code) {
			errs = append(errs, field.Duplicate(at.Index(i), code))
		}
	}
	if !slices.IsSorted(r.Values) {
		errs = append(errs, field.Invalid(at, r.Values, "must be ordered"))
	}
	return errs
}

func conditionPatterns(at *field.Path, patterns []batchv1.PodFailurePolicyOnPodConditionsPattern) field.ErrorList {
	var errs field.ErrorList
	if n := len(patterns); n > maxPolicyConditions {
		errs = append(errs, field.TooMany(at, n, maxPolicyConditions))
	}
	for i, p := range patterns {
		errs = append(errs, qualifiedName(at.Index(i).Child("type"), string(p.Type))...)
		errs = append(errs, requiredOneOf(at.Index(i).Child("status"), p.Status, corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown)...)
	}
	return errs
}

// successPolicy checks when an indexed Job counts as done before all of its indexes are.
func successPolicy(at *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	at = at.Child("rules")
	var errs field.ErrorList
	rules := spec.SuccessPolicy.Rules
	switch n := len(rules); {
	case n == 0:
		errs = append(errs, field.Required(at, "at least one rules must be specified when the successPolicy is specified"))
	case n > maxPolicyRules:
		errs = append(errs, field.TooMany(at, n, maxPolicyRules))
	}
	if spec.Completions == nil {
		return errs // refused already
	}
	for i := range rules {
		errs = append(errs, successRule(at.Index(i), &rules[i], *spec.Completions)...)
	}
	return errs
}

func successRule(at *field.Path, rule *batchv1.SuccessPolicyRule, completions int32) field.ErrorList {
	var errs field.ErrorList
	if rule.SucceededCount == nil && rule.SucceededIndexes == nil {
		errs = append(errs, field.Required(at, "at least one of succeededCount or succeededIndexes must be specified"))
	}
	var total int32
	if text := rule.SucceededIndexes; text != nil {
		if len(*text) > maxSucceededIndexes {
			errs = append(errs, field.TooLong(at.Child("succeededIndexes"), "", maxSucceededIndexes))
		}
		intervals, err := parseIndexes(*text, completions)
		if err != nil {
			errs = append(errs, field.Invalid(at.Child("succeededIndexes"), *text, "error parsing succeededIndexes: "+err.Error()))
		}
		for _, i := range intervals {
			total += i.last - i.first + 1
		}
	}
	if n := rule.SucceededCount; n != nil {
		at := at.Child("succeededCount")
		errs = append(errs, nonNegative(at, *n)...)
		if *n > completions {
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of specified completions)", completions)))
		}
		if rule.SucceededIndexes != nil && *n > total {
			errs = append(errs, field.Invalid(at, *n, fmt.Sprintf("must be less than or equal to %d (the number of indexes in the specified succeededIndexes field)", total)))
		}
	}
	return errs
}

// interval is a run of indexes, both ends included.
type interval struct{ first, last int32 }

// parseIndexes reads indexes in their short form, such as "0,2-4", of which each is below completions.
func parseIndexes(text string, completions int32) ([]interval, error) {
	if text == "" {
		return nil, nil
	}
	var list []interval
	for _, part := range strings.Split(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if strings.Contains(last, "-") {
			return nil, fmt.Errorf("the fragment %q violates the requirement that an index interval can have at most two parts separated by '-'", part)
		}
		x, err := parseIndex(first, completions)
		if err != nil {
			return nil, err
		}
		y := x
		if ranged {
			if y, err = parseIndex(last, completions); err != nil {
				return nil, err
			}
			if x >= y {
				return nil, fmt.Errorf("non-increasing order, previous: %d, current: %d", x, y)
			}
		}
		if n := len(list); n > 0 && list[n-1].last >= x {
			return nil, fmt.Errorf("non-increasing order, previous: %d, current: %d", list[n-1].last, x)
		}
		list = append(list, interval{x, y})
	}
	return list, nil
}

func parseIndex(text string, completions int32) (int32, error) {
	n, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("cannot convert string to integer for index: %q", text)
	}
	if n >= int64(completions) {
		return 0, fmt.Errorf("too large index: %q", text)
	}
	return int32(n), nil
}

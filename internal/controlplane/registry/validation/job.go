package validation

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits that the Job API documents for indexed Jobs.
const (
	maxIndexedParallelism = 100_000
	maxFailedIndexes      = 100_000
	// Above so many completions, failures per index are kept in a smaller window.
	manyCompletions     = 100_000
	manyParallelism     = 10_000
	manyFailedIndexes   = 10_000
	maxManagedByLength  = 63
	maxSucceededIndexes = 64 * 1024
)

// Job says what may be created. The registry has generated the selector and the labels that go with it, where the author has not.
func Job(obj *batchv1.Job) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, generatedSelector(obj)...)
	errs = append(errs, wholeJobSpec(specPath, &obj.Spec)...)
	return append(errs, indexedHostname(obj)...)
}

// generatedSelector wants the selector to choose exactly this Job's Pods, unless the author answers for it.
func generatedSelector(obj *batchv1.Job) field.ErrorList {
	if isTrue(obj.Spec.ManualSelector) || obj.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	if obj.UID == "" {
		errs = append(errs, field.Required(metadataPath.Child("uid"), ""))
	}
	own := map[string]string{}
	for _, key := range []string{"controller-uid", batchv1.ControllerUidLabel} {
		own[key] = string(obj.UID)
	}
	for _, key := range []string{"job-name", batchv1.JobNameLabel} {
		own[key] = obj.Name
	}
	at := specPath.Child("template", "metadata", "labels")
	for _, key := range sortedKeys(own) {
		switch value, ok := obj.Spec.Template.Labels[key]; {
		case !ok:
			errs = append(errs, field.Required(at.Key(key), fmt.Sprintf("must be '%s'", own[key])))
		case value != own[key]:
			errs = append(errs, field.Invalid(at.Key(key), obj.Spec.Template.Labels, fmt.Sprintf("must be '%s'", own[key])))
		}
	}
	if s, err := metav1.LabelSelectorAsSelector(obj.Spec.Selector); err == nil && !s.Matches(labels.Set(own)) {
		errs = append(errs, field.Invalid(specPath.Child("selector"), obj.Spec.Selector, "`selector` not auto-generated"))
	}
	return errs
}

// indexedHostname wants the host name of the last index to fit: it is the Job's name and the index.
func indexedHostname(obj *batchv1.Job) field.ErrorList {
	if !isIndexed(&obj.Spec) || obj.Spec.Completions == nil || *obj.Spec.Completions <= 0 {
		return nil
	}
	last := fmt.Sprintf("%s-%d", obj.Name, *obj.Spec.Completions-1)
	if len(validation.IsDNS1123Label(last)) > 0 {
		return field.ErrorList{field.Invalid(metadataPath.Child("name"), obj.Name, "will not able to create pod with invalid DNS label: "+last)}
	}
	return nil
}

func isIndexed(spec *batchv1.JobSpec) bool {
	return spec.CompletionMode != nil && *spec.CompletionMode == batchv1.IndexedCompletion
}

// wholeJobSpec checks the spec of a Job, which has a selector.
func wholeJobSpec(at *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	errs := jobSpec(at, spec)
	if spec.Selector == nil {
		return append(errs, field.Required(at.Child("selector"), ""))
	}
	errs = append(errs, metav1validation.ValidateLabelSelector(spec.Selector, metav1validation.LabelSelectorValidationOptions{}, at.Child("selector"))...)
	if s, err := metav1.LabelSelectorAsSelector(spec.Selector); err == nil && !s.Matches(labels.Set(spec.Template.Labels)) {
		errs = append(errs, field.Invalid(at.Child("template", "metadata", "labels"), spec.Template.Labels, "`selector` does not match template `labels`"))
	}
	return errs
}

// jobSpec checks what a Job and the template in a CronJob have in common.
func jobSpec(at *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	errs := optionalNonNegative(at.Child("parallelism"), spec.Parallelism)
	errs = append(errs, optionalNonNegative(at.Child("completions"), spec.Completions)...)
	errs = append(errs, optionalNonNegative(at.Child("activeDeadlineSeconds"), spec.ActiveDeadlineSeconds)...)
	errs = append(errs, optionalNonNegative(at.Child("backoffLimit"), spec.BackoffLimit)...)
	errs = append(errs, optionalNonNegative(at.Child("ttlSecondsAfterFinished"), spec.TTLSecondsAfterFinished)...)
	errs = append(errs, optionalNonNegative(at.Child("backoffLimitPerIndex"), spec.BackoffLimitPerIndex)...)
	errs = append(errs, optionalNonNegative(at.Child("maxFailedIndexes"), spec.MaxFailedIndexes)...)
	if spec.MaxFailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(at.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	if by := spec.ManagedBy; by != nil {
		errs = append(errs, validation.IsDomainPrefixedPath(at.Child("managedBy"), *by)...)
		if len(*by) > maxManagedByLength {
			errs = append(errs, field.TooLong(at.Child("managedBy"), "", maxManagedByLength))
		}
	}
	errs = append(errs, completionMode(at, spec)...)
	errs = append(errs, failurePolicy(at.Child("podFailurePolicy"), spec)...)
	if spec.SuccessPolicy != nil {
		if isIndexed(spec) {
			errs = append(errs, successPolicy(at.Child("successPolicy"), spec)...)
		} else {
			errs = append(errs, field.Invalid(at.Child("successPolicy"), *spec.SuccessPolicy, "requires indexed completion mode"))
		}
	}
	if policy := spec.PodReplacementPolicy; policy != nil {
		valid := []batchv1.PodReplacementPolicy{batchv1.Failed, batchv1.TerminatingOrFailed}
		if spec.PodFailurePolicy != nil {
			valid = valid[:1] // a Pod's failure can be judged only when it has ended
		}
		errs = append(errs, oneOf(at.Child("podReplacementPolicy"), *policy, valid...)...)
	}
	errs = append(errs, PodTemplateSpec(at.Child("template"), &spec.Template)...)
	return append(errs, jobRestartPolicy(at.Child("template", "spec", "restartPolicy"), spec)...)
}

// jobRestartPolicy wants Pods that can end.
func jobRestartPolicy(at *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	switch policy := spec.Template.Spec.RestartPolicy; {
	case policy == corev1.RestartPolicyAlways || policy == "":
		return field.ErrorList{field.Required(at, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))}
	case policy != corev1.RestartPolicyOnFailure && policy != corev1.RestartPolicyNever:
		return oneOf(at, policy, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)
	case spec.PodFailurePolicy != nil && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.Invalid(at, policy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))}
	}
	return nil
}

func completionMode(at *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	errs := optionalOneOf(at.Child("completionMode"), spec.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)
	if !isIndexed(spec) {
		if spec.BackoffLimitPerIndex != nil {
			errs = append(errs, field.Invalid(at.Child("backoffLimitPerIndex"), *spec.BackoffLimitPerIndex, "requires indexed completion mode"))
		}
		if spec.MaxFailedIndexes != nil {
			errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *spec.MaxFailedIndexes, "requires indexed completion mode"))
		}
		return errs
	}
	if spec.Completions == nil {
		errs = append(errs, field.Required(at.Child("completions"), "when completion mode is Indexed"))
	}
	if p := spec.Parallelism; p != nil && *p > maxIndexedParallelism {
		errs = append(errs, field.Invalid(at.Child("parallelism"), *p, fmt.Sprintf("must be less than or equal to %d when completion mode is Indexed", maxIndexedParallelism)))
	}
	if n := spec.MaxFailedIndexes; n != nil {
		if spec.Completions != nil && *n > *spec.Completions {
			errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *n, "must be less than or equal to completions"))
		}
		if *n > maxFailedIndexes {
			errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *n, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes)))
		}
	}
	if spec.Completions == nil || *spec.Completions <= manyCompletions || spec.BackoffLimitPerIndex == nil {
		return errs
	}
	const limit = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	if p := spec.Parallelism; p != nil && *p > manyParallelism {
		errs = append(errs, field.Invalid(at.Child("parallelism"), *p, fmt.Sprintf(limit, manyParallelism, manyCompletions)))
	}
	switch n := spec.MaxFailedIndexes; {
	case n == nil:
		errs = append(errs, field.Required(at.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	case *n > manyFailedIndexes:
		errs = append(errs, field.Invalid(at.Child("maxFailedIndexes"), *n, fmt.Sprintf(limit, manyFailedIndexes, manyCompletions)))
	}
	return errs
}

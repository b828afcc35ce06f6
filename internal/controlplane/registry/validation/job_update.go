package validation

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

// JobUpdate says what a Job may be replaced with. What has run ran by the old spec: how often and when to stop may change, what to run may not,
// except where a Job that has not started yet is to run.
func JobUpdate(obj, old *batchv1.Job) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, wholeJobSpec(specPath, &obj.Spec)...)
	errs = append(errs, completionsUpdate(&obj.Spec, &old.Spec)...)
	errs = append(errs, jobTemplateUpdate(specPath.Child("template"), obj, old)...)
	for _, f := range []struct {
		name     string
		obj, old any
	}{
		{"selector", obj.Spec.Selector, old.Spec.Selector},
		{"completionMode", obj.Spec.CompletionMode, old.Spec.CompletionMode},
		{"podFailurePolicy", obj.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy},
		{"backoffLimitPerIndex", obj.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex},
		{"managedBy", obj.Spec.ManagedBy, old.Spec.ManagedBy},
		{"successPolicy", obj.Spec.SuccessPolicy, old.Spec.SuccessPolicy},
	} {
		errs = append(errs, validateImmutable(f.obj, f.old, specPath.Child(f.name))...)
	}
	return append(errs, indexedHostname(obj)...)
}

// completionsUpdate lets an indexed Job grow and shrink together with its parallelism, which makes it elastic.
func completionsUpdate(spec, old *batchv1.JobSpec) field.ErrorList {
	at := specPath.Child("completions")
	if !isIndexed(spec) {
		return validateImmutable(spec.Completions, old.Completions, at)
	}
	if spec.Completions == nil || ptr.Equal(spec.Completions, old.Completions) || ptr.Equal(spec.Completions, spec.Parallelism) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, spec.Completions, "can only be modified in tandem with spec.parallelism")}
}

// jobTemplateUpdate lets a suspended Job that runs nothing be told where its Pods are to run, and with what resources.
func jobTemplateUpdate(at *field.Path, obj, old *batchv1.Job) field.ErrorList {
	was := old.Spec.Template.DeepCopy()
	if isTrue(old.Spec.Suspend) && old.Status.StartTime == nil && old.Status.Active == 0 {
		now := &obj.Spec.Template
		was.Labels, was.Annotations = now.Labels, now.Annotations
		was.Spec.NodeSelector, was.Spec.Tolerations, was.Spec.SchedulingGates = now.Spec.NodeSelector, now.Spec.Tolerations, now.Spec.SchedulingGates
		was.Spec.Affinity = withNodeAffinityOf(was.Spec.Affinity, now.Spec.Affinity)
		takeResources(was.Spec.Containers, now.Spec.Containers)
		takeResources(was.Spec.InitContainers, now.Spec.InitContainers)
	}
	return validateImmutable(obj.Spec.Template, *was, at)
}

func withNodeAffinityOf(a, from *corev1.Affinity) *corev1.Affinity {
	var out corev1.Affinity
	if a != nil {
		out = *a
	}
	out.NodeAffinity = nil
	if from != nil {
		out.NodeAffinity = from.NodeAffinity
	}
	if out == (corev1.Affinity{}) && from == nil {
		return nil
	}
	return &out
}

func takeResources(list, from []corev1.Container) {
	if len(list) != len(from) {
		return
	}
	for i := range list {
		if list[i].Name == from[i].Name {
			list[i].Resources = from[i].Resources
		}
	}
}

// JobStatusUpdate says what a Job's controller may report: a report that could not be true, or that takes back an end that others have seen, is refused.
func JobStatusUpdate(obj, old *batchv1.Job) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	errs = append(errs, jobCounts(&obj.Status)...)
	errs = append(errs, jobConditions(obj)...)
	errs = append(errs, jobIndexes(obj)...)
	s, was := &obj.Status, &old.Status
	for _, c := range []batchv1.JobConditionType{batchv1.JobFailed, batchv1.JobComplete, batchv1.JobFailureTarget} {
		if jobIs(was, c) && !jobIs(s, c) {
			errs = append(errs, field.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, fmt.Sprintf("cannot disable the terminal %s=True condition", c)))
		}
	}
	if jobIs(was, batchv1.JobSuccessCriteriaMet) && !jobIs(s, batchv1.JobSuccessCriteriaMet) {
		errs = append(errs, field.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, "cannot disable the SuccessCriteriaMet=True condition"))
	}
	if jobIs(was, batchv1.JobComplete) && !jobIs(was, batchv1.JobSuccessCriteriaMet) && jobIs(s, batchv1.JobSuccessCriteriaMet) {
		errs = append(errs, field.Invalid(statusPath.Child("conditions"), field.OmitValueType{}, "cannot set SuccessCriteriaMet=True for Job already has Complete=true conditions"))
	}
	if s.Failed < was.Failed && !isIndexed(&obj.Spec) {
		errs = append(errs, field.Invalid(statusPath.Child("failed"), s.Failed, "cannot decrease the failed counter"))
	}
	if s.Succeeded < was.Succeeded && !isIndexed(&obj.Spec) {
		errs = append(errs, field.Invalid(statusPath.Child("succeeded"), s.Succeeded, "cannot decrease the succeeded counter"))
	}
	if s.CompletionTime != nil && was.CompletionTime != nil && !s.CompletionTime.Equal(was.CompletionTime) {
		errs = append(errs, field.Invalid(statusPath.Child("completionTime"), s.CompletionTime, fieldIsImmutable))
	}
	if was.StartTime != nil && !apiequality.Semantic.DeepEqual(was.StartTime, s.StartTime) && !isTrue(obj.Spec.Suspend) {
		errs = append(errs, field.Invalid(statusPath.Child("startTime"), s.StartTime, "field is immutable for unsuspended job once set"))
	}
	return errs
}

func jobIs(s *batchv1.JobStatus, condition batchv1.JobConditionType) bool {
	for _, c := range s.Conditions {
		if c.Type == condition && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

func jobCounts(s *batchv1.JobStatus) field.ErrorList {
	var errs field.ErrorList
	for _, c := range []count{{"active", s.Active}, {"succeeded", s.Succeeded}, {"failed", s.Failed}} {
		errs = append(errs, nonNegative(statusPath.Child(c.name), c.n)...)
	}
	errs = append(errs, optionalNonNegative(statusPath.Child("ready"), s.Ready)...)
	errs = append(errs, optionalNonNegative(statusPath.Child("terminating"), s.Terminating)...)
	if s.Ready != nil && *s.Ready > s.Active {
		errs = append(errs, field.Invalid(statusPath.Child("ready"), *s.Ready, "cannot set more ready pods than active"))
	}
	if s.UncountedTerminatedPods == nil {
		return errs
	}
	seen := map[types.UID]bool{}
	for _, list := range []struct {
		name string
		uids []types.UID
	}{{"succeeded", s.UncountedTerminatedPods.Succeeded}, {"failed", s.UncountedTerminatedPods.Failed}} {
		for i, uid := range list.uids {
			at := statusPath.Child("uncountedTerminatedPods", list.name).Index(i)
			switch {
			case uid == "":
				errs = append(errs, field.Invalid(at, uid, "must not be empty"))
			case seen[uid]:
				errs = append(errs, field.Duplicate(at, uid))
			}
			seen[uid] = true
		}
	}
	return errs
}

func jobConditions(obj *batchv1.Job) field.ErrorList {
	s, at := &obj.Status, statusPath.Child("conditions")
	complete, failed := jobIs(s, batchv1.JobComplete), jobIs(s, batchv1.JobFailed)
	target, met := jobIs(s, batchv1.JobFailureTarget), jobIs(s, batchv1.JobSuccessCriteriaMet)
	var errs field.ErrorList
	for _, rule := range []struct {
		broken bool
		words  string
	}{
		{complete && failed, "cannot set Complete=True and Failed=true conditions"},
		{complete && target, "cannot set Complete=True and FailureTarget=true conditions"},
		{failed && !target, "cannot set Failed=True condition without the FailureTarget=true condition"},
		{complete && !met, "cannot set Complete=True condition without the SuccessCriteriaMet=true condition"},
		{met && failed, "cannot set SuccessCriteriaMet=True and Failed=true conditions"},
		{met && target, "cannot set SuccessCriteriaMet=True and FailureTarget=true conditions"},
	} {
		if rule.broken {
			errs = append(errs, field.Invalid(at, field.OmitValueType{}, rule.words))
		}
	}
	end := statusPath.Child("completionTime")
	switch {
	case s.CompletionTime != nil && !complete:
		errs = append(errs, field.Invalid(end, s.CompletionTime, "cannot set completionTime when there is no Complete=True condition"))
	case s.CompletionTime == nil && complete:
		errs = append(errs, field.Required(end, "completionTime is required for Complete jobs"))
	case s.CompletionTime != nil && s.StartTime != nil && s.CompletionTime.Before(s.StartTime):
		errs = append(errs, field.Invalid(end, s.CompletionTime, "must be equal to or after `startTime`"))
	}
	if !complete && !failed {
		return errs
	}
	if s.Active > 0 {
		errs = append(errs, field.Invalid(statusPath.Child("active"), s.Active, "active>0 is invalid for finished job"))
	}
	if s.Terminating != nil && *s.Terminating > 0 {
		errs = append(errs, field.Invalid(statusPath.Child("terminating"), *s.Terminating, "terminating>0 is invalid for finished job"))
	}
	if s.StartTime == nil {
		errs = append(errs, field.Required(statusPath.Child("startTime"), "startTime is required for finished job"))
	}
	if u := s.UncountedTerminatedPods; u != nil && len(u.Failed)+len(u.Succeeded) > 0 {
		errs = append(errs, field.Invalid(statusPath.Child("uncountedTerminatedPods"), u, "must be empty for finished job"))
	}
	return errs
}

// jobIndexes wants an index to be counted once.
func jobIndexes(obj *batchv1.Job) field.ErrorList {
	s := &obj.Status
	completed, failed := statusPath.Child("completedIndexes"), statusPath.Child("failedIndexes")
	var errs field.ErrorList
	if s.CompletedIndexes != "" && !isIndexed(&obj.Spec) {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, "cannot set non-empty completedIndexes when non-indexed completion mode"))
	}
	if s.FailedIndexes != nil && obj.Spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Invalid(failed, *s.FailedIndexes, "cannot set non-null failedIndexes when backoffLimitPerIndex is null"))
	}
	if obj.Spec.Completions == nil {
		return errs
	}
	done, err := parseIndexes(s.CompletedIndexes, *obj.Spec.Completions)
	if err != nil {
		errs = append(errs, field.Invalid(completed, s.CompletedIndexes, "error parsing completedIndexes: "+err.Error()))
	}
	if s.FailedIndexes == nil || obj.Spec.BackoffLimitPerIndex == nil {
		return errs
	}
	lost, err := parseIndexes(*s.FailedIndexes, *obj.Spec.Completions)
	if err != nil {
		return append(errs, field.Invalid(failed, *s.FailedIndexes, "error parsing failedIndexes: "+err.Error()))
	}
	for _, d := range done {
		for _, l := range lost {
			if d.first <= l.last && l.first <= d.last {
				return append(errs, field.Invalid(failed, *s.FailedIndexes, fmt.Sprintf("failedIndexes and completedIndexes overlap at index: %d", max(d.first, l.first))))
			}
		}
	}
	return errs
}

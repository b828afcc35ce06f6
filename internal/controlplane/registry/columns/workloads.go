package columns

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/duration"
)

// ReplicationController shows how many of its Pods there are.
var ReplicationController = Table[*corev1.ReplicationController]{
	Columns: ReplicaSet.Columns,
	Row: func(r *corev1.ReplicationController) []any {
		template := r.Spec.Template
		if template == nil {
			template = &corev1.PodTemplateSpec{}
		}
		cells := templateCells(template, nil)
		return []any{
			r.Name, int64(deref(r.Spec.Replicas)), int64(r.Status.Replicas), int64(r.Status.ReadyReplicas), ageOf(r.CreationTimestamp),
			cells[0], cells[1], labels.FormatLabels(r.Spec.Selector),
		}
	},
}

// DaemonSet shows on how many nodes it runs, of those where it should.
var DaemonSet = Table[*appsv1.DaemonSet]{
	Columns: append([]metav1.TableColumnDefinition{
		name(),
		integer("Desired", "Nodes that should run the Pod"),
		integer("Current", "Nodes that run it"),
		integer("Ready", "Nodes on which it is ready"),
		integer("Up-to-date", "Nodes that run the present template"),
		integer("Available", "Nodes on which it has been ready for minReadySeconds"),
		text("Node Selector", "Labels of the nodes that should run it"),
		age(),
	}, templateColumns...),
	Row: func(d *appsv1.DaemonSet) []any {
		s := &d.Status
		return append([]any{
			d.Name, int64(s.DesiredNumberScheduled), int64(s.CurrentNumberScheduled), int64(s.NumberReady), int64(s.UpdatedNumberScheduled), int64(s.NumberAvailable),
			labels.FormatLabels(d.Spec.Template.Spec.NodeSelector), ageOf(d.CreationTimestamp),
		}, templateCells(&d.Spec.Template, d.Spec.Selector)...)
	},
}

// StatefulSet shows how many of its Pods are ready.
var StatefulSet = Table[*appsv1.StatefulSet]{
	Columns: append([]metav1.TableColumnDefinition{name(), text("Ready", "Pods that are ready, of those wanted"), age()}, templateColumns[:2]...),
	Row: func(s *appsv1.StatefulSet) []any {
		return append([]any{
			s.Name, fmt.Sprintf("%d/%d", s.Status.ReadyReplicas, deref(s.Spec.Replicas)), ageOf(s.CreationTimestamp),
		}, templateCells(&s.Spec.Template, nil)[:2]...)
	},
}

// ControllerRevision shows which version of whose template is kept.
var ControllerRevision = Table[*appsv1.ControllerRevision]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Controller", "Whose template it is"),
		text("Revision", "Number of the version"),
		age(),
	},
	Row: func(r *appsv1.ControllerRevision) []any {
		owner := none
		if ref := metav1.GetControllerOf(r); ref != nil {
			// An owner that cannot be read has no group to show.
			gv, err := schema.ParseGroupVersion(ref.APIVersion)
			if err == nil {
				owner = kindName(gv.Group, ref.Kind) + "/" + ref.Name
			}
		}
		return []any{r.Name, owner, fmt.Sprint(r.Revision), ageOf(r.CreationTimestamp)}
	},
}

// Job shows how far a Job is.
var Job = Table[*batchv1.Job]{
	Columns: append([]metav1.TableColumnDefinition{
		name(),
		text("Status", "Whether the Job runs, waits or has ended"),
		text("Completions", "Pods that succeeded, of those needed"),
		text("Duration", "How long it ran, or has been running"),
		age(),
	}, templateColumns...),
	Row: func(j *batchv1.Job) []any {
		ran := ""
		switch start, end := j.Status.StartTime, j.Status.CompletionTime; {
		case start == nil:
		case end == nil:
			ran = duration.HumanDuration(now().Sub(start.Time))
		default:
			ran = duration.HumanDuration(end.Sub(start.Time))
		}
		return append([]any{j.Name, jobStatus(j), jobCompletions(j), ran, ageOf(j.CreationTimestamp)}, templateCells(&j.Spec.Template, j.Spec.Selector)...)
	},
}

func jobCompletions(j *batchv1.Job) string {
	switch parallel := deref(j.Spec.Parallelism); {
	case j.Spec.Completions != nil:
		return fmt.Sprintf("%d/%d", j.Status.Succeeded, *j.Spec.Completions)
	case parallel > 1:
		return fmt.Sprintf("%d/1 of %d", j.Status.Succeeded, parallel)
	}
	return fmt.Sprintf("%d/1", j.Status.Succeeded)
}

func jobStatus(j *batchv1.Job) string {
	is := map[batchv1.JobConditionType]bool{}
	for _, c := range j.Status.Conditions {
		is[c.Type] = c.Status == corev1.ConditionTrue
	}
	for _, end := range []batchv1.JobConditionType{batchv1.JobComplete, batchv1.JobFailed} {
		if is[end] {
			return string(end)
		}
	}
	if j.DeletionTimestamp != nil {
		return "Terminating"
	}
	for _, state := range []batchv1.JobConditionType{batchv1.JobSuspended, batchv1.JobFailureTarget, batchv1.JobSuccessCriteriaMet} {
		if is[state] {
			return string(state)
		}
	}
	return "Running"
}

// CronJob shows when it runs, and when it last did.
var CronJob = Table[*batchv1.CronJob]{
	Columns: append([]metav1.TableColumnDefinition{
		name(),
		text("Schedule", "When it runs, in the form of cron"),
		text("Timezone", "In whose time that is"),
		boolean("Suspend", "Whether it makes no more Jobs"),
		integer("Active", "Jobs that run now"),
		text("Last Schedule", "Time since it made a Job"),
		age(),
	}, templateColumns...),
	Row: func(c *batchv1.CronJob) []any {
		last, zone := none, none
		if c.Status.LastScheduleTime != nil {
			last = ageOf(*c.Status.LastScheduleTime)
		}
		if c.Spec.TimeZone != nil {
			zone = *c.Spec.TimeZone
		}
		return append([]any{c.Name, c.Spec.Schedule, zone, deref(c.Spec.Suspend), int64(len(c.Status.Active)), last, ageOf(c.CreationTimestamp)},
			templateCells(&c.Spec.JobTemplate.Spec.Template, c.Spec.JobTemplate.Spec.Selector)...)
	},
}

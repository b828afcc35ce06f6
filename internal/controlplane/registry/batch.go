package registry

import (
	"context"
	"strconv"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func batchGroup() group {
	return group{gv: batchv1.SchemeGroupVersion, entries: []entry{jobs, cronJobs}}
}

var jobs = Kind[*batchv1.Job]{
	Resource: "jobs", Singular: "job", Categories: []string{"all"},
	New: func() *batchv1.Job { return &batchv1.Job{} }, NewList: func() runtime.Object { return &batchv1.JobList{} },
	Columns:   columns.Job,
	HasStatus: true, StatusAlone: true, MetadataWithStatus: true, HasGeneration: true,
	PrepareCreate: func(_ context.Context, j *batchv1.Job) { selectOwnPods(j) },
	Validate:      validation.Job, ValidateUpdate: validation.JobUpdate, ValidateStatus: validation.JobStatusUpdate,
	Fields: func(j *batchv1.Job) fields.Set {
		return fields.Set{"status.successful": strconv.Itoa(int(j.Status.Succeeded))}
	},
	Warnings: func(j *batchv1.Job) []string {
		if p := j.Spec.Parallelism; j.Spec.CompletionMode != nil && *j.Spec.CompletionMode == batchv1.IndexedCompletion && p != nil && *p > 10_000 && j.Spec.Completions != nil && *j.Spec.Completions > 100_000 {
			return []string{"In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, Kubernetes might not be able to track completedIndexes when a big number of indexes fail"}
		}
		return nil
	},
}

// The labels of a Job's Pods before they had a domain; clients still select by them.
const (
	oldControllerUID = "controller-uid"
	oldJobName       = "job-name"
)

// selectOwnPods gives a Job a selector that chooses its own Pods and nobody else's, unless its author says that he has chosen one. Labels that are
// there already stay: validation refuses wrong ones.
func selectOwnPods(j *batchv1.Job) {
	if j.Spec.ManualSelector != nil && *j.Spec.ManualSelector {
		return
	}
	labels := make(map[string]string, len(j.Spec.Template.Labels)+4)
	for key, value := range map[string]string{
		oldJobName: j.Name, batchv1.JobNameLabel: j.Name, oldControllerUID: string(j.UID), batchv1.ControllerUidLabel: string(j.UID),
	} {
		labels[key] = value
	}
	for key, value := range j.Spec.Template.Labels {
		labels[key] = value
	}
	j.Spec.Template.Labels = labels
	if j.Spec.Selector == nil {
		j.Spec.Selector = &metav1.LabelSelector{}
	}
	if _, ok := j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel]; !ok {
		if j.Spec.Selector.MatchLabels == nil {
			j.Spec.Selector.MatchLabels = map[string]string{}
		}
		j.Spec.Selector.MatchLabels[batchv1.ControllerUidLabel] = string(j.UID)
	}
}

var cronJobs = Kind[*batchv1.CronJob]{
	Resource: "cronjobs", Singular: "cronjob", ShortNames: []string{"cj"}, Categories: []string{"all"},
	New: func() *batchv1.CronJob { return &batchv1.CronJob{} }, NewList: func() runtime.Object { return &batchv1.CronJobList{} },
	Columns:   columns.CronJob,
	HasStatus: true, MetadataWithStatus: true, HasGeneration: true,
	Validate: validation.CronJob, ValidateUpdate: validation.CronJobUpdate, ValidateStatus: validation.CronJobStatusUpdate,
}

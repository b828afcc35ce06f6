package defaults

import (
	"math"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SetDaemonSet completes a DaemonSet: one node after the other is updated.
func SetDaemonSet(obj *appsv1.DaemonSet) {
	spec := &obj.Spec
	setIfNil(&spec.RevisionHistoryLimit, 10)
	setIfZero(&spec.UpdateStrategy.Type, appsv1.RollingUpdateDaemonSetStrategyType)
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		if spec.UpdateStrategy.RollingUpdate == nil {
			spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{}
		}
		setIfNil(&spec.UpdateStrategy.RollingUpdate.MaxUnavailable, intstr.FromInt32(1))
		setIfNil(&spec.UpdateStrategy.RollingUpdate.MaxSurge, intstr.FromInt32(0))
	}
	setPodSpec(&spec.Template.Spec)
}

// SetStatefulSet completes a StatefulSet: one replica, in order, whose claims outlive it.
func SetStatefulSet(obj *appsv1.StatefulSet) {
	spec := &obj.Spec
	setIfNil(&spec.Replicas, 1)
	setIfNil(&spec.RevisionHistoryLimit, 10)
	setIfZero(&spec.PodManagementPolicy, appsv1.OrderedReadyPodManagement)
	setIfZero(&spec.UpdateStrategy.Type, appsv1.RollingUpdateStatefulSetStrategyType)
	if spec.UpdateStrategy.Type == appsv1.RollingUpdateStatefulSetStrategyType {
		if spec.UpdateStrategy.RollingUpdate == nil {
			spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
		}
		setIfNil(&spec.UpdateStrategy.RollingUpdate.Partition, 0)
	}
	if spec.PersistentVolumeClaimRetentionPolicy == nil {
		spec.PersistentVolumeClaimRetentionPolicy = &appsv1.StatefulSetPersistentVolumeClaimRetentionPolicy{}
	}
	setIfZero(&spec.PersistentVolumeClaimRetentionPolicy.WhenDeleted, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	setIfZero(&spec.PersistentVolumeClaimRetentionPolicy.WhenScaled, appsv1.RetainPersistentVolumeClaimRetentionPolicyType)
	for i := range spec.VolumeClaimTemplates {
		SetPersistentVolumeClaim(&spec.VolumeClaimTemplates[i])
	}
	setPodSpec(&spec.Template.Spec)
}

// SetReplicationController completes a ReplicationController. Being of the first version of the API, it takes from its template what it does not say.
func SetReplicationController(obj *corev1.ReplicationController) {
	setIfNil(&obj.Spec.Replicas, 1)
	if obj.Spec.Template == nil {
		return
	}
	if len(obj.Spec.Selector) == 0 {
		obj.Spec.Selector = obj.Spec.Template.Labels
	}
	if len(obj.Labels) == 0 {
		obj.Labels = obj.Spec.Template.Labels
	}
	setPodSpec(&obj.Spec.Template.Spec)
}

// SetPodTemplate completes a PodTemplate.
func SetPodTemplate(obj *corev1.PodTemplate) { setPodSpec(&obj.Template.Spec) }

// SetJob completes a Job: one Pod, tried seven times.
func SetJob(obj *batchv1.Job) {
	setJobSpec(&obj.Spec)
	if len(obj.Labels) == 0 {
		obj.Labels = obj.Spec.Template.Labels
	}
}

func setJobSpec(spec *batchv1.JobSpec) {
	if spec.Completions == nil && spec.Parallelism == nil {
		setIfNil(&spec.Completions, 1)
	}
	setIfNil(&spec.Parallelism, 1)
	if spec.BackoffLimitPerIndex != nil {
		setIfNil(&spec.BackoffLimit, math.MaxInt32)
	}
	setIfNil(&spec.BackoffLimit, 6)
	setIfNil(&spec.CompletionMode, batchv1.NonIndexedCompletion)
	setIfNil(&spec.Suspend, false)
	setIfNil(&spec.ManualSelector, false)
	if spec.PodFailurePolicy != nil {
		setIfNil(&spec.PodReplacementPolicy, batchv1.Failed)
	}
	setIfNil(&spec.PodReplacementPolicy, batchv1.TerminatingOrFailed)
	setJobTemplate(spec)
}

// setJobTemplate completes what a Job and the template in a CronJob have in common.
func setJobTemplate(spec *batchv1.JobSpec) {
	if spec.PodFailurePolicy != nil {
		for i := range spec.PodFailurePolicy.Rules {
			patterns := spec.PodFailurePolicy.Rules[i].OnPodConditions
			for j := range patterns {
				setIfZero(&patterns[j].Status, corev1.ConditionTrue)
			}
		}
	}
	setPodSpec(&spec.Template.Spec)
}

// SetCronJob completes a CronJob. What its Jobs leave out is completed when they are made.
func SetCronJob(obj *batchv1.CronJob) {
	setIfZero(&obj.Spec.ConcurrencyPolicy, batchv1.AllowConcurrent)
	setIfNil(&obj.Spec.Suspend, false)
	setIfNil(&obj.Spec.SuccessfulJobsHistoryLimit, 3)
	setIfNil(&obj.Spec.FailedJobsHistoryLimit, 1)
	setJobTemplate(&obj.Spec.JobTemplate.Spec)
}

package defaults

import (
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// SetDeployment completes a Deployment: one replica, rolled out a quarter at a time.
func SetDeployment(obj *appsv1.Deployment) {
	spec := &obj.Spec
	setIfNil(&spec.Replicas, 1)
	setIfNil(&spec.RevisionHistoryLimit, 10)
	setIfNil(&spec.ProgressDeadlineSeconds, 600)
	setIfZero(&spec.Strategy.Type, appsv1.RollingUpdateDeploymentStrategyType)
	if spec.Strategy.Type == appsv1.RollingUpdateDeploymentStrategyType {
		if spec.Strategy.RollingUpdate == nil {
			spec.Strategy.RollingUpdate = &appsv1.RollingUpdateDeployment{}
		}
		setIfNil(&spec.Strategy.RollingUpdate.MaxUnavailable, intstr.FromString("25%"))
		setIfNil(&spec.Strategy.RollingUpdate.MaxSurge, intstr.FromString("25%"))
	}
	setPodSpec(&spec.Template.Spec)
}

// SetReplicaSet completes a ReplicaSet. Since apps/v1 the selector and the labels are no longer copied from the template: both
// are the author's to write.
func SetReplicaSet(obj *appsv1.ReplicaSet) {
	setIfNil(&obj.Spec.Replicas, 1)
	setPodSpec(&obj.Spec.Template.Spec)
}

package registry

import (
	"context"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func appsGroup() group {
	return group{gv: appsv1.SchemeGroupVersion, entries: []entry{deployments, replicaSets, daemonSets, statefulSets, controllerRevisions}}
}

var deployments = Kind[*appsv1.Deployment]{
	Resource: "deployments", Singular: "deployment", ShortNames: []string{"deploy"}, Categories: []string{"all"},
	New: func() *appsv1.Deployment { return &appsv1.Deployment{} }, NewList: func() runtime.Object { return &appsv1.DeploymentList{} },
	Columns:   columns.Deployment,
	HasStatus: true, StatusAlone: true, HasGeneration: true,
	PrepareUpdate: func(_ context.Context, d, old *appsv1.Deployment) {
		// What happens to the pod template of a Deployment that goes away must not start another rollout.
		if old.DeletionTimestamp != nil {
			d.Spec.Template = old.Spec.Template
		}
	},
	Validate: validation.Deployment, ValidateUpdate: validation.DeploymentUpdate, ValidateStatus: validation.DeploymentStatusUpdate,
	Scale: &Scale[*appsv1.Deployment]{
		Get: func(d *appsv1.Deployment) (int32, int32, string) {
			return replicas(d.Spec.Replicas), d.Status.Replicas, selector(d.Spec.Selector)
		},
		Set: func(d *appsv1.Deployment, n int32) { d.Spec.Replicas = &n },
	},
}

var replicaSets = Kind[*appsv1.ReplicaSet]{
	Resource: "replicasets", Singular: "replicaset", ShortNames: []string{"rs"}, Categories: []string{"all"},
	New: func() *appsv1.ReplicaSet { return &appsv1.ReplicaSet{} }, NewList: func() runtime.Object { return &appsv1.ReplicaSetList{} },
	Columns:   columns.ReplicaSet,
	HasStatus: true, StatusAlone: true, MetadataWithStatus: true, HasGeneration: true,
	Validate: validation.ReplicaSet, ValidateUpdate: validation.ReplicaSetUpdate, ValidateStatus: validation.ReplicaSetStatusUpdate,
	Fields: func(rs *appsv1.ReplicaSet) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(rs.Status.Replicas))}
	},
	Scale: &Scale[*appsv1.ReplicaSet]{
		Get: func(rs *appsv1.ReplicaSet) (int32, int32, string) {
			return replicas(rs.Spec.Replicas), rs.Status.Replicas, selector(rs.Spec.Selector)
		},
		Set: func(rs *appsv1.ReplicaSet, n int32) { rs.Spec.Replicas = &n },
	},
}

// replicas is the number that a workload asks for; the API's default is one.
func replicas(n *int32) int32 {
	if n == nil {
		return 1
	}
	return *n
}

// selector is the text form of a selector that validation has accepted before.
func selector(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return ""
	}
	return parsed.String()
}

var daemonSets = Kind[*appsv1.DaemonSet]{
	Resource: "daemonsets", Singular: "daemonset", ShortNames: []string{"ds"}, Categories: []string{"all"},
	New: func() *appsv1.DaemonSet { return &appsv1.DaemonSet{} }, NewList: func() runtime.Object { return &appsv1.DaemonSetList{} },
	Columns:   columns.DaemonSet,
	HasStatus: true, StatusAlone: true, MetadataWithStatus: true, HasGeneration: true,
	Validate: validation.DaemonSet, ValidateUpdate: validation.DaemonSetUpdate, ValidateStatus: validation.DaemonSetStatusUpdate,
}

var statefulSets = Kind[*appsv1.StatefulSet]{
	Resource: "statefulsets", Singular: "statefulset", ShortNames: []string{"sts"}, Categories: []string{"all"},
	New: func() *appsv1.StatefulSet { return &appsv1.StatefulSet{} }, NewList: func() runtime.Object { return &appsv1.StatefulSetList{} },
	Columns:   columns.StatefulSet,
	HasStatus: true, StatusAlone: true, MetadataWithStatus: true, HasGeneration: true,
	Validate: validation.StatefulSet, ValidateUpdate: validation.StatefulSetUpdate, ValidateStatus: validation.StatefulSetStatusUpdate,
	Scale: &Scale[*appsv1.StatefulSet]{
		Get: func(s *appsv1.StatefulSet) (int32, int32, string) {
			return replicas(s.Spec.Replicas), s.Status.Replicas, selector(s.Spec.Selector)
		},
		Set: func(s *appsv1.StatefulSet, n int32) { s.Spec.Replicas = &n },
	},
}

var controllerRevisions = Kind[*appsv1.ControllerRevision]{
	Resource: "controllerrevisions", Singular: "controllerrevision",
	New: func() *appsv1.ControllerRevision { return &appsv1.ControllerRevision{} }, NewList: func() runtime.Object { return &appsv1.ControllerRevisionList{} },
	Columns:  columns.ControllerRevision,
	Validate: validation.ControllerRevision, ValidateUpdate: validation.ControllerRevisionUpdate,
}

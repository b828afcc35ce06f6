package registry

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

var endpoints = Kind[*corev1.Endpoints]{
	Resource: "endpoints", Singular: "endpoints", ShortNames: []string{"ep"},
	New: func() *corev1.Endpoints { return &corev1.Endpoints{} }, NewList: func() runtime.Object { return &corev1.EndpointsList{} },
	Columns:  columns.Endpoints,
	Validate: validation.Endpoints, ValidateUpdate: validation.EndpointsUpdate,
	CreateOnUpdate: true,
	Warnings: func(*corev1.Endpoints) []string {
		return []string{"v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"}
	},
}

var replicationControllers = Kind[*corev1.ReplicationController]{
	Resource: "replicationcontrollers", Singular: "replicationcontroller", ShortNames: []string{"rc"}, Categories: []string{"all"},
	New: func() *corev1.ReplicationController { return &corev1.ReplicationController{} }, NewList: func() runtime.Object { return &corev1.ReplicationControllerList{} },
	Columns:   columns.ReplicationController,
	HasStatus: true, HasGeneration: true, MetadataWithStatus: true,
	Validate: validation.ReplicationController, ValidateUpdate: validation.ReplicationControllerUpdate, ValidateStatus: validation.ReplicationControllerStatusUpdate,
	Fields: func(rc *corev1.ReplicationController) fields.Set {
		return fields.Set{"status.replicas": strconv.Itoa(int(rc.Status.Replicas))}
	},
	Scale: &Scale[*corev1.ReplicationController]{
		Get: func(rc *corev1.ReplicationController) (int32, int32, string) {
			return replicas(rc.Spec.Replicas), rc.Status.Replicas, labels.Set(rc.Spec.Selector).String()
		},
		Set: func(rc *corev1.ReplicationController, n int32) { rc.Spec.Replicas = &n },
	},
}

var podTemplates = Kind[*corev1.PodTemplate]{
	Resource: "podtemplates", Singular: "podtemplate",
	New: func() *corev1.PodTemplate { return &corev1.PodTemplate{} }, NewList: func() runtime.Object { return &corev1.PodTemplateList{} },
	Columns:       columns.PodTemplate,
	HasGeneration: true,
	Validate:      validation.PodTemplate, ValidateUpdate: validation.PodTemplateUpdate,
}

var limitRanges = Kind[*corev1.LimitRange]{
	Resource: "limitranges", Singular: "limitrange", ShortNames: []string{"limits"},
	New: func() *corev1.LimitRange { return &corev1.LimitRange{} }, NewList: func() runtime.Object { return &corev1.LimitRangeList{} },
	Columns:        columns.LimitRange,
	CreateOnUpdate: true,
	Validate:       validation.LimitRange, ValidateUpdate: validation.LimitRangeUpdate,
}

var resourceQuotas = Kind[*corev1.ResourceQuota]{
	Resource: "resourcequotas", Singular: "resourcequota", ShortNames: []string{"quota"},
	New: func() *corev1.ResourceQuota { return &corev1.ResourceQuota{} }, NewList: func() runtime.Object { return &corev1.ResourceQuotaList{} },
	Columns:   columns.ResourceQuota,
	HasStatus: true, MetadataWithStatus: true,
	Validate: validation.ResourceQuota, ValidateUpdate: validation.ResourceQuotaUpdate, ValidateStatus: validation.ResourceQuotaStatusUpdate,
}

package registry

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// autoscalingGroup stores version 2, which can say everything that version 1 can; version 1 is a view of it.
func autoscalingGroup() group {
	return group{gv: autoscalingv2.SchemeGroupVersion, entries: []entry{Kind[*autoscalingv2.HorizontalPodAutoscaler]{
		Resource: "horizontalpodautoscalers", Singular: "horizontalpodautoscaler", ShortNames: []string{"hpa"}, Categories: []string{"all"},
		New: func() *autoscalingv2.HorizontalPodAutoscaler { return &autoscalingv2.HorizontalPodAutoscaler{} }, NewList: func() runtime.Object { return &autoscalingv2.HorizontalPodAutoscalerList{} },
		Columns:   columns.HorizontalPodAutoscaler,
		HasStatus: true, MetadataWithStatus: true, HasGeneration: true,
		Validate: validation.HorizontalPodAutoscaler, ValidateUpdate: validation.HorizontalPodAutoscalerUpdate, ValidateStatus: validation.HorizontalPodAutoscalerStatusUpdate,
	}}}
}

func flowcontrolGroup() group {
	return group{gv: flowcontrolv1.SchemeGroupVersion, entries: []entry{
		Kind[*flowcontrolv1.FlowSchema]{
			Resource: "flowschemas", Singular: "flowschema", ClusterScoped: true,
			New: func() *flowcontrolv1.FlowSchema { return &flowcontrolv1.FlowSchema{} }, NewList: func() runtime.Object { return &flowcontrolv1.FlowSchemaList{} },
			Columns:   columns.FlowSchema,
			HasStatus: true, HasGeneration: true, MetadataWithStatus: true,
			Validate: validation.FlowSchema, ValidateUpdate: validation.FlowSchemaUpdate, ValidateStatus: validation.FlowSchemaStatusUpdate,
		},
		Kind[*flowcontrolv1.PriorityLevelConfiguration]{
			Resource: "prioritylevelconfigurations", Singular: "prioritylevelconfiguration", ClusterScoped: true,
			New: func() *flowcontrolv1.PriorityLevelConfiguration { return &flowcontrolv1.PriorityLevelConfiguration{} }, NewList: func() runtime.Object { return &flowcontrolv1.PriorityLevelConfigurationList{} },
			Columns:   columns.PriorityLevelConfiguration,
			HasStatus: true, HasGeneration: true, MetadataWithStatus: true,
			Validate: validation.PriorityLevelConfiguration, ValidateUpdate: validation.PriorityLevelConfigurationUpdate, ValidateStatus: validation.PriorityLevelConfigurationStatusUpdate,
		},
	}}
}

func storageMigrationGroup() group {
	return group{gv: storagemigrationv1.SchemeGroupVersion, entries: []entry{Kind[*storagemigrationv1.StorageVersionMigration]{
		Resource: "storageversionmigrations", Singular: "storageversionmigration", ClusterScoped: true,
		New: func() *storagemigrationv1.StorageVersionMigration {
			return &storagemigrationv1.StorageVersionMigration{}
		}, NewList: func() runtime.Object { return &storagemigrationv1.StorageVersionMigrationList{} },
		Columns:   columns.StorageVersionMigration,
		HasStatus: true, Conditional: true,
		Validate: validation.StorageVersionMigration, ValidateUpdate: validation.StorageVersionMigrationUpdate, ValidateStatus: validation.StorageVersionMigrationStatusUpdate,
	}}}
}

func resourceGroup() group {
	return group{gv: resourcev1.SchemeGroupVersion, entries: []entry{
		Kind[*resourcev1.DeviceClass]{
			Resource: "deviceclasses", Singular: "deviceclass", ClusterScoped: true,
			New: func() *resourcev1.DeviceClass { return &resourcev1.DeviceClass{} }, NewList: func() runtime.Object { return &resourcev1.DeviceClassList{} },
			Columns: columns.DeviceClass, HasGeneration: true,
			Validate: validation.DeviceClass, ValidateUpdate: validation.DeviceClassUpdate,
		},
		Kind[*resourcev1.ResourceClaim]{
			Resource: "resourceclaims", Singular: "resourceclaim",
			New: func() *resourcev1.ResourceClaim { return &resourcev1.ResourceClaim{} }, NewList: func() runtime.Object { return &resourcev1.ResourceClaimList{} },
			Columns: columns.ResourceClaim, HasStatus: true,
			Validate: validation.ResourceClaim, ValidateUpdate: validation.ResourceClaimUpdate, ValidateStatus: validation.ResourceClaimStatusUpdate,
		},
		Kind[*resourcev1.ResourceClaimTemplate]{
			Resource: "resourceclaimtemplates", Singular: "resourceclaimtemplate",
			New: func() *resourcev1.ResourceClaimTemplate { return &resourcev1.ResourceClaimTemplate{} }, NewList: func() runtime.Object { return &resourcev1.ResourceClaimTemplateList{} },
			Columns:  columns.ResourceClaimTemplate,
			Validate: validation.ResourceClaimTemplate, ValidateUpdate: validation.ResourceClaimTemplateUpdate,
		},
		Kind[*resourcev1.ResourceSlice]{
			Resource: "resourceslices", Singular: "resourceslice", ClusterScoped: true,
			New: func() *resourcev1.ResourceSlice { return &resourcev1.ResourceSlice{} }, NewList: func() runtime.Object { return &resourcev1.ResourceSliceList{} },
			Columns: columns.ResourceSlice, HasGeneration: true,
			Validate: validation.ResourceSlice, ValidateUpdate: validation.ResourceSliceUpdate,
			Fields: func(s *resourcev1.ResourceSlice) fields.Set {
				node := ""
				if s.Spec.NodeName != nil {
					node = *s.Spec.NodeName
				}
				return fields.Set{"spec.nodeName": node, "spec.driver": s.Spec.Driver}
			},
		},
	}}
}

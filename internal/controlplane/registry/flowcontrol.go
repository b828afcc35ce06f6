package registry

import (
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

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

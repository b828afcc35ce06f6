package registry

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"
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

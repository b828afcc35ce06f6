package registry

import (
	"context"

	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

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
		Kind[*resourcev1.DeviceTaintRule]{
			Resource: "devicetaintrules", Singular: "devicetaintrule", ClusterScoped: true,
			New: func() *resourcev1.DeviceTaintRule { return &resourcev1.DeviceTaintRule{} }, NewList: func() runtime.Object { return &resourcev1.DeviceTaintRuleList{} },
			Columns: columns.DeviceTaintRule, HasGeneration: true, HasStatus: true,
			PrepareCreate: func(_ context.Context, r *resourcev1.DeviceTaintRule) { stampTaint(&r.Spec.Taint, nil) },
			PrepareUpdate: func(_ context.Context, r, old *resourcev1.DeviceTaintRule) {
				stampTaint(&r.Spec.Taint, &old.Spec.Taint)
			},
			Validate: validation.DeviceTaintRule, ValidateUpdate: validation.DeviceTaintRuleUpdate, ValidateStatus: validation.DeviceTaintRuleStatusUpdate,
		},
	}}
}

// stampTaint notes since when the taint has its effect, where that is not said: now, if it is new or another one than before.
func stampTaint(t, old *resourcev1.DeviceTaint) {
	if t.TimeAdded == nil || old != nil && old.TimeAdded != nil && t.TimeAdded.Equal(old.TimeAdded) && t.Effect != old.Effect {
		t.TimeAdded = ptr.To(metav1.Now())
	}
}

package registry

import (
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func networkingGroup() group {
	return group{gv: networkingv1.SchemeGroupVersion, entries: []entry{
		Kind[*networkingv1.Ingress]{
			Resource: "ingresses", Singular: "ingress", ShortNames: []string{"ing"},
			New: func() *networkingv1.Ingress { return &networkingv1.Ingress{} }, NewList: func() runtime.Object { return &networkingv1.IngressList{} },
			Columns:   columns.Ingress,
			HasStatus: true, MetadataWithStatus: true, HasGeneration: true,
			Validate: validation.Ingress, ValidateUpdate: validation.IngressUpdate, ValidateStatus: validation.IngressStatusUpdate,
		},
		Kind[*networkingv1.IngressClass]{
			Resource: "ingressclasses", Singular: "ingressclass", ClusterScoped: true,
			New: func() *networkingv1.IngressClass { return &networkingv1.IngressClass{} }, NewList: func() runtime.Object { return &networkingv1.IngressClassList{} },
			Columns:       columns.IngressClass,
			HasGeneration: true,
			Validate:      validation.IngressClass, ValidateUpdate: validation.IngressClassUpdate,
		},
		Kind[*networkingv1.NetworkPolicy]{
			Resource: "networkpolicies", Singular: "networkpolicy", ShortNames: []string{"netpol"},
			New: func() *networkingv1.NetworkPolicy { return &networkingv1.NetworkPolicy{} }, NewList: func() runtime.Object { return &networkingv1.NetworkPolicyList{} },
			Columns:       columns.NetworkPolicy,
			HasGeneration: true,
			Validate:      validation.NetworkPolicy, ValidateUpdate: validation.NetworkPolicyUpdate,
		},
		Kind[*networkingv1.IPAddress]{
			Resource: "ipaddresses", Singular: "ipaddress", ShortNames: []string{"ip"}, ClusterScoped: true,
			New: func() *networkingv1.IPAddress { return &networkingv1.IPAddress{} }, NewList: func() runtime.Object { return &networkingv1.IPAddressList{} },
			Columns:  columns.IPAddress,
			Validate: validation.IPAddress, ValidateUpdate: validation.IPAddressUpdate,
			Fields: func(a *networkingv1.IPAddress) fields.Set {
				var ref networkingv1.ParentReference
				if a.Spec.ParentRef != nil {
					ref = *a.Spec.ParentRef
				}
				return fields.Set{
					"spec.parentRef.group": ref.Group, "spec.parentRef.resource": ref.Resource, "spec.parentRef.namespace": ref.Namespace, "spec.parentRef.name": ref.Name,
				}
			},
		},
		Kind[*networkingv1.ServiceCIDR]{
			Resource: "servicecidrs", Singular: "servicecidr", ClusterScoped: true,
			New: func() *networkingv1.ServiceCIDR { return &networkingv1.ServiceCIDR{} }, NewList: func() runtime.Object { return &networkingv1.ServiceCIDRList{} },
			Columns:   columns.ServiceCIDR,
			HasStatus: true,
			Validate:  validation.ServiceCIDR, ValidateUpdate: validation.ServiceCIDRUpdate, ValidateStatus: validation.ServiceCIDRStatusUpdate,
		},
	}}
}

func policyGroup() group {
	return group{gv: policyv1.SchemeGroupVersion, entries: []entry{Kind[*policyv1.PodDisruptionBudget]{
		Resource: "poddisruptionbudgets", Singular: "poddisruptionbudget", ShortNames: []string{"pdb"},
		New: func() *policyv1.PodDisruptionBudget { return &policyv1.PodDisruptionBudget{} }, NewList: func() runtime.Object { return &policyv1.PodDisruptionBudgetList{} },
		Columns:   columns.PodDisruptionBudget,
		HasStatus: true, MetadataWithStatus: true, HasGeneration: true, Conditional: true,
		Validate: validation.PodDisruptionBudget, ValidateUpdate: validation.PodDisruptionBudgetUpdate, ValidateStatus: validation.PodDisruptionBudgetStatusUpdate,
	}}}
}

func schedulingGroup() group {
	return group{gv: schedulingv1.SchemeGroupVersion, entries: []entry{Kind[*schedulingv1.PriorityClass]{
		Resource: "priorityclasses", Singular: "priorityclass", ShortNames: []string{"pc"}, ClusterScoped: true,
		New: func() *schedulingv1.PriorityClass { return &schedulingv1.PriorityClass{} }, NewList: func() runtime.Object { return &schedulingv1.PriorityClassList{} },
		Columns:       columns.PriorityClass,
		HasGeneration: true,
		Validate:      validation.PriorityClass, ValidateUpdate: validation.PriorityClassUpdate,
	}}}
}

func nodeGroup() group {
	return group{gv: nodev1.SchemeGroupVersion, entries: []entry{Kind[*nodev1.RuntimeClass]{
		Resource: "runtimeclasses", Singular: "runtimeclass", ClusterScoped: true,
		New: func() *nodev1.RuntimeClass { return &nodev1.RuntimeClass{} }, NewList: func() runtime.Object { return &nodev1.RuntimeClassList{} },
		Columns:     columns.RuntimeClass,
		Conditional: true,
		Validate:    validation.RuntimeClass, ValidateUpdate: validation.RuntimeClassUpdate,
	}}}
}

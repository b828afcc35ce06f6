package registry

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// extensions is the category of what changes how the API itself behaves.
var extensions = []string{"api-extensions"}

func admissionGroup() group {
	return group{gv: admissionregistrationv1.SchemeGroupVersion, entries: []entry{
		Kind[*admissionregistrationv1.ValidatingWebhookConfiguration]{
			Resource: "validatingwebhookconfigurations", Singular: "validatingwebhookconfiguration", Categories: extensions, ClusterScoped: true,
			New: func() *admissionregistrationv1.ValidatingWebhookConfiguration {
				return &admissionregistrationv1.ValidatingWebhookConfiguration{}
			},
			NewList: func() runtime.Object { return &admissionregistrationv1.ValidatingWebhookConfigurationList{} },
			Columns: columns.ValidatingWebhookConfiguration, HasGeneration: true, Conditional: true,
			Validate: validation.ValidatingWebhookConfiguration, ValidateUpdate: validation.ValidatingWebhookConfigurationUpdate,
		},
		Kind[*admissionregistrationv1.MutatingWebhookConfiguration]{
			Resource: "mutatingwebhookconfigurations", Singular: "mutatingwebhookconfiguration", Categories: extensions, ClusterScoped: true,
			New: func() *admissionregistrationv1.MutatingWebhookConfiguration {
				return &admissionregistrationv1.MutatingWebhookConfiguration{}
			},
			NewList: func() runtime.Object { return &admissionregistrationv1.MutatingWebhookConfigurationList{} },
			Columns: columns.MutatingWebhookConfiguration, HasGeneration: true, Conditional: true,
			Validate: validation.MutatingWebhookConfiguration, ValidateUpdate: validation.MutatingWebhookConfigurationUpdate,
		},
		Kind[*admissionregistrationv1.ValidatingAdmissionPolicy]{
			Resource: "validatingadmissionpolicies", Singular: "validatingadmissionpolicy", Categories: extensions, ClusterScoped: true,
			New: func() *admissionregistrationv1.ValidatingAdmissionPolicy {
				return &admissionregistrationv1.ValidatingAdmissionPolicy{}
			},
			NewList: func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyList{} },
			Columns: columns.ValidatingAdmissionPolicy, HasStatus: true, HasGeneration: true, Conditional: true,
			Validate: validation.ValidatingAdmissionPolicy, ValidateUpdate: validation.ValidatingAdmissionPolicyUpdate,
			ValidateStatus: validation.ValidatingAdmissionPolicyStatusUpdate,
		},
		Kind[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
			Resource: "validatingadmissionpolicybindings", Singular: "validatingadmissionpolicybinding", Categories: extensions, ClusterScoped: true,
			New: func() *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
				return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
			},
			NewList: func() runtime.Object { return &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{} },
			Columns: columns.ValidatingAdmissionPolicyBinding, HasGeneration: true, Conditional: true,
			Validate: validation.ValidatingAdmissionPolicyBinding, ValidateUpdate: validation.ValidatingAdmissionPolicyBindingUpdate,
		},
		Kind[*admissionregistrationv1.MutatingAdmissionPolicy]{
			Resource: "mutatingadmissionpolicies", Singular: "mutatingadmissionpolicy", Categories: extensions, ClusterScoped: true,
			New: func() *admissionregistrationv1.MutatingAdmissionPolicy {
				return &admissionregistrationv1.MutatingAdmissionPolicy{}
			},
			NewList: func() runtime.Object { return &admissionregistrationv1.MutatingAdmissionPolicyList{} },
			Columns: columns.MutatingAdmissionPolicy, HasGeneration: true, Conditional: true,
			Validate: validation.MutatingAdmissionPolicy, ValidateUpdate: validation.MutatingAdmissionPolicyUpdate,
		},
		Kind[*admissionregistrationv1.MutatingAdmissionPolicyBinding]{
			Resource: "mutatingadmissionpolicybindings", Singular: "mutatingadmissionpolicybinding", Categories: extensions, ClusterScoped: true,
			New: func() *admissionregistrationv1.MutatingAdmissionPolicyBinding {
				return &admissionregistrationv1.MutatingAdmissionPolicyBinding{}
			},
			NewList: func() runtime.Object { return &admissionregistrationv1.MutatingAdmissionPolicyBindingList{} },
			Columns: columns.MutatingAdmissionPolicyBinding, HasGeneration: true, Conditional: true,
			Validate: validation.MutatingAdmissionPolicyBinding, ValidateUpdate: validation.MutatingAdmissionPolicyBindingUpdate,
		},
	}}
}

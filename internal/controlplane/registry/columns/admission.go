package columns

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var webhookColumns = []metav1.TableColumnDefinition{name(), integer("Webhooks", "Number of webhooks"), age()}

// ValidatingWebhookConfiguration shows how many webhooks there are.
var ValidatingWebhookConfiguration = Table[*admissionregistrationv1.ValidatingWebhookConfiguration]{
	Columns: webhookColumns,
	Row: func(c *admissionregistrationv1.ValidatingWebhookConfiguration) []any {
		return []any{c.Name, int64(len(c.Webhooks)), ageOf(c.CreationTimestamp)}
	},
}

// MutatingWebhookConfiguration shows how many webhooks there are.
var MutatingWebhookConfiguration = Table[*admissionregistrationv1.MutatingWebhookConfiguration]{
	Columns: webhookColumns,
	Row: func(c *admissionregistrationv1.MutatingWebhookConfiguration) []any {
		return []any{c.Name, int64(len(c.Webhooks)), ageOf(c.CreationTimestamp)}
	},
}

// ValidatingAdmissionPolicy shows how much a policy checks.
var ValidatingAdmissionPolicy = Table[*admissionregistrationv1.ValidatingAdmissionPolicy]{
	Columns: []metav1.TableColumnDefinition{name(), integer("Validations", "Number of rules"), text("ParamKind", "Kind of its parameters"), age()},
	Row: func(p *admissionregistrationv1.ValidatingAdmissionPolicy) []any {
		return []any{p.Name, int64(len(p.Spec.Validations)), paramKind(p.Spec.ParamKind), ageOf(p.CreationTimestamp)}
	},
}

// MutatingAdmissionPolicy shows how much a policy changes.
var MutatingAdmissionPolicy = Table[*admissionregistrationv1.MutatingAdmissionPolicy]{
	Columns: []metav1.TableColumnDefinition{name(), integer("Mutations", "Number of changes"), text("ParamKind", "Kind of its parameters"), age()},
	Row: func(p *admissionregistrationv1.MutatingAdmissionPolicy) []any {
		return []any{p.Name, int64(len(p.Spec.Mutations)), paramKind(p.Spec.ParamKind), ageOf(p.CreationTimestamp)}
	},
}

func paramKind(k *admissionregistrationv1.ParamKind) string {
	if k == nil {
		return unset
	}
	return k.APIVersion + "/" + k.Kind
}

var policyBindingColumns = []metav1.TableColumnDefinition{name(), text("PolicyName", "Policy that is put into force"), text("ParamRef", "Its parameters"), age()}

// ValidatingAdmissionPolicyBinding shows which policy is in force, with what.
var ValidatingAdmissionPolicyBinding = Table[*admissionregistrationv1.ValidatingAdmissionPolicyBinding]{
	Columns: policyBindingColumns,
	Row: func(b *admissionregistrationv1.ValidatingAdmissionPolicyBinding) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), ageOf(b.CreationTimestamp)}
	},
}

// MutatingAdmissionPolicyBinding shows which policy is in force, with what.
var MutatingAdmissionPolicyBinding = Table[*admissionregistrationv1.MutatingAdmissionPolicyBinding]{
	Columns: policyBindingColumns,
	Row: func(b *admissionregistrationv1.MutatingAdmissionPolicyBinding) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRef(b.Spec.ParamRef), ageOf(b.CreationTimestamp)}
	},
}

func paramRef(ref *admissionregistrationv1.ParamRef) string {
	switch {
	case ref == nil:
		return unset
	case ref.Namespace != "":
		return ref.Namespace + "/" + ref.Name
	}
	return "*/" + ref.Name
}

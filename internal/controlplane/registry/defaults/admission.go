package defaults

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// SetValidatingWebhookConfiguration completes the webhooks: what cannot be asked is refused, within ten seconds.
func SetValidatingWebhookConfiguration(obj *admissionregistrationv1.ValidatingWebhookConfiguration) {
	for i := range obj.Webhooks {
		h := &obj.Webhooks[i]
		setIfNil(&h.FailurePolicy, admissionregistrationv1.Fail)
		setIfNil(&h.MatchPolicy, admissionregistrationv1.Equivalent)
		setIfNil(&h.NamespaceSelector, metav1.LabelSelector{})
		setIfNil(&h.ObjectSelector, metav1.LabelSelector{})
		setIfNil(&h.TimeoutSeconds, 10)
		setWebhook(&h.ClientConfig, h.Rules)
	}
}

// SetMutatingWebhookConfiguration completes the webhooks; each is asked once.
func SetMutatingWebhookConfiguration(obj *admissionregistrationv1.MutatingWebhookConfiguration) {
	for i := range obj.Webhooks {
		h := &obj.Webhooks[i]
		setIfNil(&h.FailurePolicy, admissionregistrationv1.Fail)
		setIfNil(&h.MatchPolicy, admissionregistrationv1.Equivalent)
		setIfNil(&h.NamespaceSelector, metav1.LabelSelector{})
		setIfNil(&h.ObjectSelector, metav1.LabelSelector{})
		setIfNil(&h.TimeoutSeconds, 10)
		setIfNil(&h.ReinvocationPolicy, admissionregistrationv1.NeverReinvocationPolicy)
		setWebhook(&h.ClientConfig, h.Rules)
	}
}

func setWebhook(c *admissionregistrationv1.WebhookClientConfig, rules []admissionregistrationv1.RuleWithOperations) {
	if c.Service != nil {
		setIfNil(&c.Service.Port, 443)
	}
	for i := range rules {
		setIfNil(&rules[i].Scope, admissionregistrationv1.AllScopes)
	}
}

// SetValidatingAdmissionPolicy completes a policy: an expression that fails refuses the request.
func SetValidatingAdmissionPolicy(obj *admissionregistrationv1.ValidatingAdmissionPolicy) {
	setIfNil(&obj.Spec.FailurePolicy, admissionregistrationv1.Fail)
	setMatchResources(obj.Spec.MatchConstraints)
}

// SetValidatingAdmissionPolicyBinding completes a binding.
func SetValidatingAdmissionPolicyBinding(obj *admissionregistrationv1.ValidatingAdmissionPolicyBinding) {
	setMatchResources(obj.Spec.MatchResources)
}

// SetMutatingAdmissionPolicy completes a policy.
func SetMutatingAdmissionPolicy(obj *admissionregistrationv1.MutatingAdmissionPolicy) {
	setIfNil(&obj.Spec.FailurePolicy, admissionregistrationv1.Fail)
	setMatchResources(obj.Spec.MatchConstraints)
}

// SetMutatingAdmissionPolicyBinding completes a binding.
func SetMutatingAdmissionPolicyBinding(obj *admissionregistrationv1.MutatingAdmissionPolicyBinding) {
	setMatchResources(obj.Spec.MatchResources)
}

func setMatchResources(m *admissionregistrationv1.MatchResources) {
	if m == nil {
		return
	}
	setIfNil(&m.MatchPolicy, admissionregistrationv1.Equivalent)
	setIfNil(&m.NamespaceSelector, metav1.LabelSelector{})
	setIfNil(&m.ObjectSelector, metav1.LabelSelector{})
	for _, rules := range [][]admissionregistrationv1.NamedRuleWithOperations{m.ResourceRules, m.ExcludeResourceRules} {
		for i := range rules {
			setIfNil(&rules[i].Scope, admissionregistrationv1.AllScopes)
		}
	}
}

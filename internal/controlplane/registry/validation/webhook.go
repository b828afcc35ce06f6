package validation

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/util/webhook"
)

// webhookHook is what both kinds of admission webhook have in common.
type webhookHook struct {
	*admissionregistrationv1.ValidatingWebhook
	reinvocation *admissionregistrationv1.ReinvocationPolicyType
}

func validatingHooks(list []admissionregistrationv1.ValidatingWebhook) []webhookHook {
	out := make([]webhookHook, len(list))
	for i := range list {
		out[i] = webhookHook{ValidatingWebhook: &list[i]}
	}
	return out
}

func mutatingHooks(list []admissionregistrationv1.MutatingWebhook) []webhookHook {
	out := make([]webhookHook, len(list))
	for i := range list {
		h := &list[i]
		out[i] = webhookHook{reinvocation: h.ReinvocationPolicy, ValidatingWebhook: &admissionregistrationv1.ValidatingWebhook{
			Name: h.Name, ClientConfig: h.ClientConfig, Rules: h.Rules, FailurePolicy: h.FailurePolicy, MatchPolicy: h.MatchPolicy,
			NamespaceSelector: h.NamespaceSelector, ObjectSelector: h.ObjectSelector, SideEffects: h.SideEffects, TimeoutSeconds: h.TimeoutSeconds,
			AdmissionReviewVersions: h.AdmissionReviewVersions, MatchConditions: h.MatchConditions,
		}}
	}
	return out
}

// ValidatingWebhookConfiguration says what may be created.
func ValidatingWebhookConfiguration(obj *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
	return append(clusterMeta(&obj.ObjectMeta, dnsSubdomainName), webhooks(validatingHooks(obj.Webhooks), nil)...)
}

// ValidatingWebhookConfigurationUpdate says what a ValidatingWebhookConfiguration may be replaced with.
func ValidatingWebhookConfigurationUpdate(obj, old *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, webhooks(validatingHooks(obj.Webhooks), validatingHooks(old.Webhooks))...)
}

// MutatingWebhookConfiguration says what may be created.
func MutatingWebhookConfiguration(obj *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
	return append(clusterMeta(&obj.ObjectMeta, dnsSubdomainName), webhooks(mutatingHooks(obj.Webhooks), nil)...)
}

// MutatingWebhookConfigurationUpdate says what a MutatingWebhookConfiguration may be replaced with.
func MutatingWebhookConfigurationUpdate(obj, old *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	return append(errs, webhooks(mutatingHooks(obj.Webhooks), mutatingHooks(old.Webhooks))...)
}

func webhooks(list, old []webhookHook) field.ErrorList {
	stored := sets.New[string]()
	for _, h := range old {
		for _, c := range h.MatchConditions {
			stored.Insert(strings.TrimSpace(c.Expression))
		}
	}
	var errs field.ErrorList
	names := map[string]bool{}
	for i, h := range list {
		at := field.NewPath("webhooks").Index(i)
		errs = append(errs, admissionWebhook(at, h, stored)...)
		if names[h.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), h.Name))
		}
		names[h.Name] = true
	}
	return errs
}

func admissionWebhook(at *field.Path, h webhookHook, stored sets.Set[string]) field.ErrorList {
	errs := validation.IsFullyQualifiedName(at.Child("name"), h.Name)
	errs = append(errs, reviewVersions(at.Child("admissionReviewVersions"), h.AdmissionReviewVersions)...)
	for i := range h.Rules {
		errs = append(errs, operationsAndRule(at.Child("rules").Index(i), &h.Rules[i])...)
	}
	errs = append(errs, optionalOneOf(at.Child("failurePolicy"), h.FailurePolicy, admissionregistrationv1.Fail, admissionregistrationv1.Ignore)...)
	errs = append(errs, optionalOneOf(at.Child("matchPolicy"), h.MatchPolicy, admissionregistrationv1.Exact, admissionregistrationv1.Equivalent)...)
	if h.SideEffects == nil {
		errs = append(errs, field.Required(at.Child("sideEffects"), "must specify one of None, NoneOnDryRun"))
	}
	// A webhook with other side effects would act on dry runs.
	errs = append(errs, optionalOneOf(at.Child("sideEffects"), h.SideEffects, admissionregistrationv1.SideEffectClassNone, admissionregistrationv1.SideEffectClassNoneOnDryRun)...)
	if n := h.TimeoutSeconds; n != nil && (*n < 1 || *n > 30) {
		errs = append(errs, field.Invalid(at.Child("timeoutSeconds"), *n, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, optionalSelector(at.Child("namespaceSelector"), h.NamespaceSelector)...)
	errs = append(errs, optionalSelector(at.Child("objectSelector"), h.ObjectSelector)...)
	errs = append(errs, optionalOneOf(at.Child("reinvocationPolicy"), h.reinvocation, admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.IfNeededReinvocationPolicy)...)
	errs = append(errs, webhookClient(at.Child("clientConfig"), &h.ClientConfig)...)
	return append(errs, matchConditions(at.Child("matchConditions"), h.MatchConditions, false, stored)...)
}

func webhookClient(at *field.Path, c *admissionregistrationv1.WebhookClientConfig) field.ErrorList {
	switch {
	case (c.URL == nil) == (c.Service == nil):
		return field.ErrorList{field.Required(at, "exactly one of url or service is required")}
	case c.URL != nil:
		return webhook.ValidateWebhookURL(at.Child("url"), *c.URL, true)
	}
	port := int32(443)
	if c.Service.Port != nil {
		port = *c.Service.Port
	}
	return webhook.ValidateWebhookService(at.Child("service"), c.Service.Name, c.Service.Namespace, c.Service.Path, port)
}

// reviewVersions wants at least one version of AdmissionReview that this server can send.
func reviewVersions(at *field.Path, versions []string) field.ErrorList {
	known := []string{"v1", "v1beta1"}
	if len(versions) == 0 {
		return field.ErrorList{field.Required(at, "must specify one of "+strings.Join(known, ", "))}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	spoken := false
	for i, v := range versions {
		errs = append(errs, invalid(at.Index(i), v, validation.IsDNS1035Label(v))...)
		if seen[v] {
			errs = append(errs, field.Invalid(at.Index(i), v, "duplicate version"))
		}
		seen[v] = true
		spoken = spoken || slices.Contains(known, v)
	}
	if !spoken {
		errs = append(errs, field.Invalid(at, versions, "must include at least one of "+strings.Join(known, ", ")))
	}
	return errs
}

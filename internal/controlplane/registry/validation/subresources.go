package validation

import (
	authenticationv1 "k8s.io/api/authentication/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Binding says what a scheduler may post: a Pod can be bound to a Node.
func Binding(obj *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	target := field.NewPath("target")
	if kind := obj.Target.Kind; kind != "" && kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), kind, []string{"Node", "<empty>"}))
	}
	return append(errs, required(target.Child("name"), obj.Target.Name)...)
}

// Eviction says what may be posted to a Pod's eviction subresource. The Pod is named by the request's path.
func Eviction(obj *policyv1.Eviction) field.ErrorList {
	if obj.DeleteOptions == nil {
		return nil
	}
	return metav1validation.ValidateDeleteOptions(obj.DeleteOptions)
}

// Scale says what a scale subresource may be replaced with.
func Scale(obj *autoscalingv1.Scale) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	return append(errs, nonNegative(specPath.Child("replicas"), obj.Spec.Replicas)...)
}

// TokenRequest says what may be posted to a ServiceAccount's token subresource. Whether the object that the token is to be bound
// to exists is asked by the registry.
func TokenRequest(obj *authenticationv1.TokenRequest) field.ErrorList {
	if obj.Spec.ExpirationSeconds == nil {
		return field.ErrorList{field.Required(specPath.Child("expirationSeconds"), "")}
	}
	return tokenLifetime(specPath.Child("expirationSeconds"), *obj.Spec.ExpirationSeconds)
}

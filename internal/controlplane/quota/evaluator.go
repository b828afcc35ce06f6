package quota

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
)

// measure is the quota of one kind. A hook that is nil does nothing.
type measure[T runtime.Object] struct {
	resource schema.GroupResource
	// names tells whether a resource of a quota is measured on this kind.
	names func(corev1.ResourceName) bool
	usage func(T) corev1.ResourceList
	// inScope tells whether an object belongs to a scope.
	inScope func(corev1.ScopedResourceSelectorRequirement, T) (bool, error)
	// required says what an object must state when those resources are limited.
	required func([]corev1.ResourceName, T) error
	// changes tells whether an update can change the usage.
	changes func(a admission.Attributes, obj, old T) bool
	list    generic.ListFuncByNamespace
}

var _ quota.Evaluator = (*measure[*corev1.Pod])(nil)

func (m *measure[T]) cast(obj runtime.Object) (T, error) {
	t, ok := obj.(T)
	if !ok {
		return t, fmt.Errorf("quota of %s: got a %T", m.resource, obj)
	}
	return t, nil
}

func (m *measure[T]) GroupResource() schema.GroupResource { return m.resource }

func (m *measure[T]) Constraints(required []corev1.ResourceName, obj runtime.Object) error {
	t, err := m.cast(obj)
	if err != nil || m.required == nil {
		return err
	}
	return m.required(required, t)
}

func (m *measure[T]) Handles(a admission.Attributes) bool {
	if a.GetOperation() == admission.Create {
		return a.GetSubresource() == ""
	}
	obj, ok := a.GetObject().(T)
	old, had := a.GetOldObject().(T)
	return a.GetOperation() == admission.Update && ok && had && m.changes != nil && m.changes(a, obj, old)
}

func (m *measure[T]) Matches(q *corev1.ResourceQuota, obj runtime.Object) (bool, error) {
	return generic.Matches(q, obj, m.MatchingResources, m.matches)
}

func (m *measure[T]) matches(scope corev1.ScopedResourceSelectorRequirement, obj runtime.Object) (bool, error) {
	t, err := m.cast(obj)
	if err != nil || m.inScope == nil {
		return false, err
	}
	return m.inScope(scope, t)
}

func (m *measure[T]) MatchingResources(names []corev1.ResourceName) []corev1.ResourceName {
	return slices.DeleteFunc(slices.Clone(names), func(n corev1.ResourceName) bool { return !m.names(n) })
}

func (m *measure[T]) MatchingScopes(obj runtime.Object, scopes []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, s := range scopes {
		ok, err := m.matches(s, obj)
		if err != nil {
			return nil, fmt.Errorf("scope %s: %w", s.ScopeName, err)
		}
		if ok {
			out = append(out, s)
		}
	}
	return out, nil
}

func (m *measure[T]) UncoveredQuotaScopes(limited, covered []corev1.ScopedResourceSelectorRequirement) ([]corev1.ScopedResourceSelectorRequirement, error) {
	out := []corev1.ScopedResourceSelectorRequirement{}
	for _, l := range limited {
		if !slices.ContainsFunc(covered, func(c corev1.ScopedResourceSelectorRequirement) bool { return c.ScopeName == l.ScopeName }) {
			out = append(out, l)
		}
	}
	return out, nil
}

func (m *measure[T]) Usage(obj runtime.Object) (corev1.ResourceList, error) {
	t, err := m.cast(obj)
	if err != nil {
		return corev1.ResourceList{}, err
	}
	return m.usage(t), nil
}

func (m *measure[T]) UsageStats(o quota.UsageStatsOptions) (quota.UsageStats, error) {
	return generic.CalculateUsageStats(o, m.list, m.matches, m.Usage)
}

// selects compares a value with a scope's operator and values; an empty value is none.
func selects(s corev1.ScopedResourceSelectorRequirement, value string) (bool, error) {
	operators := map[corev1.ScopeSelectorOperator]selection.Operator{
		corev1.ScopeSelectorOpIn: selection.In, corev1.ScopeSelectorOpNotIn: selection.NotIn,
		corev1.ScopeSelectorOpExists: selection.Exists, corev1.ScopeSelectorOpDoesNotExist: selection.DoesNotExist,
	}
	op, ok := operators[s.Operator]
	if !ok {
		return false, fmt.Errorf("%q is not a valid scope selector operator", s.Operator)
	}
	r, err := labels.NewRequirement(string(s.ScopeName), op, s.Values)
	if err != nil {
		return false, err
	}
	set := labels.Set{}
	if value != "" {
		set[string(s.ScopeName)] = value
	}
	return r.Matches(set), nil
}

// aliases are the kinds that can be counted by their bare names.
var aliases = map[string]corev1.ResourceName{
	"configmaps": corev1.ResourceConfigMaps, "resourcequotas": corev1.ResourceQuotas,
	"replicationcontrollers": corev1.ResourceReplicationControllers, "secrets": corev1.ResourceSecrets,
}

// Alias is the bare name by which a kind can be counted, or nothing.
func Alias(gr schema.GroupResource) corev1.ResourceName {
	if gr.Group != "" {
		return ""
	}
	return aliases[gr.Resource]
}

// Lists finds the objects of a namespace for the controller's count; admission counts nothing and has none.
type Lists struct{ Pods, Services, Claims generic.ListFuncByNamespace }

// Configuration is the set of measures. Kinds without one of their own are counted by number.
func Configuration(l Lists) quota.Configuration {
	all := []quota.Evaluator{pods(l.Pods), services(l.Services), claims(l.Claims)}
	for resource, alias := range aliases {
		all = append(all, generic.NewObjectCountEvaluator(corev1.Resource(resource), nil, alias))
	}
	return generic.NewConfiguration(all, map[schema.GroupResource]struct{}{
		// Events come by themselves, and reviews are not stored.
		corev1.Resource("events"): {}, {Group: "events.k8s.io", Resource: "events"}: {}, corev1.Resource("bindings"): {},
		{Group: "authentication.k8s.io", Resource: "tokenreviews"}: {}, {Group: "authentication.k8s.io", Resource: "selfsubjectreviews"}: {},
		{Group: "authorization.k8s.io", Resource: "subjectaccessreviews"}: {}, {Group: "authorization.k8s.io", Resource: "localsubjectaccessreviews"}: {},
		{Group: "authorization.k8s.io", Resource: "selfsubjectaccessreviews"}: {}, {Group: "authorization.k8s.io", Resource: "selfsubjectrulesreviews"}: {},
	})
}

// Objects makes a list function from a lister's.
func Objects[T runtime.Object](list func(namespace string) ([]T, error)) generic.ListFuncByNamespace {
	return func(namespace string) ([]runtime.Object, error) {
		found, err := list(namespace)
		out := make([]runtime.Object, len(found))
		for i := range found {
			out[i] = found[i]
		}
		return out, err
	}
}

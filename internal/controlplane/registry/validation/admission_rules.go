package validation

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
)

// maxMatchConditions is how many conditions a webhook or a policy may have.
const maxMatchConditions = 64

// operationsAndRule checks which requests are meant.
func operationsAndRule(at *field.Path, r *admissionregistrationv1.RuleWithOperations) field.ErrorList {
	var errs field.ErrorList
	ops := at.Child("operations")
	if len(r.Operations) == 0 {
		errs = append(errs, field.Required(ops, ""))
	}
	if len(r.Operations) > 1 && slices.Contains(r.Operations, admissionregistrationv1.OperationAll) {
		errs = append(errs, field.Invalid(ops, r.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, op := range r.Operations {
		errs = append(errs, oneOf(ops.Index(i), op, admissionregistrationv1.OperationAll, admissionregistrationv1.Create, admissionregistrationv1.Update,
			admissionregistrationv1.Delete, admissionregistrationv1.Connect)...)
	}
	errs = append(errs, wildcardAlone(at.Child("apiGroups"), r.APIGroups, "API groups")...)
	errs = append(errs, wildcardAlone(at.Child("apiVersions"), r.APIVersions, "API versions")...)
	for i, version := range r.APIVersions {
		errs = append(errs, required(at.Child("apiVersions").Index(i), version)...)
	}
	errs = append(errs, ruleResources(at.Child("resources"), r.Resources)...)
	return append(errs, optionalOneOf(at.Child("scope"), r.Scope, admissionregistrationv1.ClusterScope, admissionregistrationv1.NamespacedScope, admissionregistrationv1.AllScopes)...)
}

func wildcardAlone(at *field.Path, list []string, others string) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(at, "")}
	case len(list) > 1 && slices.Contains(list, "*"):
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other "+others)}
	}
	return nil
}

// ruleResources wants no resource to be named that a wildcard beside it covers already.
func ruleResources(at *field.Path, resources []string) field.ErrorList {
	if len(resources) == 0 {
		return field.ErrorList{field.Required(at, "")}
	}
	var errs field.ErrorList
	allSubresources, everyResource := map[string]bool{}, map[string]bool{} // "pods/*" and "*/status"
	for i, text := range resources {
		if text == "" {
			errs = append(errs, field.Required(at.Index(i), ""))
			continue
		}
		resource, sub, divided := strings.Cut(text, "/")
		switch {
		case divided && resource == "*" && sub != "*":
			everyResource[sub] = true
		case divided && sub == "*" && resource != "*":
			allSubresources[resource] = true
		case !divided || resource == "*" || sub == "*":
		case allSubresources[resource]:
			errs = append(errs, field.Invalid(at.Index(i), text, "if '"+resource+"/*' is present, must not specify "+text))
		case everyResource[sub]:
			errs = append(errs, field.Invalid(at.Index(i), text, "if '*/"+sub+"' is present, must not specify "+text))
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		errs = append(errs, field.Invalid(at, resources, "if '*/*' is present, must not specify other resources"))
	}
	if slices.Contains(resources, "*") && slices.ContainsFunc(resources, func(r string) bool { return r != "*" && !strings.Contains(r, "/") }) {
		errs = append(errs, field.Invalid(at, resources, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

// matchConditions checks the expressions that narrow what a webhook or policy is asked about.
func matchConditions(at *field.Path, list []admissionregistrationv1.MatchCondition, params bool, stored sets.Set[string]) field.ErrorList {
	var errs field.ErrorList
	if n := len(list); n > maxMatchConditions {
		errs = append(errs, field.TooMany(at, n, maxMatchConditions))
	}
	seen := map[string]bool{}
	for i, c := range list {
		at := at.Index(i)
		if text := strings.TrimSpace(c.Expression); text == "" {
			errs = append(errs, field.Required(at.Child("expression"), ""))
		} else {
			e := expressions{compiler: plainCompiler(), params: params, stored: stored}
			errs = append(errs, e.compile(at.Child("expression"), &matchconditions.MatchCondition{Expression: text},
				plugincel.OptionalVariableDeclarations{HasParams: params, HasAuthorizer: true})...)
		}
		if c.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
			continue
		}
		errs = append(errs, qualifiedName(at.Child("name"), c.Name)...)
		if seen[c.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), c.Name))
		}
		seen[c.Name] = true
	}
	return errs
}

func optionalSelector(at *field.Path, s *metav1.LabelSelector) field.ErrorList {
	return metav1validation.ValidateLabelSelector(s, noOptions, at)
}

// matchResources checks which objects a policy, or one binding of it, is about.
func matchResources(at *field.Path, m *admissionregistrationv1.MatchResources) field.ErrorList {
	if m == nil {
		return nil
	}
	var errs field.ErrorList
	if m.MatchPolicy == nil {
		errs = append(errs, field.Required(at.Child("matchPolicy"), ""))
	}
	errs = append(errs, optionalOneOf(at.Child("matchPolicy"), m.MatchPolicy, admissionregistrationv1.Exact, admissionregistrationv1.Equivalent)...)
	selectors := map[string]*metav1.LabelSelector{"namespaceSelector": m.NamespaceSelector, "objectSelector": m.ObjectSelector}
	for _, child := range sortedKeys(selectors) {
		s := selectors[child]
		if s == nil {
			errs = append(errs, field.Required(at.Child(child), ""))
		}
		errs = append(errs, optionalSelector(at.Child(child), s)...)
	}
	ruleLists := map[string][]admissionregistrationv1.NamedRuleWithOperations{"resourceRules": m.ResourceRules, "excludeResourceRules": m.ExcludeResourceRules}
	for _, child := range sortedKeys(ruleLists) {
		rules := ruleLists[child]
		for i := range rules {
			at := at.Child(child).Index(i)
			seen := map[string]bool{}
			for j, name := range rules[i].ResourceNames {
				errs = append(errs, invalid(at.Child("resourceNames").Index(j), name, pathSegmentName(name, false))...)
				if seen[name] {
					errs = append(errs, field.Duplicate(at.Child("resourceNames").Index(j), name))
				}
				seen[name] = true
			}
			errs = append(errs, operationsAndRule(at, &rules[i].RuleWithOperations)...)
		}
	}
	return errs
}

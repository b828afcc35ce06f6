package validation

import (
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
)

// ValidatingAdmissionPolicyBinding says what may be created.
func ValidatingAdmissionPolicyBinding(obj *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, boundPolicy(obj.Spec.PolicyName, obj.Spec.ParamRef, obj.Spec.MatchResources)...)
	return append(errs, validationActions(specPath.Child("validationActions"), obj.Spec.ValidationActions)...)
}

// ValidatingAdmissionPolicyBindingUpdate says what a ValidatingAdmissionPolicyBinding may be replaced with.
func ValidatingAdmissionPolicyBindingUpdate(obj, old *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), ValidatingAdmissionPolicyBinding(obj)...)
}

// boundPolicy checks what bindings of both kinds of policy have in common.
func boundPolicy(name string, ref *admissionregistrationv1.ParamRef, match *admissionregistrationv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if name == "" {
		errs = append(errs, field.Required(specPath.Child("policyName"), ""))
	} else {
		errs = append(errs, dnsSubdomain(specPath.Child("policyName"), name)...)
	}
	if ref != nil {
		errs = append(errs, paramRef(specPath.Child("paramRef"), ref)...)
	}
	return append(errs, matchResources(specPath.Child("matchResources"), match)...)
}

func paramRef(at *field.Path, ref *admissionregistrationv1.ParamRef) field.ErrorList {
	var errs field.ErrorList
	const either = "name and selector are mutually exclusive"
	if ref.Name != "" {
		errs = append(errs, invalid(at.Child("name"), ref.Name, pathSegmentName(ref.Name, false))...)
		if ref.Selector != nil {
			errs = append(errs, field.Forbidden(at.Child("name"), either), field.Forbidden(at.Child("selector"), either))
		}
	}
	errs = append(errs, optionalSelector(at.Child("selector"), ref.Selector)...)
	if ref.Name == "" && ref.Selector == nil {
		errs = append(errs, field.Required(at, "one of name or selector must be specified"))
	}
	if ref.ParameterNotFoundAction == nil || *ref.ParameterNotFoundAction == "" {
		return append(errs, field.Required(at.Child("parameterNotFoundAction"), ""))
	}
	return append(errs, oneOf(at.Child("parameterNotFoundAction"), *ref.ParameterNotFoundAction, admissionregistrationv1.DenyAction, admissionregistrationv1.AllowAction)...)
}

func validationActions(at *field.Path, actions []admissionregistrationv1.ValidationAction) field.ErrorList {
	if len(actions) == 0 {
		return field.ErrorList{field.Required(at, "at least one validation action is required")}
	}
	var errs field.ErrorList
	for i, a := range actions {
		errs = append(errs, oneOf(at.Index(i), a, admissionregistrationv1.Audit, admissionregistrationv1.Deny, admissionregistrationv1.Warn)...)
		if slices.Contains(actions[:i], a) {
			errs = append(errs, field.Duplicate(at.Index(i), a))
		}
	}
	if slices.Contains(actions, admissionregistrationv1.Deny) && slices.Contains(actions, admissionregistrationv1.Warn) {
		errs = append(errs, field.Invalid(at, actions, "must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}

// MutatingAdmissionPolicy says what may be created.
func MutatingAdmissionPolicy(obj *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	return append(clusterMeta(&obj.ObjectMeta, dnsSubdomainName), mutatingPolicy(&obj.Spec, nil)...)
}

// MutatingAdmissionPolicyUpdate says what a MutatingAdmissionPolicy may be replaced with.
func MutatingAdmissionPolicyUpdate(obj, old *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList {
	stored := sets.New[string]()
	for _, c := range old.Spec.MatchConditions {
		stored.Insert(strings.TrimSpace(c.Expression))
	}
	for _, v := range old.Spec.Variables {
		stored.Insert(v.Expression)
	}
	for _, m := range old.Spec.Mutations {
		if m.ApplyConfiguration != nil {
			stored.Insert(strings.TrimSpace(m.ApplyConfiguration.Expression))
		}
		if m.JSONPatch != nil {
			stored.Insert(strings.TrimSpace(m.JSONPatch.Expression))
		}
	}
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), mutatingPolicy(&obj.Spec, stored)...)
}

func mutatingPolicy(spec *admissionregistrationv1.MutatingAdmissionPolicySpec, stored sets.Set[string]) field.ErrorList {
	params := spec.ParamKind != nil
	errs := policyHead(spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints)
	if spec.MatchConstraints != nil {
		errs = append(errs, mutable(specPath.Child("matchConstraints"), spec.MatchConstraints)...)
	}
	errs = append(errs, matchConditions(specPath.Child("matchConditions"), spec.MatchConditions, params, stored)...)
	e, err := withVariables(params, stored)
	if err != nil {
		return append(errs, field.InternalError(specPath.Child("variables"), err))
	}
	errs = append(errs, policyVariables(e, spec.Variables)...)
	if len(spec.Mutations) == 0 {
		errs = append(errs, field.Required(specPath.Child("mutations"), "mutations must contain at least one item"))
	}
	for i := range spec.Mutations {
		errs = append(errs, mutation(specPath.Child("mutations").Index(i), e, &spec.Mutations[i])...)
	}
	return append(errs, requiredOneOf(specPath.Child("reinvocationPolicy"), spec.ReinvocationPolicy,
		admissionregistrationv1.NeverReinvocationPolicy, admissionregistrationv1.IfNeededReinvocationPolicy)...)
}

// mutable wants operations that bring an object which can be changed.
func mutable(at *field.Path, m *admissionregistrationv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	for _, rule := range m.ResourceRules {
		for _, op := range rule.Operations {
			errs = append(errs, oneOf(at.Child("resourceRules", "operations"), op, admissionregistrationv1.Create, admissionregistrationv1.Update)...)
		}
	}
	return errs
}

func mutation(at *field.Path, e expressions, m *admissionregistrationv1.Mutation) field.ErrorList {
	options := plugincel.OptionalVariableDeclarations{HasParams: e.params, HasAuthorizer: true, HasPatchTypes: true}
	jsonPatch, apply := at.Child("jsonPatch"), at.Child("applyConfiguration")
	switch m.PatchType {
	case admissionregistrationv1.PatchTypeJSONPatch:
		if m.ApplyConfiguration != nil {
			return field.ErrorList{field.Invalid(apply, "{applyConfiguration}", "must not be specified when patchType is JSONPatch")}
		}
		if m.JSONPatch == nil {
			return field.ErrorList{field.Required(jsonPatch, "must be specified when patchType is JSONPatch")}
		}
		return e.required(jsonPatch.Child("expression"), &patch.JSONPatchCondition{Expression: strings.TrimSpace(m.JSONPatch.Expression)}, options)
	case admissionregistrationv1.PatchTypeApplyConfiguration:
		if m.JSONPatch != nil {
			return field.ErrorList{field.Invalid(jsonPatch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration")}
		}
		if m.ApplyConfiguration == nil {
			return field.ErrorList{field.Required(apply, "must be specified when patchType is ApplyConfiguration")}
		}
		return e.required(apply.Child("expression"), &patch.ApplyConfigurationCondition{Expression: strings.TrimSpace(m.ApplyConfiguration.Expression)}, options)
	}
	return requiredOneOf(at.Child("patchType"), m.PatchType, admissionregistrationv1.PatchTypeApplyConfiguration, admissionregistrationv1.PatchTypeJSONPatch)
}

// required is compile for an expression that may be missing.
func (e expressions) required(at *field.Path, accessor plugincel.ExpressionAccessor, options plugincel.OptionalVariableDeclarations) field.ErrorList {
	if accessor.GetExpression() == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return e.compile(at, accessor, options)
}

// MutatingAdmissionPolicyBinding says what may be created.
func MutatingAdmissionPolicyBinding(obj *admissionregistrationv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, boundPolicy(obj.Spec.PolicyName, obj.Spec.ParamRef, obj.Spec.MatchResources)...)
	if obj.Spec.MatchResources != nil {
		errs = append(errs, mutable(specPath.Child("matchResources"), obj.Spec.MatchResources)...)
	}
	return errs
}

// MutatingAdmissionPolicyBindingUpdate says what a MutatingAdmissionPolicyBinding may be replaced with.
func MutatingAdmissionPolicyBindingUpdate(obj, old *admissionregistrationv1.MutatingAdmissionPolicyBinding) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), MutatingAdmissionPolicyBinding(obj)...)
}

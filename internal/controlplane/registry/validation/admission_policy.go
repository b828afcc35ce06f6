package validation

import (
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
)

// The limits that the policy API documents.
const (
	maxAuditAnnotations  = 20
	maxAuditKey          = 253
	maxAuditExpression   = 5 * 1024
	maxMessageExpression = 5 * 1024
)

// ValidatingAdmissionPolicy says what may be created: every expression compiles, and gives the type that is asked for at its place.
func ValidatingAdmissionPolicy(obj *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	return append(clusterMeta(&obj.ObjectMeta, dnsSubdomainName), validatingPolicy(obj, nil)...)
}

// ValidatingAdmissionPolicyUpdate says what a ValidatingAdmissionPolicy may be replaced with.
func ValidatingAdmissionPolicyUpdate(obj, old *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	stored := sets.New[string]()
	keep := func(text string) { stored.Insert(strings.TrimSpace(text)) }
	for _, c := range old.Spec.MatchConditions {
		keep(c.Expression)
	}
	for _, v := range old.Spec.Validations {
		keep(v.Expression)
		keep(v.MessageExpression)
	}
	for _, a := range old.Spec.AuditAnnotations {
		keep(a.ValueExpression)
	}
	for _, v := range old.Spec.Variables {
		keep(v.Expression)
	}
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), validatingPolicy(obj, stored)...)
}

// ValidatingAdmissionPolicyStatusUpdate says what the type checker may report.
func ValidatingAdmissionPolicyStatusUpdate(obj, old *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	if obj.Status.TypeChecking != nil {
		for i, w := range obj.Status.TypeChecking.ExpressionWarnings {
			at := statusPath.Child("typeChecking", "expressionWarnings").Index(i)
			errs = append(errs, required(at.Child("warning"), w.Warning)...)
			errs = append(errs, required(at.Child("fieldRef"), w.FieldRef)...)
		}
	}
	return append(errs, metav1validation.ValidateConditions(obj.Status.Conditions, statusPath.Child("conditions"))...)
}

func validatingPolicy(obj *admissionregistrationv1.ValidatingAdmissionPolicy, stored sets.Set[string]) field.ErrorList {
	spec := &obj.Spec
	params := spec.ParamKind != nil
	errs := policyHead(spec.FailurePolicy, spec.ParamKind, spec.MatchConstraints)
	errs = append(errs, matchConditions(specPath.Child("matchConditions"), spec.MatchConditions, params, stored)...)
	e := expressions{compiler: plainCompiler(), params: params, stored: stored}
	if len(spec.Variables) > 0 {
		composed, err := withVariables(params, stored)
		if err != nil {
			return append(errs, field.InternalError(specPath.Child("variables"), err))
		}
		e = composed
		errs = append(errs, policyVariables(e, spec.Variables)...)
	}
	if len(spec.Validations)+len(spec.AuditAnnotations) == 0 {
		const one = "validations or auditAnnotations must contain at least one item"
		return append(errs, field.Required(specPath.Child("validations"), one), field.Required(specPath.Child("auditAnnotations"), one))
	}
	for i := range spec.Validations {
		errs = append(errs, policyValidation(specPath.Child("validations").Index(i), e, &spec.Validations[i])...)
	}
	at := specPath.Child("auditAnnotations")
	if len(spec.AuditAnnotations) > maxAuditAnnotations {
		errs = append(errs, field.Invalid(at, spec.AuditAnnotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAuditAnnotations)))
	}
	keys := map[string]bool{}
	for i, a := range spec.AuditAnnotations {
		errs = append(errs, auditAnnotation(at.Index(i), e, obj.Name, &a)...)
		if keys[a.Key] {
			errs = append(errs, field.Duplicate(at.Index(i).Child("key"), a.Key))
		}
		keys[a.Key] = true
	}
	return errs
}

// policyHead checks what validating and mutating policies have in common.
func policyHead(failure *admissionregistrationv1.FailurePolicyType, param *admissionregistrationv1.ParamKind, match *admissionregistrationv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if failure == nil {
		errs = append(errs, field.Required(specPath.Child("failurePolicy"), ""))
	}
	errs = append(errs, optionalOneOf(specPath.Child("failurePolicy"), failure, admissionregistrationv1.Fail, admissionregistrationv1.Ignore)...)
	if param != nil {
		errs = append(errs, paramKind(specPath.Child("paramKind"), param)...)
	}
	at := specPath.Child("matchConstraints")
	if match == nil {
		return append(errs, field.Required(at, ""))
	}
	errs = append(errs, matchResources(at, match)...)
	if len(match.ResourceRules) == 0 {
		errs = append(errs, field.Required(at.Child("resourceRules"), ""))
	}
	return errs
}

func paramKind(at *field.Path, p *admissionregistrationv1.ParamKind) field.ErrorList {
	var errs field.ErrorList
	version := at.Child("apiVersion")
	if p.APIVersion == "" {
		errs = append(errs, field.Required(version, ""))
	} else if gv, err := schema.ParseGroupVersion(p.APIVersion); err != nil {
		errs = append(errs, field.Invalid(version, p.APIVersion, err.Error()))
	} else {
		if gv.Group != "" {
			errs = append(errs, dnsSubdomain(version, gv.Group)...)
		}
		errs = append(errs, invalid(version, gv.Version, validation.IsDNS1035Label(gv.Version))...)
	}
	if p.Kind == "" {
		return append(errs, field.Required(at.Child("kind"), ""))
	}
	if complaints := validation.IsDNS1035Label(strings.ToLower(p.Kind)); len(complaints) > 0 {
		errs = append(errs, field.Invalid(at.Child("kind"), p.Kind, "may have mixed case, but should otherwise match: "+strings.Join(complaints, ",")))
	}
	return errs
}

// policyVariables compiles each variable, for those after it and for the expressions to use.
func policyVariables(e expressions, list []admissionregistrationv1.Variable) field.ErrorList {
	var errs field.ErrorList
	for i, v := range list {
		at := specPath.Child("variables").Index(i)
		switch {
		case v.Name == "":
			errs = append(errs, field.Required(at.Child("name"), "name is not a valid CEL identifier"))
		case !isIdentifier(v.Name):
			errs = append(errs, field.Invalid(at.Child("name"), v.Name, "name is not a valid CEL identifier"))
		}
		if strings.TrimSpace(v.Expression) == "" {
			errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
			continue
		}
		compiler, ok := e.compiler.(*plugincel.CompositedCompiler)
		if !ok || !isIdentifier(v.Name) {
			continue
		}
		result := compiler.CompileAndStoreVariable(&validating.Variable{Name: v.Name, Expression: v.Expression},
			plugincel.OptionalVariableDeclarations{HasParams: e.params, HasAuthorizer: true}, e.mode(v.Expression))
		if result.Error != nil {
			errs = append(errs, celError(at.Child("expression"), v.Expression, result.Error))
		}
	}
	return errs
}

func policyValidation(at *field.Path, e expressions, v *admissionregistrationv1.Validation) field.ErrorList {
	var errs field.ErrorList
	if text := strings.TrimSpace(v.Expression); text == "" {
		errs = append(errs, field.Required(at.Child("expression"), "expression is not specified"))
	} else {
		errs = append(errs, e.compile(at.Child("expression"), &validating.ValidationCondition{Expression: text},
			plugincel.OptionalVariableDeclarations{HasParams: e.params, HasAuthorizer: true})...)
	}
	message := strings.TrimSpace(v.MessageExpression)
	if len(v.MessageExpression) > 0 && message == "" {
		errs = append(errs, field.Invalid(at.Child("messageExpression"), v.MessageExpression, "must be non-empty if specified"))
	} else if message != "" {
		if len(message) > maxMessageExpression {
			errs = append(errs, field.TooLong(at.Child("messageExpression"), "", maxMessageExpression))
		}
		errs = append(errs, e.compile(at.Child("messageExpression"), &validating.MessageExpressionCondition{MessageExpression: message},
			plugincel.OptionalVariableDeclarations{HasParams: e.params})...)
	}
	text := strings.TrimSpace(v.Message)
	switch {
	case len(v.Message) > 0 && text == "":
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must be non-empty if specified"))
	case strings.ContainsAny(text, "\r\n"):
		errs = append(errs, field.Invalid(at.Child("message"), v.Message, "message must not contain line breaks"))
	case strings.ContainsAny(strings.TrimSpace(v.Expression), "\r\n") && text == "":
		errs = append(errs, field.Required(at.Child("message"), "message must be specified if expression contains line breaks"))
	}
	return append(errs, optionalOneOf(at.Child("reason"), v.Reason, metav1.StatusReasonForbidden, metav1.StatusReasonInvalid,
		metav1.StatusReasonRequestEntityTooLarge, metav1.StatusReasonUnauthorized)...)
}

func auditAnnotation(at *field.Path, e expressions, policy string, a *admissionregistrationv1.AuditAnnotation) field.ErrorList {
	// The audit log keeps it under this name.
	name := policy + "/" + a.Key
	var errs field.ErrorList
	if complaints := validation.IsQualifiedName(name); len(complaints) > 0 {
		errs = append(errs, field.Invalid(at.Child("key"), a.Key, "Audit annotation key must be a qualified name: "+strings.Join(complaints, ",")))
	}
	if len(a.Key) > maxAuditKey {
		errs = append(errs, field.TooLong(at.Child("key"), "", maxAuditKey))
	}
	switch text := strings.TrimSpace(a.ValueExpression); {
	case text == "":
		errs = append(errs, field.Required(at.Child("valueExpression"), "valueExpression is not specified"))
	case len(text) > maxAuditExpression:
		errs = append(errs, field.Required(at.Child("valueExpression"), fmt.Sprintf("must not exceed %d bytes in length", maxAuditExpression)))
	default:
		errs = append(errs, e.compile(at.Child("valueExpression"), &validating.AuditAnnotationCondition{ValueExpression: text},
			plugincel.OptionalVariableDeclarations{HasParams: e.params, HasAuthorizer: true})...)
	}
	return errs
}

package validation

import (
	"fmt"
	"slices"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"
)

// maxQueues bounds the work of choosing a queue.
const maxQueues = 10_000_000

// FlowSchema says what may be created. Those that every cluster must have are as they are.
func FlowSchema(obj *flowcontrolv1.FlowSchema) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	spec, at := &obj.Spec, specPath.Child("matchingPrecedence")
	switch n := spec.MatchingPrecedence; {
	case n <= 0:
		errs = append(errs, field.Invalid(at, n, "must be a positive value"))
	case n > flowcontrolv1.FlowSchemaMaxMatchingPrecedence:
		errs = append(errs, field.Invalid(at, n, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	case n == 1 && obj.Name != flowcontrolv1.FlowSchemaNameExempt:
		errs = append(errs, field.Invalid(at, n, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if spec.DistinguisherMethod != nil {
		errs = append(errs, oneOf(specPath.Child("distinguisherMethod", "type"), spec.DistinguisherMethod.Type,
			flowcontrolv1.FlowDistinguisherMethodByUserType, flowcontrolv1.FlowDistinguisherMethodByNamespaceType)...)
	}
	level := specPath.Child("priorityLevelConfiguration", "name")
	if spec.PriorityLevelConfiguration.Name == "" {
		errs = append(errs, field.Required(level, "must reference a priority level"))
	} else {
		errs = append(errs, dnsSubdomain(level, spec.PriorityLevelConfiguration.Name)...)
	}
	for i := range spec.Rules {
		errs = append(errs, flowRule(specPath.Child("rules").Index(i), &spec.Rules[i])...)
	}
	for _, fixed := range bootstrap.MandatoryFlowSchemas {
		if fixed.Name == obj.Name && !apiequality.Semantic.DeepEqual(obj.Spec, fixed.Spec) {
			errs = append(errs, field.Invalid(specPath, obj.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", obj.Name)))
		}
	}
	return errs
}

// FlowSchemaUpdate says what a FlowSchema may be replaced with.
func FlowSchemaUpdate(obj, old *flowcontrolv1.FlowSchema) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), FlowSchema(obj)...)
}

// FlowSchemaStatusUpdate says what the server may report.
func FlowSchemaStatusUpdate(obj, old *flowcontrolv1.FlowSchema) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta),
		conditionTypes(obj.Status.Conditions, func(c flowcontrolv1.FlowSchemaCondition) string { return string(c.Type) })...)
}

func flowRule(at *field.Path, r *flowcontrolv1.PolicyRulesWithSubjects) field.ErrorList {
	var errs field.ErrorList
	if len(r.Subjects) == 0 {
		errs = append(errs, field.Required(at.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range r.Subjects {
		errs = append(errs, flowSubject(at.Child("subjects").Index(i), &r.Subjects[i])...)
	}
	if len(r.ResourceRules)+len(r.NonResourceRules) == 0 {
		errs = append(errs, field.Required(at, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i, rule := range r.ResourceRules {
		at := at.Child("resourceRules").Index(i)
		errs = append(errs, flowVerbs(at, rule.Verbs)...)
		errs = append(errs, flowList(at.Child("apiGroups"), rule.APIGroups, "resource rules must supply at least one api group")...)
		errs = append(errs, flowList(at.Child("resources"), rule.Resources, "resource rules must supply at least one resource")...)
		if len(rule.Namespaces) == 0 && !rule.ClusterScope {
			errs = append(errs, field.Required(at.Child("namespaces"), "resource rules that are not cluster scoped must supply at least one namespace"))
		}
		if slices.Contains(rule.Namespaces, flowcontrolv1.NamespaceEvery) && len(rule.Namespaces) > 1 {
			errs = append(errs, field.Invalid(at.Child("namespaces"), rule.Namespaces, "'*' makes the others redundant"))
		}
	}
	for i, rule := range r.NonResourceRules {
		at := at.Child("nonResourceRules").Index(i)
		errs = append(errs, flowVerbs(at, rule.Verbs)...)
		errs = append(errs, flowList(at.Child("nonResourceURLs"), rule.NonResourceURLs, "nonResourceURLs must contain at least one value")...)
	}
	return errs
}

func flowVerbs(at *field.Path, verbs []string) field.ErrorList {
	return flowList(at.Child("verbs"), verbs, "verbs must contain at least one value")
}

func flowList(at *field.Path, list []string, missing string) field.ErrorList {
	switch {
	case len(list) == 0:
		return field.ErrorList{field.Required(at, missing)}
	case len(list) > 1 && slices.Contains(list, "*"):
		return field.ErrorList{field.Invalid(at, list, "if '*' is present, must not specify other values")}
	}
	return nil
}

// flowSubject wants the one member that the kind names.
func flowSubject(at *field.Path, s *flowcontrolv1.Subject) field.ErrorList {
	errs := oneOf(at.Child("kind"), s.Kind, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindUser)
	if len(errs) > 0 {
		return errs
	}
	for _, m := range []struct {
		kind  flowcontrolv1.SubjectKind
		child string
		set   bool
	}{
		{flowcontrolv1.SubjectKindServiceAccount, "serviceAccount", s.ServiceAccount != nil}, {flowcontrolv1.SubjectKindUser, "user", s.User != nil},
		{flowcontrolv1.SubjectKindGroup, "group", s.Group != nil},
	} {
		switch {
		case m.kind == s.Kind && !m.set:
			errs = append(errs, field.Required(at.Child(m.child), fmt.Sprintf("%s is required when subject kind is '%s'", m.child, m.kind)))
		case m.kind != s.Kind && m.set:
			errs = append(errs, field.Forbidden(at.Child(m.child), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", m.child, m.kind)))
		}
	}
	switch {
	case s.Kind == flowcontrolv1.SubjectKindServiceAccount && s.ServiceAccount != nil:
		at := at.Child("serviceAccount")
		errs = append(errs, required(at.Child("name"), s.ServiceAccount.Name)...)
		if name := s.ServiceAccount.Name; name != "" && name != flowcontrolv1.NameAll {
			errs = append(errs, dnsSubdomain(at.Child("name"), name)...)
		}
		if s.ServiceAccount.Namespace == "" {
			errs = append(errs, field.Required(at.Child("namespace"), "must specify namespace for service account"))
		} else {
			errs = append(errs, dnsLabel(at.Child("namespace"), s.ServiceAccount.Namespace)...)
		}
	case s.Kind == flowcontrolv1.SubjectKindUser && s.User != nil:
		errs = append(errs, required(at.Child("user", "name"), s.User.Name)...)
	case s.Kind == flowcontrolv1.SubjectKindGroup && s.Group != nil:
		errs = append(errs, required(at.Child("group", "name"), s.Group.Name)...)
	}
	return errs
}

// PriorityLevelConfiguration says what may be created.
func PriorityLevelConfiguration(obj *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	spec := &obj.Spec
	exempt := obj.Name == flowcontrolv1.PriorityLevelConfigurationNameExempt
	if exempt != (spec.Type == flowcontrolv1.PriorityLevelEnablementExempt) {
		errs = append(errs, field.Invalid(specPath.Child("type"), spec.Type, "type must be 'Exempt' if and only if `name` is 'exempt'"))
	}
	switch spec.Type {
	case flowcontrolv1.PriorityLevelEnablementExempt:
		if spec.Limited != nil {
			errs = append(errs, field.Forbidden(specPath.Child("limited"), "must be nil if the type is not Limited"))
		}
		if e := spec.Exempt; e != nil {
			errs = append(errs, optionalNonNegative(specPath.Child("exempt", "nominalConcurrencyShares"), e.NominalConcurrencyShares)...)
			errs = append(errs, percent(specPath.Child("exempt", "lendablePercent"), e.LendablePercent)...)
		}
	case flowcontrolv1.PriorityLevelEnablementLimited:
		if spec.Exempt != nil {
			errs = append(errs, field.Forbidden(specPath.Child("exempt"), "must be nil if the type is Limited"))
		}
		if spec.Limited == nil {
			errs = append(errs, field.Required(specPath.Child("limited"), "must not be empty when type is Limited"))
		} else {
			errs = append(errs, limitedLevel(specPath.Child("limited"), spec.Limited)...)
		}
	default:
		errs = append(errs, oneOf(specPath.Child("type"), spec.Type, flowcontrolv1.PriorityLevelEnablementExempt, flowcontrolv1.PriorityLevelEnablementLimited)...)
	}
	for _, fixed := range bootstrap.MandatoryPriorityLevelConfigurations {
		// How many seats the exempt level is counted with may be chosen.
		if fixed.Name == obj.Name && !exempt && !apiequality.Semantic.DeepEqual(obj.Spec, fixed.Spec) {
			errs = append(errs, field.Invalid(specPath, obj.Spec, fmt.Sprintf("spec of '%s' must equal the fixed value", obj.Name)))
		}
	}
	return errs
}

func percent(at *field.Path, n *int32) field.ErrorList {
	if n != nil && (*n < 0 || *n > 100) {
		return field.ErrorList{field.Invalid(at, *n, "must be between 0 and 100, inclusive")}
	}
	return nil
}

func limitedLevel(at *field.Path, l *flowcontrolv1.LimitedPriorityLevelConfiguration) field.ErrorList {
	errs := optionalNonNegative(at.Child("nominalConcurrencyShares"), l.NominalConcurrencyShares)
	errs = append(errs, percent(at.Child("lendablePercent"), l.LendablePercent)...)
	if n := l.BorrowingLimitPercent; n != nil && *n < 0 {
		errs = append(errs, field.Invalid(at.Child("borrowingLimitPercent"), *n, "if specified, must be a non-negative integer"))
	}
	at = at.Child("limitResponse")
	q := l.LimitResponse.Queuing
	switch l.LimitResponse.Type {
	case flowcontrolv1.LimitResponseTypeReject:
		if q != nil {
			errs = append(errs, field.Forbidden(at.Child("queuing"), "must be nil if limited.limitResponse.type is not Limited"))
		}
		return errs
	case flowcontrolv1.LimitResponseTypeQueue:
	default:
		return append(errs, oneOf(at.Child("type"), l.LimitResponse.Type, flowcontrolv1.LimitResponseTypeQueue, flowcontrolv1.LimitResponseTypeReject)...)
	}
	at = at.Child("queuing")
	if q == nil {
		return append(errs, field.Required(at, "must not be empty if limited.limitResponse.type is Limited"))
	}
	list := map[string]int32{"queueLengthLimit": q.QueueLengthLimit, "queues": q.Queues, "handSize": q.HandSize}
	for _, child := range sortedKeys(list) {
		n := list[child]
		if n <= 0 {
			errs = append(errs, field.Invalid(at.Child(child), n, "must be positive"))
		}
	}
	if q.Queues > maxQueues {
		errs = append(errs, field.Invalid(at.Child("queues"), q.Queues, fmt.Sprintf("must not be greater than %d", maxQueues)))
	}
	if q.HandSize > q.Queues {
		errs = append(errs, field.Invalid(at.Child("handSize"), q.HandSize, fmt.Sprintf("should not be greater than queues (%d)", q.Queues)))
	}
	return errs
}

// PriorityLevelConfigurationUpdate says what a PriorityLevelConfiguration may be replaced with.
func PriorityLevelConfigurationUpdate(obj, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), PriorityLevelConfiguration(obj)...)
}

// PriorityLevelConfigurationStatusUpdate says what the server may report.
func PriorityLevelConfigurationStatusUpdate(obj, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta),
		conditionTypes(obj.Status.Conditions, func(c flowcontrolv1.PriorityLevelConfigurationCondition) string { return string(c.Type) })...)
}

// conditionTypes judges that each condition of a status has a type of its own.
func conditionTypes[C any](conditions []C, typeOf func(C) string) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, c := range conditions {
		at, t := statusPath.Child("conditions").Index(i).Child("type"), typeOf(c)
		if t == "" {
			errs = append(errs, field.Required(at, ""))
		}
		if seen[t] {
			errs = append(errs, field.Duplicate(at, t))
		}
		seen[t] = true
	}
	return errs
}

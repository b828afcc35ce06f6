package validation

import (
	"fmt"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podScheduling checks everything that the scheduler reads but resources.
func podScheduling(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	errs := metav1validation.ValidateLabels(spec.NodeSelector, at.Child("nodeSelector"))
	errs = append(errs, affinity(at.Child("affinity"), spec.Affinity)...)
	errs = append(errs, tolerations(at.Child("tolerations"), spec.Tolerations)...)
	errs = append(errs, topologySpread(at.Child("topologySpreadConstraints"), spec.TopologySpreadConstraints)...)
	seen := map[string]bool{}
	for i, gate := range spec.SchedulingGates {
		at := at.Child("schedulingGates").Index(i)
		errs = append(errs, qualifiedName(at, gate.Name)...)
		if seen[gate.Name] {
			errs = append(errs, field.Duplicate(at, gate.Name))
		}
		seen[gate.Name] = true
	}
	if group := spec.SchedulingGroup; group != nil {
		at := at.Child("schedulingGroup", "podGroupName")
		if group.PodGroupName == nil {
			errs = append(errs, field.Required(at, ""))
		} else {
			errs = append(errs, dnsSubdomain(at, *group.PodGroupName)...)
		}
	}
	return append(errs, evictionResponders(at.Child("evictionResponders"), spec)...)
}

func evictionResponders(at *field.Path, spec *corev1.PodSpec) field.ErrorList {
	const maxResponders, maxPriority = 10, 100_000
	var errs field.ErrorList
	if n := len(spec.EvictionResponders); n > maxResponders {
		errs = append(errs, field.TooMany(at, n, maxResponders))
	}
	if len(spec.EvictionResponders) > 0 && spec.SchedulingGroup != nil {
		errs = append(errs, field.Forbidden(at, "may not be specified when `schedulingGroup` is set"))
	}
	seen := map[string]bool{}
	for i, responder := range spec.EvictionResponders {
		at := at.Index(i)
		if responder.Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, validation.IsDomainPrefixedKey(at.Child("name"), responder.Name)...)
		}
		if seen[responder.Name] {
			errs = append(errs, field.Duplicate(at, responder.Name))
		}
		seen[responder.Name] = true
		if responder.Priority == nil {
			errs = append(errs, field.Required(at.Child("priority"), ""))
		} else if *responder.Priority < 0 || *responder.Priority > maxPriority {
			errs = append(errs, field.Invalid(at.Child("priority"), *responder.Priority, validation.InclusiveRangeError(0, maxPriority)))
		}
	}
	return errs
}

func affinity(at *field.Path, a *corev1.Affinity) field.ErrorList {
	if a == nil {
		return nil
	}
	var errs field.ErrorList
	const requiredName, preferredName = "requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"
	if n := a.NodeAffinity; n != nil {
		at := at.Child("nodeAffinity")
		if n.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			errs = append(errs, nodeSelector(at.Child(requiredName), n.RequiredDuringSchedulingIgnoredDuringExecution)...)
		}
		for i := range n.PreferredDuringSchedulingIgnoredDuringExecution {
			term, at := &n.PreferredDuringSchedulingIgnoredDuringExecution[i], at.Child(preferredName).Index(i)
			errs = append(errs, weight(at.Child("weight"), term.Weight)...)
			// A preference for a value that no node can have was never refused, and does no harm.
			errs = append(errs, nodeSelectorTerm(at.Child("preference"), &term.Preference, false)...)
		}
	}
	podTerms := func(at *field.Path, must []corev1.PodAffinityTerm, should []corev1.WeightedPodAffinityTerm) {
		for i := range must {
			errs = append(errs, podAffinityTerm(at.Child(requiredName).Index(i), &must[i])...)
		}
		for i := range should {
			at := at.Child(preferredName).Index(i)
			errs = append(errs, weight(at.Child("weight"), should[i].Weight)...)
			errs = append(errs, podAffinityTerm(at.Child("podAffinityTerm"), &should[i].PodAffinityTerm)...)
		}
	}
	if p := a.PodAffinity; p != nil {
		podTerms(at.Child("podAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		podTerms(at.Child("podAntiAffinity"), p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return errs
}

func weight(at *field.Path, w int32) field.ErrorList {
	if w < 1 || w > 100 {
		return field.ErrorList{field.Invalid(at, w, "must be in the range 1-100")}
	}
	return nil
}

func nodeSelector(at *field.Path, s *corev1.NodeSelector) field.ErrorList {
	at = at.Child("nodeSelectorTerms")
	if len(s.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(at, "must have at least one node selector term")}
	}
	var errs field.ErrorList
	for i := range s.NodeSelectorTerms {
		errs = append(errs, nodeSelectorTerm(at.Index(i), &s.NodeSelectorTerms[i], true)...)
	}
	return errs
}

func nodeSelectorTerm(at *field.Path, term *corev1.NodeSelectorTerm, judgeValues bool) field.ErrorList {
	var errs field.ErrorList
	for i := range term.MatchExpressions {
		errs = append(errs, nodeLabelRequirement(at.Child("matchExpressions").Index(i), &term.MatchExpressions[i], judgeValues)...)
	}
	for i := range term.MatchFields {
		errs = append(errs, nodeFieldRequirement(at.Child("matchFields").Index(i), &term.MatchFields[i])...)
	}
	return errs
}

func nodeLabelRequirement(at *field.Path, r *corev1.NodeSelectorRequirement, judgeValues bool) field.ErrorList {
	var errs field.ErrorList
	values := at.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	errs = append(errs, metav1validation.ValidateLabelName(r.Key, at.Child("key"))...)
	if judgeValues {
		for i, value := range r.Values {
			errs = append(errs, labelValue(values.Index(i), value)...)
		}
	}
	return errs
}

// nodeFieldRequirement knows one field of a Node: its name.
func nodeFieldRequirement(at *field.Path, r *corev1.NodeSelectorRequirement) field.ErrorList {
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(at.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		errs = append(errs, field.Invalid(at.Child("operator"), r.Operator, "not a valid selector operator"))
	}
	if r.Key != metav1.ObjectNameField {
		return append(errs, field.Invalid(at.Child("key"), r.Key, "not a valid field selector key"))
	}
	for i, value := range r.Values {
		errs = append(errs, dnsSubdomain(at.Child("values").Index(i), value)...)
	}
	return errs
}

func podAffinityTerm(at *field.Path, term *corev1.PodAffinityTerm) field.ErrorList {
	options := metav1validation.LabelSelectorValidationOptions{}
	errs := metav1validation.ValidateLabelSelector(term.LabelSelector, options, at.Child("labelSelector"))
	errs = append(errs, metav1validation.ValidateLabelSelector(term.NamespaceSelector, options, at.Child("namespaceSelector"))...)
	for _, namespace := range term.Namespaces {
		errs = append(errs, dnsLabel(at.Child("namespace"), namespace)...)
	}
	errs = append(errs, podLabelKeys(at.Child("matchLabelKeys"), term.MatchLabelKeys, term.LabelSelector)...)
	errs = append(errs, podLabelKeys(at.Child("mismatchLabelKeys"), term.MismatchLabelKeys, term.LabelSelector)...)
	for i, key := range term.MatchLabelKeys {
		if slices.Contains(term.MismatchLabelKeys, key) {
			errs = append(errs, field.Invalid(at.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return append(errs, topologyKey(at.Child("topologyKey"), term.TopologyKey)...)
}

func topologyKey(at *field.Path, key string) field.ErrorList {
	if key == "" {
		return field.ErrorList{field.Required(at, "can not be empty")}
	}
	return metav1validation.ValidateLabelName(key, at)
}

// podLabelKeys checks label keys whose values the Pod itself brings, which add to a selector and so need one.
func podLabelKeys(at *field.Path, keys []string, selector *metav1.LabelSelector) field.ErrorList {
	if len(keys) == 0 {
		return nil
	}
	if selector == nil {
		return field.ErrorList{field.Forbidden(at, "must not be specified when labelSelector is not set")}
	}
	var errs field.ErrorList
	for i, key := range keys {
		errs = append(errs, metav1validation.ValidateLabelName(key, at.Index(i))...)
	}
	return errs
}

func tolerations(at *field.Path, list []corev1.Toleration) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		t, at := &list[i], at.Index(i)
		if t.Key != "" {
			errs = append(errs, metav1validation.ValidateLabelName(t.Key, at.Child("key"))...)
		} else if t.Operator != corev1.TolerationOpExists {
			errs = append(errs, field.Invalid(at.Child("operator"), t.Operator, "operator must be Exists when `key` is empty, which means \"match all values and all keys\""))
		}
		if t.TolerationSeconds != nil && t.Effect != corev1.TaintEffectNoExecute {
			errs = append(errs, field.Invalid(at.Child("effect"), t.Effect, "effect must be 'NoExecute' when `tolerationSeconds` is set"))
		}
		switch t.Operator {
		case corev1.TolerationOpEqual, "":
			errs = append(errs, labelValue(at.Child("operator"), t.Value)...)
		case corev1.TolerationOpExists:
			if t.Value != "" {
				errs = append(errs, field.Invalid(at.Child("operator"), t.Value, "value must be empty when `operator` is 'Exists'"))
			}
		case corev1.TolerationOpLt, corev1.TolerationOpGt:
			if _, err := strconv.ParseInt(t.Value, 10, 64); err != nil {
				errs = append(errs, field.Invalid(at.Child("value"), t.Value, "must be an integer when `operator` is 'Lt' or 'Gt'"))
			}
		default:
			errs = append(errs, oneOf(at.Child("operator"), t.Operator, corev1.TolerationOpEqual, corev1.TolerationOpExists, corev1.TolerationOpLt, corev1.TolerationOpGt)...)
		}
		if t.Effect != "" {
			errs = append(errs, taintEffect(at.Child("effect"), t.Effect)...)
		}
	}
	return errs
}

func taintEffect(at *field.Path, effect corev1.TaintEffect) field.ErrorList {
	return requiredOneOf(at, effect, corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute)
}

func topologySpread(at *field.Path, constraints []corev1.TopologySpreadConstraint) field.ErrorList {
	var errs field.ErrorList
	type key struct {
		topology string
		action   corev1.UnsatisfiableConstraintAction
	}
	seen := map[key]bool{}
	for i := range constraints {
		c, at := &constraints[i], at.Index(i)
		if c.MaxSkew <= 0 {
			errs = append(errs, field.Invalid(at.Child("maxSkew"), c.MaxSkew, "must be greater than zero"))
		}
		errs = append(errs, topologyKey(at.Child("topologyKey"), c.TopologyKey)...)
		errs = append(errs, oneOf(at.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
		if pair := (key{c.TopologyKey, c.WhenUnsatisfiable}); seen[pair] {
			errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%s, %s}", c.TopologyKey, c.WhenUnsatisfiable)))
		} else {
			seen[pair] = true
		}
		if c.MinDomains != nil {
			if *c.MinDomains <= 0 {
				errs = append(errs, field.Invalid(at.Child("minDomains"), *c.MinDomains, "must be greater than zero"))
			}
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				errs = append(errs, field.Invalid(at.Child("minDomains"), *c.MinDomains, fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
			}
		}
		errs = append(errs, optionalOneOf(at.Child("nodeAffinityPolicy"), c.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
		errs = append(errs, optionalOneOf(at.Child("nodeTaintsPolicy"), c.NodeTaintsPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
		errs = append(errs, metav1validation.ValidateLabelSelector(c.LabelSelector, metav1validation.LabelSelectorValidationOptions{}, at.Child("labelSelector"))...)
		errs = append(errs, podLabelKeys(at.Child("matchLabelKeys"), c.MatchLabelKeys, c.LabelSelector)...)
		if c.LabelSelector != nil {
			for i, labelKey := range c.MatchLabelKeys {
				if selects(c.LabelSelector, labelKey) {
					errs = append(errs, field.Invalid(at.Child("matchLabelKeys").Index(i), labelKey, "exists in both matchLabelKeys and labelSelector"))
				}
			}
		}
	}
	return errs
}

// selects says whether a selector asks about a label.
func selects(s *metav1.LabelSelector, key string) bool {
	if _, ok := s.MatchLabels[key]; ok {
		return true
	}
	return slices.ContainsFunc(s.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == key })
}

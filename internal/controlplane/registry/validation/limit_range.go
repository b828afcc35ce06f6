package validation

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// LimitRange says what may be created.
func LimitRange(obj *corev1.LimitRange) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	seen := map[corev1.LimitType]bool{}
	for i := range obj.Spec.Limits {
		item, at := &obj.Spec.Limits[i], specPath.Child("limits").Index(i)
		errs = append(errs, limitType(at.Child("type"), item.Type)...)
		if seen[item.Type] {
			errs = append(errs, field.Duplicate(at.Child("type"), item.Type))
		}
		seen[item.Type] = true
		errs = append(errs, limitItem(at, item)...)
	}
	return errs
}

// LimitRangeUpdate says what a LimitRange may be replaced with.
func LimitRangeUpdate(obj, old *corev1.LimitRange) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), LimitRange(obj)...)
}

func limitType(at *field.Path, t corev1.LimitType) field.ErrorList {
	if errs := qualifiedName(at, string(t)); len(errs) > 0 {
		return errs
	}
	switch t {
	case corev1.LimitTypePod, corev1.LimitTypeContainer, corev1.LimitTypePersistentVolumeClaim:
		return nil
	}
	if !strings.Contains(string(t), "/") {
		return field.ErrorList{field.Invalid(at, t, "must be a standard limit type or fully qualified")}
	}
	return nil
}

func limitItem(at *field.Path, item *corev1.LimitRangeItem) field.ErrorList {
	named := qualifiedResource
	if item.Type == corev1.LimitTypePod || item.Type == corev1.LimitTypeContainer {
		named = containerResource
	}
	names := map[corev1.ResourceName]bool{}
	var errs field.ErrorList
	check := func(child string, list corev1.ResourceList) {
		for _, name := range sortedKeys(list) {
			errs = append(errs, named(at.Child(child).Key(string(name)), name)...)
			names[name] = true
		}
	}
	check("max", item.Max)
	check("min", item.Min)
	if item.Type == corev1.LimitTypePod {
		// Only containers have requests and limits that could be filled in.
		list := map[string]corev1.ResourceList{"default": item.Default, "defaultRequest": item.DefaultRequest}
		for _, child := range sortedKeys(list) {
			list := list[child]
			if len(list) > 0 {
				errs = append(errs, field.Forbidden(at.Child(child), "may not be specified when `type` is 'Pod'"))
			}
		}
	} else {
		check("default", item.Default)
		check("defaultRequest", item.DefaultRequest)
	}
	if item.Type == corev1.LimitTypePersistentVolumeClaim {
		_, least := item.Min[corev1.ResourceStorage]
		_, most := item.Max[corev1.ResourceStorage]
		if !least && !most {
			errs = append(errs, field.Required(at.Child("limits"), "either minimum or maximum storage value is required, but neither was provided"))
		}
	}
	check("maxLimitRequestRatio", item.MaxLimitRequestRatio)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		errs = append(errs, limitOrder(at, item, name)...)
	}
	return errs
}

// limitOrder wants min ≤ defaultRequest ≤ default ≤ max for one resource.
func limitOrder(at *field.Path, item *corev1.LimitRangeItem, name corev1.ResourceName) field.ErrorList {
	type bound struct {
		child, words string
		list         corev1.ResourceList
	}
	least, most := bound{"min", "min", item.Min}, bound{"max", "max", item.Max}
	limit, request := bound{"default", "default", item.Default}, bound{"defaultRequest", "default request", item.DefaultRequest}
	if item.Type == corev1.LimitTypePod {
		limit.list, request.list = nil, nil
	}
	var errs field.ErrorList
	for _, pair := range []struct {
		low, high bound
		// blame is the field that the message is about.
		blame bound
	}{{least, most, least}, {least, request, request}, {request, most, request}, {request, limit, request}, {least, limit, limit}, {limit, most, limit}} {
		low, ok1 := pair.low.list[name]
		high, ok2 := pair.high.list[name]
		if !ok1 || !ok2 || low.Cmp(high) <= 0 {
			continue
		}
		high2 := pair.high.words
		if pair.low.child == "defaultRequest" && pair.high.child == "default" {
			high2 = "default limit"
		}
		value := pair.blame.list[name]
		errs = append(errs, field.Invalid(at.Child(pair.blame.child).Key(string(name)), value.String(),
			fmt.Sprintf("%s value %s is greater than %s value %s", pair.low.words, low.String(), high2, high.String())))
	}
	errs = append(errs, limitRatio(at.Child("maxLimitRequestRatio").Key(string(name)), item, name)...)
	l, ok1 := limit.list[name]
	r, ok2 := request.list[name]
	if ok1 && ok2 && !overcommits(name) && l.Cmp(r) != 0 {
		errs = append(errs, field.Invalid(at.Child("defaultRequest").Key(string(name)), r.String(),
			fmt.Sprintf("default value %s must equal to defaultRequest value %s in %s", l.String(), r.String(), name)))
	}
	return errs
}

// limitRatio wants a ratio of limit to request that some pair between min and max can have.
func limitRatio(at *field.Path, item *corev1.LimitRangeItem, name corev1.ResourceName) field.ErrorList {
	ratio, ok := item.MaxLimitRequestRatio[name]
	if !ok {
		return nil
	}
	var errs field.ErrorList
	if ratio.Cmp(resource.MustParse("1")) < 0 {
		errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is less than 1", ratio.String())))
	}
	least, ok1 := item.Min[name]
	most, ok2 := item.Max[name]
	if !ok1 || !ok2 || least.IsZero() {
		return errs
	}
	if possible := most.AsApproximateFloat64() / least.AsApproximateFloat64(); ratio.AsApproximateFloat64() > possible {
		errs = append(errs, field.Invalid(at, ratio.String(), fmt.Sprintf("ratio %s is greater than max/min = %f", ratio.String(), possible)))
	}
	return errs
}

package admission

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// annotationLimits tells people where a container's resources come from.
const annotationLimits = "kubernetes.io/limit-ranger"

func sortedNames(list corev1.ResourceList) []corev1.ResourceName {
	return slices.Sorted(maps.Keys(list))
}

// fillIn gives the containers the defaults of the ranges. What a container says itself stays.
func fillIn(pod *corev1.Pod, items []corev1.LimitRangeItem) {
	var notes []string
	for i := range items {
		if items[i].Type != corev1.LimitTypeContainer {
			continue
		}
		for j := range pod.Spec.Containers {
			notes = append(notes, fillInContainer("container", &pod.Spec.Containers[j], &items[i])...)
		}
		for j := range pod.Spec.InitContainers {
			notes = append(notes, fillInContainer("init container", &pod.Spec.InitContainers[j], &items[i])...)
		}
	}
	if len(notes) > 0 {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[annotationLimits] = "LimitRanger plugin set: " + strings.Join(notes, "; ")
	}
}

func fillInContainer(kind string, c *corev1.Container, item *corev1.LimitRangeItem) []string {
	var notes []string
	for _, f := range []struct {
		what     string
		have     *corev1.ResourceList
		defaults corev1.ResourceList
	}{
		{"request", &c.Resources.Requests, item.DefaultRequest},
		{"limit", &c.Resources.Limits, item.Default},
	} {
		var set []string
		for _, name := range sortedNames(f.defaults) {
			if _, has := (*f.have)[name]; has {
				continue
			}
			if *f.have == nil {
				*f.have = corev1.ResourceList{}
			}
			(*f.have)[name] = f.defaults[name].DeepCopy()
			set = append(set, string(name))
		}
		if len(set) > 0 {
			notes = append(notes, fmt.Sprintf("%s %s for %s %s", strings.Join(set, ", "), f.what, kind, c.Name))
		}
	}
	return notes
}

// check compares requests and limits with one range.
func check(item *corev1.LimitRangeItem, requests, limits corev1.ResourceList) []error {
	var errs []error
	for _, name := range sortedNames(item.Min) {
		errs = append(errs, atLeast(item.Type, name, item.Min[name], requests, limits))
	}
	for _, name := range sortedNames(item.Max) {
		errs = append(errs, atMost(item.Type, name, item.Max[name], requests, limits))
	}
	for _, name := range sortedNames(item.MaxLimitRequestRatio) {
		errs = append(errs, ratioAtMost(item.Type, name, item.MaxLimitRequestRatio[name], requests, limits))
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func atLeast(of corev1.LimitType, name corev1.ResourceName, minimum resource.Quantity, requests, limits corev1.ResourceList) error {
	request, ok := requests[name]
	if !ok {
		return fmt.Errorf("minimum %s usage per %s is %s.  No request is specified", name, of, minimum.String())
	}
	if request.Cmp(minimum) < 0 {
		return fmt.Errorf("minimum %s usage per %s is %s, but request is %s", name, of, minimum.String(), request.String())
	}
	if limit, ok := limits[name]; ok && limit.Cmp(minimum) < 0 {
		return fmt.Errorf("minimum %s usage per %s is %s, but limit is %s", name, of, minimum.String(), limit.String())
	}
	return nil
}

func atMost(of corev1.LimitType, name corev1.ResourceName, maximum resource.Quantity, requests, limits corev1.ResourceList) error {
	limit, ok := limits[name]
	if !ok {
		return fmt.Errorf("maximum %s usage per %s is %s.  No limit is specified", name, of, maximum.String())
	}
	if limit.Cmp(maximum) > 0 {
		return fmt.Errorf("maximum %s usage per %s is %s, but limit is %s", name, of, maximum.String(), limit.String())
	}
	if request, ok := requests[name]; ok && request.Cmp(maximum) > 0 {
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, of, maximum.String(), request.String())
	}
	return nil
}

func requestAtMost(of corev1.LimitType, name corev1.ResourceName, maximum resource.Quantity, requests corev1.ResourceList) error {
	request, ok := requests[name]
	if !ok {
		return fmt.Errorf("maximum %s usage per %s is %s.  No request is specified", name, of, maximum.String())
	}
	if request.Cmp(maximum) > 0 {
		return fmt.Errorf("maximum %s usage per %s is %s, but request is %s", name, of, maximum.String(), request.String())
	}
	return nil
}

func ratioAtMost(of corev1.LimitType, name corev1.ResourceName, maximum resource.Quantity, requests, limits corev1.ResourceList) error {
	request, limit := requests[name], limits[name]
	if request.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no request is specified or request is 0", name, of, maximum.String())
	}
	if limit.IsZero() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but no limit is specified or limit is 0", name, of, maximum.String())
	}
	if ratio := limit.AsApproximateFloat64() / request.AsApproximateFloat64(); ratio > maximum.AsApproximateFloat64() {
		return fmt.Errorf("%s max limit to request ratio per %s is %s, but provided ratio is %f", name, of, maximum.String(), ratio)
	}
	return nil
}

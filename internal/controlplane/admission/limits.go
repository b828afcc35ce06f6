package admission

import (
	"context"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	resourcehelper "k8s.io/component-helpers/resource"
)

// limits applies the LimitRanges of a namespace: it fills in what containers leave open, and refuses Pods and claims that are too small or too big.
func limits(f informers.SharedInformerFactory) *rule {
	inf := f.Core().V1().LimitRanges()
	ranges := func(namespace string) ([]corev1.LimitRangeItem, error) {
		list, err := inf.Lister().LimitRanges(namespace).List(labels.Everything())
		if err != nil {
			return nil, err
		}
		// In the order of their names, so that the same Pod always gets the same defaults.
		slices.SortFunc(list, func(a, b *corev1.LimitRange) int { return strings.Compare(a.Name, b.Name) })
		var items []corev1.LimitRangeItem
		for _, r := range list {
			items = append(items, r.Spec.Limits...)
		}
		return items, nil
	}
	return rule{
		of: []schema.GroupResource{corev1.Resource("pods"), corev1.Resource("persistentvolumeclaims")},
		admit: func(_ context.Context, a admission.Attributes) error {
			pod, ok := object[*corev1.Pod](a)
			if !ok || a.GetOperation() != admission.Create {
				return nil
			}
			items, err := ranges(a.GetNamespace())
			if err != nil {
				return err
			}
			fillIn(pod, items)
			return nil
		},
		validate: func(_ context.Context, a admission.Attributes) error {
			// The resources of an existing Pod change by the resize subresource only.
			if pod, ok := object[*corev1.Pod](a, "resize"); ok && (a.GetOperation() == admission.Create || a.GetSubresource() == "resize") {
				items, err := ranges(a.GetNamespace())
				if err != nil {
					return err
				}
				return utilerrors.NewAggregate(checkPod(pod, items))
			}
			if claim, ok := object[*corev1.PersistentVolumeClaim](a); ok {
				if old := oldObject[*corev1.PersistentVolumeClaim](a); old != nil && old.DeletionTimestamp != nil {
					return nil
				}
				items, err := ranges(a.GetNamespace())
				if err != nil {
					return err
				}
				return utilerrors.NewAggregate(checkClaim(claim, items))
			}
			return nil
		},
	}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Create, admission.Update)
}

// checkPod compares each container, and the Pod as a whole, with the ranges.
func checkPod(pod *corev1.Pod, items []corev1.LimitRangeItem) []error {
	var errs []error
	for i := range items {
		item := &items[i]
		switch item.Type {
		case corev1.LimitTypeContainer:
			for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
				for j := range list {
					errs = append(errs, check(item, list[j].Resources.Requests, list[j].Resources.Limits)...)
				}
			}
		case corev1.LimitTypePod:
			options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
			errs = append(errs, check(item, resourcehelper.PodRequests(pod, options), resourcehelper.PodLimits(pod, options))...)
		}
	}
	return errs
}

// checkClaim compares a claim's storage with the ranges: a claim has requests only.
func checkClaim(claim *corev1.PersistentVolumeClaim, items []corev1.LimitRangeItem) []error {
	var errs []error
	for i := range items {
		item := &items[i]
		if item.Type != corev1.LimitTypePersistentVolumeClaim {
			continue
		}
		for _, name := range sortedNames(item.Min) {
			errs = append(errs, atLeast(item.Type, name, item.Min[name], claim.Spec.Resources.Requests, nil))
		}
		for _, name := range sortedNames(item.Max) {
			errs = append(errs, requestAtMost(item.Type, name, item.Max[name], claim.Spec.Resources.Requests))
		}
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

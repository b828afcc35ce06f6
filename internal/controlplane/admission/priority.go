package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/informers"
	schedulinglisters "k8s.io/client-go/listers/scheduling/v1"
	"k8s.io/client-go/tools/cache"
)

// priority turns the name of a Pod's PriorityClass into the number that the scheduler compares, and keeps the default class the only one.
func priority(f informers.SharedInformerFactory) *rule {
	inf := f.Scheduling().V1().PriorityClasses()
	classes := inf.Lister()
	return rule{
		of: []schema.GroupResource{corev1.Resource("pods"), schedulingv1.Resource("priorityclasses")},
		admit: func(_ context.Context, a admission.Attributes) error {
			pod, ok := object[*corev1.Pod](a)
			if !ok {
				return nil
			}
			if old := oldObject[*corev1.Pod](a); a.GetOperation() == admission.Update && old != nil {
				keepPriority(pod, old)
				return nil
			}
			class, err := classOf(classes, pod.Spec.PriorityClassName)
			if err != nil {
				return err
			}
			return setPriority(pod, class)
		},
		validate: func(_ context.Context, a admission.Attributes) error {
			class, ok := object[*schedulingv1.PriorityClass](a)
			if !ok || !class.GlobalDefault {
				return nil
			}
			all, err := classes.List(labels.Everything())
			if err != nil {
				return err
			}
			for _, other := range all {
				if other.GlobalDefault && other.Name != class.Name {
					return fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name)
				}
			}
			return nil
		},
	}.on([]cache.InformerSynced{inf.Informer().HasSynced}, admission.Create, admission.Update)
}

// classOf is the class of that name, the default class for none, and nil where there is no default.
func classOf(classes schedulinglisters.PriorityClassLister, name string) (*schedulingv1.PriorityClass, error) {
	if name != "" {
		class, err := classes.Get(name)
		if apierrors.IsNotFound(err) {
			return nil, fmt.Errorf("no PriorityClass with name %v was found", name)
		}
		return class, err
	}
	all, err := classes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var chosen *schedulingv1.PriorityClass
	for _, c := range all {
		// Two defaults can come about when two servers judge at once; the lower one takes less from others.
		if c.GlobalDefault && (chosen == nil || c.Value < chosen.Value) {
			chosen = c
		}
	}
	return chosen, nil
}

// setPriority takes number and preemption from the class. A Pod may carry them already, as one that is made again from a stored manifest does, but not others.
func setPriority(pod *corev1.Pod, class *schedulingv1.PriorityClass) error {
	value, preemption := int32(0), corev1.PreemptLowerPriority
	if class != nil {
		value, pod.Spec.PriorityClassName = class.Value, class.Name
		if class.PreemptionPolicy != nil {
			preemption = *class.PreemptionPolicy
		}
	}
	if p := pod.Spec.Priority; p != nil && *p != value {
		return fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *p, value)
	}
	pod.Spec.Priority = &value
	if p := pod.Spec.PreemptionPolicy; p != nil && *p != preemption {
		return fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *p, preemption)
	}
	pod.Spec.PreemptionPolicy = &preemption
	return nil
}

// keepPriority: a Pod keeps what it was admitted with; a client that does not know the fields leaves them out.
func keepPriority(pod, old *corev1.Pod) {
	if pod.Spec.Priority == nil {
		pod.Spec.Priority = old.Spec.Priority
	}
	if pod.Spec.PreemptionPolicy == nil {
		pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
	}
}

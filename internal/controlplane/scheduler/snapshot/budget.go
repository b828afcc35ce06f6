package snapshot

import (
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Budget is a PodDisruptionBudget as preemption honours it.
type Budget struct {
	Allowed int32 // disruptions at the moment

	selector  labels.Selector
	disrupted map[string]metav1.Time // Pods that were evicted already, by name: they have been taken from Allowed
}

// Covers says whether disrupting the Pod takes from the budget.
func (b *Budget) Covers(pod *corev1.Pod) bool {
	_, counted := b.disrupted[pod.Name]
	return !counted && b.selector.Matches(labels.Set(pod.Labels))
}

// SetBudget takes in a PodDisruptionBudget, new or changed. One whose selector cannot be read covers nothing; the API server refuses it.
func (s *Snapshot) SetBudget(obj *policyv1.PodDisruptionBudget) {
	selector, err := metav1.LabelSelectorAsSelector(obj.Spec.Selector)
	if err != nil {
		s.RemoveBudget(obj.Namespace, obj.Name)
		return
	}
	if s.budgets[obj.Namespace] == nil {
		s.budgets[obj.Namespace] = map[string]*Budget{}
	}
	s.budgets[obj.Namespace][obj.Name] = &Budget{Allowed: obj.Status.DisruptionsAllowed, selector: selector, disrupted: obj.Status.DisruptedPods}
}

// RemoveBudget takes a PodDisruptionBudget out.
func (s *Snapshot) RemoveBudget(namespace, name string) {
	delete(s.budgets[namespace], name)
	if len(s.budgets[namespace]) == 0 {
		delete(s.budgets, namespace)
	}
}

// Budgets calls f for every budget that covers the Pod. A Pod without labels has none, whatever they select.
func (s *Snapshot) Budgets(pod *corev1.Pod, f func(*Budget)) {
	if len(pod.Labels) == 0 {
		return
	}
	for _, b := range s.budgets[pod.Namespace] {
		if b.Covers(pod) {
			f(b)
		}
	}
}

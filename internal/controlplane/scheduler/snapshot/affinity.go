package snapshot

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// Affinity is what a Pod says about the Pods near it, with selectors read. Terms whose selector cannot be read are left out; the API server refuses them.
type Affinity struct {
	Required     []Term // there must be such a Pod in the domain
	RequiredAnti []Term // there must be none
	Preferred    []Term // Weight is positive for affinity, negative for anti-affinity
}

// Term is one affinity term.
type Term struct {
	Key               string // the label whose values are the domains
	Namespaces        []string
	NamespaceSelector labels.Selector // nil for none; namespaces it selects are added to Namespaces
	Selector          labels.Selector
	Weight            int32

	pairs []pair // what Selector asks for literally
	alike string // equal for terms that say the same
}

// affinityOf is nil for a Pod that says nothing about others.
func affinityOf(pod *corev1.Pod) *Affinity {
	spec := pod.Spec.Affinity
	if spec == nil || spec.PodAffinity == nil && spec.PodAntiAffinity == nil {
		return nil
	}
	a := &Affinity{}
	if p := spec.PodAffinity; p != nil {
		a.Required = termsOf(pod, p.RequiredDuringSchedulingIgnoredDuringExecution)
		a.prefer(pod, p.PreferredDuringSchedulingIgnoredDuringExecution, 1)
	}
	if p := spec.PodAntiAffinity; p != nil {
		a.RequiredAnti = termsOf(pod, p.RequiredDuringSchedulingIgnoredDuringExecution)
		a.prefer(pod, p.PreferredDuringSchedulingIgnoredDuringExecution, -1)
	}
	return a
}

func (a *Affinity) prefer(pod *corev1.Pod, terms []corev1.WeightedPodAffinityTerm, sign int32) {
	for i := range terms {
		if t, ok := termOf(pod, &terms[i].PodAffinityTerm); ok {
			t.Weight = sign * terms[i].Weight
			t.alike = alike(&t, false)
			a.Preferred = append(a.Preferred, t)
		}
	}
}

func termsOf(pod *corev1.Pod, terms []corev1.PodAffinityTerm) []Term {
	var out []Term
	for i := range terms {
		if t, ok := termOf(pod, &terms[i]); ok {
			t.alike = alike(&t, true)
			out = append(out, t)
		}
	}
	return out
}

func termOf(pod *corev1.Pod, spec *corev1.PodAffinityTerm) (Term, bool) {
	selector, err := metav1.LabelSelectorAsSelector(spec.LabelSelector)
	if err != nil {
		return Term{}, false
	}
	selector = WithLabelKeys(selector, pod, spec.MatchLabelKeys, selection.In)
	selector = WithLabelKeys(selector, pod, spec.MismatchLabelKeys, selection.NotIn)
	t := Term{Key: spec.TopologyKey, Namespaces: spec.Namespaces, Selector: selector, pairs: pairsOf(selector)}
	if spec.NamespaceSelector != nil {
		if t.NamespaceSelector, err = metav1.LabelSelectorAsSelector(spec.NamespaceSelector); err != nil {
			return Term{}, false
		}
	} else if len(t.Namespaces) == 0 {
		t.Namespaces = []string{pod.Namespace}
	}
	return t, true
}

// WithLabelKeys narrows a selector to Pods that have, or have not, the Pod's own values of the labels in keys. Labels that the Pod lacks say nothing (KEP-3633).
func WithLabelKeys(selector labels.Selector, pod *corev1.Pod, keys []string, op selection.Operator) labels.Selector {
	for _, k := range keys {
		v, ok := pod.Labels[k]
		if !ok {
			continue
		}
		if r, err := labels.NewRequirement(k, op, []string{v}); err == nil {
			selector = selector.Add(*r)
		}
	}
	return selector
}

func (t *Term) selects(podLabels map[string]string) bool {
	return t.Selector.Matches(labels.Set(podLabels))
}

func (t *Term) inNamespace(name string, nsLabels map[string]string) bool {
	return slices.Contains(t.Namespaces, name) || t.NamespaceSelector != nil && t.NamespaceSelector.Matches(labels.Set(nsLabels))
}

// Matches says whether a term selects a Pod.
func (s *Snapshot) Matches(t *Term, pod *Pod) bool {
	ns := pod.Object.Namespace
	return t.selects(pod.Object.Labels) && t.inNamespace(ns, s.namespaces[ns])
}

// MayMatch says whether a term would select a Pod if the labels of namespaces were right.
func (t *Term) MayMatch(pod *Pod) bool {
	return t.selects(pod.Object.Labels) && (t.NamespaceSelector != nil || slices.Contains(t.Namespaces, pod.Object.Namespace))
}

// MatchesGroup says whether a term selects the Pods of a group.
func (s *Snapshot) MatchesGroup(t *Term, g *Group) bool {
	return t.selects(g.Labels) && t.inNamespace(g.Namespace, s.namespaces[g.Namespace])
}

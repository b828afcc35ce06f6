package quota

import (
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apiserver/pkg/admission"
	quota "k8s.io/apiserver/pkg/quota/v1"
	"k8s.io/apiserver/pkg/quota/v1/generic"
	resourcehelper "k8s.io/component-helpers/resource"
)

const (
	requestsPrefix = "requests."
	limitsPrefix   = "limits."
)

func one() resource.Quantity { return *resource.NewQuantity(1, resource.DecimalSI) }

func pods(list generic.ListFuncByNamespace) quota.Evaluator {
	gr := corev1.Resource("pods")
	count := generic.ObjectCountQuotaResourceNameFor(gr)
	return &measure[*corev1.Pod]{
		resource: gr, list: list, names: isPodResource,
		usage: func(p *corev1.Pod) corev1.ResourceList {
			used := corev1.ResourceList{count: one()}
			if takes(p, time.Now()) {
				used = quota.Add(used, podUsage(p))
			}
			return used
		},
		inScope: podInScope, required: podMustState,
		changes: func(a admission.Attributes, p, old *corev1.Pod) bool {
			return a.GetSubresource() == "resize" || a.GetSubresource() == "" && (p.Spec.ActiveDeadlineSeconds == nil) != (old.Spec.ActiveDeadlineSeconds == nil)
		},
	}
}

// native are the resources that every node has, and the prefixes of those that can be limited without "requests.".
var native = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}

func isPodResource(n corev1.ResourceName) bool {
	text := string(n)
	switch {
	case n == corev1.ResourcePods || n == generic.ObjectCountQuotaResourceNameFor(corev1.Resource("pods")) || slices.Contains(native, n):
		return true
	case strings.HasPrefix(text, corev1.ResourceHugePagesPrefix):
		return true
	}
	if name, ok := strings.CutPrefix(text, limitsPrefix); ok {
		return slices.Contains(native, corev1.ResourceName(name))
	}
	name, ok := strings.CutPrefix(text, requestsPrefix)
	return ok && (slices.Contains(native, corev1.ResourceName(name)) || strings.HasPrefix(name, corev1.ResourceHugePagesPrefix) || isExtended(name))
}

// isExtended: the names of other resources have a domain that is not Kubernetes' own.
func isExtended(name string) bool {
	return strings.Contains(name, "/") && !strings.Contains(name, corev1.ResourceDefaultNamespacePrefix)
}

// takes tells whether a Pod holds what it asks for: one that has ended, or that its node should have ended long ago, does not.
func takes(p *corev1.Pod, now time.Time) bool {
	if p.Status.Phase == corev1.PodFailed || p.Status.Phase == corev1.PodSucceeded {
		return false
	}
	if p.DeletionTimestamp == nil || p.DeletionGracePeriodSeconds == nil {
		return true
	}
	// The grace period is added again, since the timestamp includes it: a node gets that long to report.
	return !now.After(p.DeletionTimestamp.Add(time.Duration(*p.DeletionGracePeriodSeconds) * time.Second))
}

func podUsage(p *corev1.Pod) corev1.ResourceList {
	options := resourcehelper.PodResourcesOptions{UseStatusResources: true}
	used := corev1.ResourceList{corev1.ResourcePods: one()}
	for name, q := range resourcehelper.PodRequests(p, options) {
		switch {
		case slices.Contains(native, name), strings.HasPrefix(string(name), corev1.ResourceHugePagesPrefix):
			used[name], used[requestsPrefix+name] = q, q
		case isExtended(string(name)):
			used[requestsPrefix+name] = q
		}
	}
	for name, q := range resourcehelper.PodLimits(p, options) {
		if slices.Contains(native, name) {
			used[limitsPrefix+name] = q
		}
	}
	return used
}

func podInScope(s corev1.ScopedResourceSelectorRequirement, p *corev1.Pod) (bool, error) {
	terminating := p.Spec.ActiveDeadlineSeconds != nil && *p.Spec.ActiveDeadlineSeconds >= 0
	switch s.ScopeName {
	case corev1.ResourceQuotaScopeTerminating:
		return terminating, nil
	case corev1.ResourceQuotaScopeNotTerminating:
		return !terminating, nil
	case corev1.ResourceQuotaScopeBestEffort:
		return bestEffort(p), nil
	case corev1.ResourceQuotaScopeNotBestEffort:
		return !bestEffort(p), nil
	case corev1.ResourceQuotaScopePriorityClass:
		return selects(s, p.Spec.PriorityClassName)
	case corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return crossesNamespaces(p.Spec.Affinity), nil
	}
	return false, nil
}

// bestEffort tells whether no container asks for processor or memory (the QoS class of that name).
func bestEffort(p *corev1.Pod) bool {
	if resourcehelper.IsPodLevelResourcesSet(p) {
		return false
	}
	asks := func(list corev1.ResourceList) bool { return !list.Cpu().IsZero() || !list.Memory().IsZero() }
	return !slices.ContainsFunc(slices.Concat(p.Spec.InitContainers, p.Spec.Containers), func(c corev1.Container) bool {
		return asks(c.Resources.Requests) || asks(c.Resources.Limits)
	})
}

// crossesNamespaces tells whether an affinity looks at Pods of other namespaces, by which one namespace can keep another's Pods off nodes.
func crossesNamespaces(a *corev1.Affinity) bool {
	if a == nil {
		return false
	}
	var terms []corev1.PodAffinityTerm
	add := func(required []corev1.PodAffinityTerm, preferred []corev1.WeightedPodAffinityTerm) {
		terms = append(terms, required...)
		for _, w := range preferred {
			terms = append(terms, w.PodAffinityTerm)
		}
	}
	if p := a.PodAffinity; p != nil {
		add(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	if p := a.PodAntiAffinity; p != nil {
		add(p.RequiredDuringSchedulingIgnoredDuringExecution, p.PreferredDuringSchedulingIgnoredDuringExecution)
	}
	return slices.ContainsFunc(terms, func(t corev1.PodAffinityTerm) bool { return len(t.Namespaces) > 0 || t.NamespaceSelector != nil })
}

// stated are the resources that each container must state where they are limited: without a number nothing could be counted.
var stated = []corev1.ResourceName{
	corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory, corev1.ResourceLimitsCPU, corev1.ResourceLimitsMemory,
}

func podMustState(required []corev1.ResourceName, p *corev1.Pod) error {
	if resourcehelper.IsPodLevelResourcesSet(p) {
		return nil
	}
	var missing []string
	for _, name := range slices.Sorted(slices.Values(required)) {
		if !slices.Contains(stated, name) {
			continue
		}
		var silent []string
		for _, c := range slices.Concat(p.Spec.Containers, p.Spec.InitContainers) {
			if !states(&c.Resources, string(name)) {
				silent = append(silent, c.Name)
			}
		}
		if len(silent) > 0 {
			slices.Sort(silent)
			missing = append(missing, fmt.Sprintf("%s for: %s", name, strings.Join(silent, ",")))
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("must specify %s", strings.Join(missing, "; "))
	}
	return nil
}

func states(r *corev1.ResourceRequirements, name string) bool {
	list := r.Requests
	if limit, ok := strings.CutPrefix(name, limitsPrefix); ok {
		list, name = r.Limits, limit
	}
	_, ok := list[corev1.ResourceName(strings.TrimPrefix(name, requestsPrefix))]
	return ok
}

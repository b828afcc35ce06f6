package resourcequota

import (
	"errors"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime/schema"
	quota "k8s.io/apiserver/pkg/quota/v1"

	measures "github.com/gitopsd/gitopsd/internal/controlplane/quota"
)

// count is how many objects of a resource the namespace has, or false if nobody knows.
type count func(gr schema.GroupResource) (int, bool)

// Status is what the status of q is to be, and whether it differs from what it is. What cannot be measured now keeps its old number, and is reported.
func Status(q *corev1.ResourceQuota, evaluators []quota.Evaluator, objects count) (status corev1.ResourceQuotaStatus, differs bool, err error) {
	hard := q.Spec.Hard
	names := quota.ResourceNames(hard)
	status = corev1.ResourceQuotaStatus{Hard: hard.DeepCopy(), Used: corev1.ResourceList{}}
	for name := range hard {
		status.Used[name] = resource.Quantity{Format: resource.DecimalSI}
	}
	var errs []error
	for _, e := range evaluators {
		matching := e.MatchingResources(names)
		if len(matching) == 0 || byNumber(e.GroupResource()) {
			continue
		}
		stats, err := e.UsageStats(quota.UsageStatsOptions{
			Namespace: q.Namespace, Scopes: q.Spec.Scopes, ScopeSelector: q.Spec.ScopeSelector, Resources: matching,
		})
		if err != nil {
			errs = append(errs, err)
			keep(status.Used, q.Status.Used, matching)
			continue
		}
		for name, used := range quota.Mask(stats.Used, matching) {
			status.Used[name] = used
		}
	}
	for _, name := range names {
		gr, ok := countedBy(name)
		if !ok || !byNumber(gr) {
			continue
		}
		if n, known := objects(gr); known {
			status.Used[name] = *resource.NewQuantity(int64(n), resource.DecimalSI)
		}
	}
	return status, !equality.Semantic.DeepEqual(q.Status, status), errors.Join(errs...)
}

// AtLeast is Status where that is more than what is said to be used, and leaves the rest: a lower number may be one that admission has counted ahead of the
// caches, or that of an object on its way.
func AtLeast(q *corev1.ResourceQuota, evaluators []quota.Evaluator, objects count) (status corev1.ResourceQuotaStatus, differs bool, err error) {
	status, _, err = Status(q, evaluators, objects)
	for name, old := range q.Status.Used {
		if used, ok := status.Used[name]; ok && used.Cmp(old) < 0 {
			status.Used[name] = old
		}
	}
	return status, !equality.Semantic.DeepEqual(q.Status, status), err
}

func keep(used, old corev1.ResourceList, names []corev1.ResourceName) {
	for _, name := range names {
		if q, ok := old[name]; ok {
			used[name] = q
		}
	}
}

// byNumber tells whether the kind has no measure but its number.
func byNumber(gr schema.GroupResource) bool {
	return gr.Group != "" || gr.Resource != "pods" && gr.Resource != "services" && gr.Resource != "persistentvolumeclaims"
}

// countedBy is the resource that a name of a quota counts: count/<resource>.<group>, or one of the old bare names.
func countedBy(name corev1.ResourceName) (schema.GroupResource, bool) {
	if text, ok := strings.CutPrefix(string(name), "count/"); ok {
		return schema.ParseGroupResource(text), true
	}
	gr := corev1.Resource(string(name))
	return gr, measures.Alias(gr) != ""
}

package registry

import (
	"context"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// evictionREST deletes a Pod on behalf of somebody who empties a node, if the Pod's disruption budget allows it.
type evictionREST struct {
	store    *genericregistry.Store
	registry *Registry
}

var (
	_ rest.NamedCreater             = (*evictionREST)(nil)
	_ rest.GroupVersionKindProvider = (*evictionREST)(nil)
)

// evictionTries bounds how often a Pod that changes all the while is looked at anew.
const evictionTries = 20

func (*evictionREST) New() runtime.Object { return &policyv1.Eviction{} }

func (*evictionREST) Destroy() {}

func (*evictionREST) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return policyv1.SchemeGroupVersion.WithKind("Eviction")
}

func (r *evictionREST) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	e, ok := obj.(*policyv1.Eviction)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("expected an Eviction, got a %T", obj))
	}
	if e.Name != name {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the Eviction is named %q, the URL names the Pod %q", e.Name, name))
	}
	if errs := validation.Eviction(e); len(errs) > 0 {
		return nil, apierrors.NewInvalid(policyv1.SchemeGroupVersion.WithKind("Eviction").GroupKind(), name, errs)
	}
	if validate != nil {
		if err := validate(ctx, e); err != nil {
			return nil, err
		}
	}
	opts := &metav1.DeleteOptions{}
	if e.DeleteOptions != nil {
		opts = e.DeleteOptions.DeepCopy()
	}
	switch {
	case len(opts.DryRun) == 0:
		opts.DryRun = options.DryRun
	case len(options.DryRun) > 0 && !slices.Equal(opts.DryRun, options.DryRun):
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the request says dryRun=%v, the Eviction's deleteOptions %v: leave one of them out", options.DryRun, opts.DryRun))
	}
	for range evictionTries {
		if again, err := r.evict(ctx, name, opts); !again {
			if err != nil {
				return nil, err
			}
			return &metav1.Status{Status: metav1.StatusSuccess}, nil
		}
	}
	return nil, tooManyDisruptions(retryBudget, "The Pod changes all the while.")
}

// evict looks at the Pod once, and says whether it has changed meanwhile, so that it has to be looked at again.
func (r *evictionREST) evict(ctx context.Context, name string, opts *metav1.DeleteOptions) (again bool, err error) {
	pod, err := getPod(ctx, r.store, name)
	if err != nil {
		return false, err
	}
	if err := precondition(opts, pod); err != nil {
		return false, err
	}
	var pdb *policyv1.PodDisruptionBudget
	if budgeted(pod) {
		if pdb, err = r.budgetOf(ctx, pod); err != nil {
			return false, err
		}
	}
	ready := slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
	// What was decided rests on the Pod not being healthy: should it become so, it is looked at anew.
	unchanged := !conditional(opts) && (pod.Status.Phase == corev1.PodPending && pod.DeletionTimestamp == nil || pdb != nil && !ready)
	if pdb != nil && (ready || !unhealthyMayGo(pdb)) {
		unchanged = false
		if err := r.spend(ctx, pdb.Name, name, opts); err != nil {
			return false, err
		}
	}
	if unchanged {
		opts = opts.DeepCopy()
		if opts.Preconditions == nil {
			opts.Preconditions = &metav1.Preconditions{}
		}
		opts.Preconditions.ResourceVersion = &pod.ResourceVersion
	}
	err = r.delete(ctx, name, opts)
	return unchanged && apierrors.IsConflict(err), err
}

// precondition is the Conflict with what a client knows of the Pod, or nil.
func precondition(opts *metav1.DeleteOptions, pod *corev1.Pod) error {
	p := opts.Preconditions
	switch {
	case p == nil:
	case p.UID != nil && *p.UID != pod.UID:
		return apierrors.NewConflict(corev1.Resource("pods"), pod.Name, fmt.Errorf("the UID in the precondition is %s, that of the Pod is %s: it was deleted and made anew", *p.UID, pod.UID))
	case p.ResourceVersion != nil && *p.ResourceVersion != pod.ResourceVersion:
		return apierrors.NewConflict(corev1.Resource("pods"), pod.Name, fmt.Errorf("the resourceVersion in the precondition is %s, that of the Pod is %s: it was changed", *p.ResourceVersion, pod.ResourceVersion))
	}
	return nil
}

func conditional(opts *metav1.DeleteOptions) bool {
	return opts.Preconditions != nil && opts.Preconditions.ResourceVersion != nil
}

// budgeted says that a Pod may be of use to somebody: one that has ended, has not begun or is going is not.
func budgeted(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return false
	}
	return pod.DeletionTimestamp == nil
}

// budgetOf is the one PodDisruptionBudget that selects the Pod, or nil.
func (r *evictionREST) budgetOf(ctx context.Context, pod *corev1.Pod) (*policyv1.PodDisruptionBudget, error) {
	list, err := r.registry.Store(policyv1.Resource("poddisruptionbudgets")).List(ctx, nil)
	if err != nil {
		return nil, err
	}
	var found *policyv1.PodDisruptionBudget
	items := list.(*policyv1.PodDisruptionBudgetList).Items
	for i := range items {
		selector, err := metav1.LabelSelectorAsSelector(items[i].Spec.Selector)
		if err != nil || !selector.Matches(labels.Set(pod.Labels)) {
			continue // validation lets no selector in that does not parse
		}
		if found != nil {
			return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
				Status: metav1.StatusFailure, Code: 500, Reason: metav1.StatusReasonInternalError,
				Message: fmt.Sprintf("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support: %s and %s select it; change one of their selectors.", found.Name, items[i].Name),
			}}
		}
		found = &items[i]
	}
	return found, nil
}

// unhealthyMayGo says that a Pod which is not ready may go without being counted (KEP-3017): always, or while what the budget protects is not disrupted.
func unhealthyMayGo(pdb *policyv1.PodDisruptionBudget) bool {
	if p := pdb.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return pdb.Status.DesiredHealthy > 0 && pdb.Status.CurrentHealthy >= pdb.Status.DesiredHealthy
}

// spend takes one disruption from the budget, in one transaction with the check that there is one.
func (r *evictionREST) spend(ctx context.Context, budget, pod string, opts *metav1.DeleteOptions) error {
	take := func(_ context.Context, obj, _ runtime.Object) (runtime.Object, error) {
		pdb := obj.(*policyv1.PodDisruptionBudget)
		return pdb, takeDisruption(pdb, pod, time.Now())
	}
	_, err := r.change(ctx, policyv1.Resource("poddisruptionbudgets"), budget, opts, take)
	return err
}

// delete marks the Pod as evicted, so that whoever counts its failures can tell, and deletes it.
func (r *evictionREST) delete(ctx context.Context, name string, opts *metav1.DeleteOptions) error {
	mark := func(_ context.Context, obj, _ runtime.Object) (runtime.Object, error) {
		pod := obj.(*corev1.Pod)
		if err := precondition(opts, pod); err != nil {
			return nil, err
		}
		setDisruptionTarget(pod)
		return pod, nil
	}
	if len(opts.DryRun) == 0 {
		marked, err := r.change(ctx, corev1.Resource("pods"), name, opts, mark)
		if err != nil {
			return err
		}
		if conditional(opts) {
			opts = opts.DeepCopy()
			opts.Preconditions.ResourceVersion = &marked.(*corev1.Pod).ResourceVersion // the mark is our own change
		}
	}
	_, _, err := r.store.Delete(ctx, name, rest.ValidateAllObjectFunc, opts)
	return err
}

// latest makes a change to whatever is stored.
func latest(_ context.Context, _, old runtime.Object) (runtime.Object, error) {
	return old.DeepCopyObject(), nil
}

// change writes the status of an object in one transaction.
func (r *evictionREST) change(ctx context.Context, gr schema.GroupResource, name string, opts *metav1.DeleteOptions, f rest.TransformFunc) (runtime.Object, error) {
	status := r.registry.served[gr][gr.Resource+"/status"].(rest.Updater)
	obj, _, err := status.Update(ctx, name, rest.DefaultUpdatedObjectInfo(nil, latest, f), rest.ValidateAllObjectFunc, rest.ValidateAllObjectUpdateFunc, false,
		&metav1.UpdateOptions{DryRun: opts.DryRun})
	return obj, err
}

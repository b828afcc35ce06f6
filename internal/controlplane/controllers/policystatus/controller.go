package policystatus

import (
	"context"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	apply "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	listers "k8s.io/client-go/listers/admissionregistration/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-policystatus"

// Controller is the controller of policies' status.
type Controller struct {
	client   kubernetes.Interface
	policies listers.ValidatingAdmissionPolicyLister
	check    func(*admissionregistrationv1.ValidatingAdmissionPolicy) []admissionregistrationv1.ExpressionWarning
	synced   cache.InformerSynced
	loop     *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f. Kinds tells which kind a resource is of; the types' schemas are asked for only when there
// is a policy to be checked.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, d discovery.DiscoveryInterface, kinds meta.RESTMapper) *Controller {
	inf := f.Admissionregistration().V1().ValidatingAdmissionPolicies()
	types := &validating.TypeChecker{SchemaResolver: &resolver.ClientDiscoveryResolver{Discovery: d}, RestMapper: kinds}
	c := &Controller{client: client, policies: inf.Lister(), check: types.Check}
	c.loop = reconcile.New("policystatus", c.reconcile)
	c.synced = reconcile.Listen(inf.Informer(), c.loop.Handler())
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced) {
		c.loop.Run(ctx, 1)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	policy, err := c.policies.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil || policy.Status.ObservedGeneration >= policy.Generation {
		return reconcile.Result{}, err
	}
	checked := apply.TypeChecking()
	for _, w := range c.check(policy) {
		checked.WithExpressionWarnings(apply.ExpressionWarning().WithFieldRef(w.FieldRef).WithWarning(w.Warning))
	}
	status := apply.ValidatingAdmissionPolicyStatus().WithObservedGeneration(policy.Generation).WithTypeChecking(checked)
	_, err = c.client.AdmissionregistrationV1().ValidatingAdmissionPolicies().ApplyStatus(ctx, apply.ValidatingAdmissionPolicy(policy.Name).WithStatus(status),
		metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("status of ValidatingAdmissionPolicy %s: %w", policy.Name, err)
	}
	return reconcile.Result{}, nil
}

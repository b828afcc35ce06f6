package clusterroleaggregation

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	rbaclisters "k8s.io/client-go/listers/rbac/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-clusterroleaggregation"

// Controller is the controller of aggregated ClusterRoles.
type Controller struct {
	client kubernetes.Interface
	roles  rbaclisters.ClusterRoleLister
	synced cache.InformerSynced
	loop   *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory) *Controller {
	inf := f.Rbac().V1().ClusterRoles()
	c := &Controller{client: client, roles: inf.Lister()}
	c.loop = reconcile.New("clusterroleaggregation", c.reconcile)
	// Any ClusterRole may be one that an aggregated one selects, or has selected until now.
	c.synced = reconcile.Listen(inf.Informer(), c.loop.HandlerFor(func(any) []reconcile.Key {
		all, err := c.roles.List(labels.Everything())
		if err != nil {
			return nil
		}
		var keys []reconcile.Key
		for _, r := range all {
			if aggregated(r) {
				keys = append(keys, reconcile.Key{Name: r.Name})
			}
		}
		return keys
	}))
	return c
}

func aggregated(r *rbacv1.ClusterRole) bool {
	return r.AggregationRule != nil && len(r.AggregationRule.ClusterRoleSelectors) > 0
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced) {
		c.loop.Run(ctx, 1)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	role, err := c.roles.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil || !aggregated(role) {
		return reconcile.Result{}, err
	}
	all, err := c.roles.List(labels.Everything())
	if err != nil {
		return reconcile.Result{}, err
	}
	rules, differs, err := Rules(role, all)
	if err != nil || !differs {
		return reconcile.Result{}, err
	}
	next := role.DeepCopy()
	next.Rules = rules
	_, err = c.client.RbacV1().ClusterRoles().Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("rules of ClusterRole %s: %w", role.Name, err)
	}
	return reconcile.Result{}, nil
}

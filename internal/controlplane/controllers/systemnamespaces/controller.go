package systemnamespaces

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-systemnamespaces"

// Names are the Namespaces that are kept.
var Names = []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease, v1alpha1.SystemNamespace}

// Controller is the system namespaces' controller.
type Controller struct {
	client     kubernetes.Interface
	namespaces corelisters.NamespaceLister
	synced     cache.InformerSynced
	loop       *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory) *Controller {
	inf := f.Core().V1().Namespaces()
	c := &Controller{client: client, namespaces: inf.Lister()}
	c.loop = reconcile.New("systemnamespaces", c.reconcile)
	c.synced = reconcile.Listen(inf.Informer(), c.loop.Handler())
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced) {
		return
	}
	for _, name := range Names {
		c.loop.Enqueue(reconcile.Key{Name: name})
	}
	c.loop.Run(ctx, 1)
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	_, err := c.namespaces.Get(key.Name)
	if !missing(key.Name, err) {
		return reconcile.Result{}, nil
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: key.Name}}
	if _, err := c.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
		return reconcile.Result{}, fmt.Errorf("creating Namespace %s: %w", key.Name, err)
	}
	return reconcile.Result{}, nil
}

// missing says whether a look-up that ended in err concerns one of Names and found nothing.
func missing(name string, err error) bool {
	for _, n := range Names {
		if n == name {
			return apierrors.IsNotFound(err)
		}
	}
	return false
}

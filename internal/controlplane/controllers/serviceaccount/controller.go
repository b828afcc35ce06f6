package serviceaccount

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-serviceaccount"

const workers = 4

// Controller is the controller of default ServiceAccounts and root CA ConfigMaps.
type Controller struct {
	client     kubernetes.Interface
	ca         string
	namespaces corelisters.NamespaceLister
	accounts   corelisters.ServiceAccountLister
	configMaps corelisters.ConfigMapLister
	synced     []cache.InformerSynced
	loop       *reconcile.Loop
}

// New makes the controller; ca is the PEM bundle that verifies the API server.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, ca []byte) *Controller {
	nsInf, saInf, cmInf := f.Core().V1().Namespaces(), f.Core().V1().ServiceAccounts(), f.Core().V1().ConfigMaps()
	c := &Controller{
		client:     client,
		ca:         string(ca),
		namespaces: nsInf.Lister(),
		accounts:   saInf.Lister(),
		configMaps: cmInf.Lister(),
	}
	c.loop = reconcile.New("serviceaccount", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(nsInf.Informer(), c.loop.Handler()),
		reconcile.Listen(saInf.Informer(), c.loop.HandlerFor(named(accountName))),
		reconcile.Listen(cmInf.Informer(), c.loop.HandlerFor(named(rootCAName))),
	}
	return c
}

// named wakes an object's Namespace if the object has that name.
func named(name string) func(any) []reconcile.Key {
	return func(obj any) []reconcile.Key {
		if m, ok := obj.(metav1.Object); ok && m.GetName() == name {
			return []reconcile.Key{{Name: m.GetNamespace()}}
		}
		return nil
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	o, err := c.observe(key.Name)
	if err != nil {
		return reconcile.Result{}, err
	}
	a := Decide(o)
	var errs []error
	if a.CreateAccount != nil {
		_, err := c.client.CoreV1().ServiceAccounts(key.Name).Create(ctx, a.CreateAccount, metav1.CreateOptions{FieldManager: fieldManager})
		errs = append(errs, wrap("ServiceAccount", key.Name, accountName, err))
	}
	if a.CreateRootCA != nil {
		_, err := c.client.CoreV1().ConfigMaps(key.Name).Create(ctx, a.CreateRootCA, metav1.CreateOptions{FieldManager: fieldManager})
		errs = append(errs, wrap("ConfigMap", key.Name, rootCAName, err))
	}
	if a.UpdateRootCA != nil {
		_, err := c.client.CoreV1().ConfigMaps(key.Name).Update(ctx, a.UpdateRootCA, metav1.UpdateOptions{FieldManager: fieldManager})
		errs = append(errs, wrap("ConfigMap", key.Name, rootCAName, err))
	}
	return reconcile.Result{}, errors.Join(errs...)
}

// wrap drops the errors that mean there is nothing left to do: somebody was faster, or the Namespace is going.
func wrap(kind, namespace, name string, err error) error {
	if err == nil || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err) || apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return fmt.Errorf("%s %s/%s: writing it: %w", kind, namespace, name, err)
}

func (c *Controller) observe(namespace string) (Observed, error) {
	o := Observed{CA: c.ca}
	ns, err := c.namespaces.Get(namespace)
	if apierrors.IsNotFound(err) {
		return o, nil
	}
	if err != nil {
		return o, err
	}
	o.Namespace = ns
	if sa, err := c.accounts.ServiceAccounts(namespace).Get(accountName); err == nil {
		o.Account = sa
	} else if !apierrors.IsNotFound(err) {
		return o, err
	}
	if cm, err := c.configMaps.ConfigMaps(namespace).Get(rootCAName); err == nil {
		o.RootCA = cm
	} else if !apierrors.IsNotFound(err) {
		return o, err
	}
	return o, nil
}

package claimprotection

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-claimprotection"

const workers = 2

// Controller lets go of claims that are being deleted.
type Controller struct {
	client kubernetes.Interface
	claims corelisters.PersistentVolumeClaimLister
	pods   corelisters.PodLister
	synced []cache.InformerSynced
	loop   *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory) *Controller {
	claims, pods := f.Core().V1().PersistentVolumeClaims(), f.Core().V1().Pods()
	c := &Controller{client: client, claims: claims.Lister(), pods: pods.Lister()}
	c.loop = reconcile.New("claimprotection", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(claims.Informer(), c.loop.Handler()),
		// A Pod lets go of its claims when it is gone. That another uses one keeps it, and is looked for when it matters.
		reconcile.Listen(pods.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: c.podGone}),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) podGone(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if pod, ok := obj.(*corev1.Pod); ok {
		for _, name := range claimsOf(pod) {
			c.loop.Enqueue(reconcile.Key{Namespace: pod.Namespace, Name: name})
		}
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	claim, err := c.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil || !kept(claim) {
		return reconcile.Result{}, err
	}
	cached, err := c.pods.Pods(key.Namespace).List(labels.Everything())
	if err != nil || User(key.Name, cached) != nil {
		return reconcile.Result{}, err // the end of that Pod brings the next look
	}
	// A Pod that the cache does not show yet may be writing to the volume: what is let go cannot be taken back.
	list, err := c.client.CoreV1().Pods(key.Namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("the PersistentVolumeClaim %s: looking for Pods that use it: %w", key, err)
	}
	live := make([]*corev1.Pod, len(list.Items))
	for i := range list.Items {
		live[i] = &list.Items[i]
	}
	if User(key.Name, live) != nil {
		return reconcile.Result{}, nil
	}
	next := claim.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == finalizer })
	_, err = c.client.CoreV1().PersistentVolumeClaims(key.Namespace).Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("the PersistentVolumeClaim %s: letting it go, since no Pod uses it: %w", key, err)
	}
	return reconcile.Result{}, nil
}

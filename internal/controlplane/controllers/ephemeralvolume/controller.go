package ephemeralvolume

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
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-ephemeralvolume"

const workers = 2

// reasonFailed is the reason of the Event at a Pod whose claim cannot be made.
const reasonFailed = "FailedBinding"

// Controller makes claims for Pods.
type Controller struct {
	client kubernetes.Interface
	events record.EventRecorder
	pods   corelisters.PodLister
	claims corelisters.PersistentVolumeClaimLister
	synced []cache.InformerSynced
	loop   *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	pods, claims := f.Core().V1().Pods(), f.Core().V1().PersistentVolumeClaims()
	c := &Controller{client: client, events: events, pods: pods.Lister(), claims: claims.Lister()}
	c.loop = reconcile.New("ephemeralvolume", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(pods.Informer(), cache.ResourceEventHandlerFuncs{AddFunc: func(obj any) {
			if pod, ok := obj.(*corev1.Pod); ok && usesEphemeral(pod) {
				c.loop.EnqueueObject(pod)
			}
		}}),
		reconcile.Listen(claims.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: c.claimGone}),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// claimGone looks at the Pod that a claim belonged to, and at any other whose claim has that name.
func (c *Controller) claimGone(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return
	}
	if ref := metav1.GetControllerOf(claim); ref != nil && ref.Kind == "Pod" {
		c.loop.Enqueue(reconcile.Key{Namespace: claim.Namespace, Name: ref.Name})
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	missing, taken := Decide(pod, func(name string) *corev1.PersistentVolumeClaim {
		claim, err := c.claims.PersistentVolumeClaims(key.Namespace).Get(name)
		if err != nil {
			return nil
		}
		return claim
	})
	for _, claim := range missing {
		_, err := c.client.CoreV1().PersistentVolumeClaims(key.Namespace).Create(ctx, claim, metav1.CreateOptions{FieldManager: fieldManager})
		switch {
		case apierrors.IsAlreadyExists(err):
			// Made a moment ago, or by somebody else; the next look tells.
			return reconcile.Result{}, fmt.Errorf("the Pod %s: its claim %s is there, though not seen yet: %w", key, claim.Name, err)
		case err != nil:
			c.events.Eventf(pod, corev1.EventTypeWarning, reasonFailed, "ephemeral volume: create PVC %s: %v", claim.Name, err)
			return reconcile.Result{}, fmt.Errorf("the Pod %s: creating its claim %s: %w", key, claim.Name, err)
		}
	}
	if len(taken) > 0 {
		for _, why := range taken {
			c.events.Event(pod, corev1.EventTypeWarning, reasonFailed, why)
		}
		return reconcile.Result{}, fmt.Errorf("the Pod %s: %s", key, taken[0]) // its owner may delete it: then it is tried again
	}
	return reconcile.Result{}, nil
}

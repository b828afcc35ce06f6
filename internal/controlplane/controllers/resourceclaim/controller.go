package resourceclaim

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	resourcelisters "k8s.io/client-go/listers/resource/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-resourceclaim"

const workers = 2

// reasonFailed is the reason of the Event at a Pod whose claim cannot be made.
const reasonFailed = "FailedResourceClaimCreation"

// Controller makes claims for Pods, and frees those that no Pod uses.
type Controller struct {
	client    kubernetes.Interface
	events    record.EventRecorder
	pods      corelisters.PodLister
	claims    resourcelisters.ResourceClaimLister
	templates resourcelisters.ResourceClaimTemplateLister
	synced    []cache.InformerSynced
	forPods   *reconcile.Loop
	forClaims *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	pods, claims, templates := f.Core().V1().Pods(), f.Resource().V1().ResourceClaims(), f.Resource().V1().ResourceClaimTemplates()
	c := &Controller{client: client, events: events, pods: pods.Lister(), claims: claims.Lister(), templates: templates.Lister()}
	c.forPods, c.forClaims = reconcile.New("resourceclaim-pods", c.pod), reconcile.New("resourceclaim", c.claim)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(pods.Informer(), cache.ResourceEventHandlerFuncs{AddFunc: c.podChanged, UpdateFunc: func(_, obj any) { c.podChanged(obj) }, DeleteFunc: c.podChanged}),
		reconcile.Listen(claims.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: c.claimChanged, UpdateFunc: func(_, obj any) { c.claimChanged(obj) }, DeleteFunc: c.claimChanged,
		}),
		reconcile.Listen(templates.Informer(), cache.ResourceEventHandlerFuncs{AddFunc: c.templateCame}),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.forPods.Run(ctx, workers)
	}()
	c.forClaims.Run(ctx, workers)
	<-done
}

func last(obj any) any {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return t.Obj
	}
	return obj
}

// podChanged looks at the Pod, and at its claims once it needs none any more.
func (c *Controller) podChanged(obj any) {
	pod, ok := last(obj).(*corev1.Pod)
	if !ok || len(pod.Spec.ResourceClaims) == 0 {
		return
	}
	c.forPods.EnqueueObject(pod)
	for i := range pod.Spec.ResourceClaims {
		if name := pod.Spec.ResourceClaims[i].ResourceClaimName; name != nil {
			c.forClaims.Enqueue(reconcile.Key{Namespace: pod.Namespace, Name: *name})
		}
	}
	for _, s := range pod.Status.ResourceClaimStatuses {
		if s.ResourceClaimName != nil {
			c.forClaims.Enqueue(reconcile.Key{Namespace: pod.Namespace, Name: *s.ResourceClaimName})
		}
	}
}

// claimChanged looks at the claim, and at the Pod that it was made for.
func (c *Controller) claimChanged(obj any) {
	claim, ok := last(obj).(*resourcev1.ResourceClaim)
	if !ok {
		return
	}
	c.forClaims.EnqueueObject(claim)
	if ref := metav1.GetControllerOf(claim); ref != nil && ref.Kind == "Pod" {
		c.forPods.Enqueue(reconcile.Key{Namespace: claim.Namespace, Name: ref.Name})
	}
}

// templateCame looks at the Pods that may have waited for it.
func (c *Controller) templateCame(obj any) {
	t, ok := obj.(*resourcev1.ResourceClaimTemplate)
	if !ok {
		return
	}
	pods, err := c.pods.Pods(t.Namespace).List(labels.Everything())
	if err != nil {
		return // a lister fails for an invalid selector only
	}
	for _, p := range pods {
		for i := range p.Spec.ResourceClaims {
			if name := p.Spec.ResourceClaims[i].ResourceClaimTemplateName; name != nil && *name == t.Name {
				c.forPods.EnqueueObject(p)
			}
		}
	}
}

func (c *Controller) pod(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	pod, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	template := func(name string) *resourcev1.ResourceClaimTemplate {
		t, err := c.templates.ResourceClaimTemplates(key.Namespace).Get(name)
		if err != nil {
			return nil
		}
		return t
	}
	owned, err := c.owned(pod)
	if err != nil {
		return reconcile.Result{}, err
	}
	w := ForPod(pod, template, owned)
	if len(w.Create) > 0 {
		// The cache may not show yet what was made a moment ago, and names are the API server's choice: what there is is asked for before more is made.
		list, err := c.client.ResourceV1().ResourceClaims(key.Namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("the Pod %s: listing claims: %w", key, err)
		}
		owned = owned[:0]
		for i := range list.Items {
			if metav1.IsControlledBy(&list.Items[i], pod) {
				owned = append(owned, &list.Items[i])
			}
		}
		w = ForPod(pod, template, owned)
	}
	for _, name := range w.Missing {
		c.events.Eventf(pod, corev1.EventTypeWarning, reasonFailed, "ResourceClaimTemplate %q is not there: create it, or correct spec.resourceClaims", name)
	}
	for _, claim := range w.Create {
		made, err := c.client.ResourceV1().ResourceClaims(key.Namespace).Create(ctx, claim, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil {
			c.events.Eventf(pod, corev1.EventTypeWarning, reasonFailed, "claim %q: %v", claim.Annotations[claimAnnotation], err)
			return reconcile.Result{}, fmt.Errorf("the Pod %s: making its claim %q: %w", key, claim.Annotations[claimAnnotation], err)
		}
		owned = append(owned, made)
	}
	if len(w.Create) > 0 {
		w = ForPod(pod, template, owned)
	}
	if w.Status == nil {
		return reconcile.Result{}, nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": map[string]any{"resourceClaimStatuses": w.Status}})
	if err != nil {
		return reconcile.Result{}, err
	}
	_, err = c.client.CoreV1().Pods(key.Namespace).Patch(ctx, key.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return reconcile.Result{}, nil // it is gone, or another by now
	}
	return reconcile.Result{}, err
}

// owned are the claims that a Pod controls.
func (c *Controller) owned(pod *corev1.Pod) ([]*resourcev1.ResourceClaim, error) {
	all, err := c.claims.ResourceClaims(pod.Namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var out []*resourcev1.ResourceClaim
	for _, claim := range all {
		if metav1.IsControlledBy(claim, pod) {
			out = append(out, claim)
		}
	}
	return out, nil
}

func (c *Controller) claim(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	claim, err := c.claims.ResourceClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	var failed error
	ended := func(name, uid string) bool {
		pod, err := c.pods.Pods(key.Namespace).Get(name)
		if err == nil && string(pod.UID) == uid {
			return podstate.Finished(pod)
		}
		// The cache may lag behind whoever reserved the claim for a Pod that has just come.
		pod, err = c.client.CoreV1().Pods(key.Namespace).Get(ctx, name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err):
			return true
		case err != nil:
			failed = err
			return false
		}
		return string(pod.UID) != uid || podstate.Finished(pod)
	}
	change := ForClaim(claim, ended)
	if failed != nil {
		return reconcile.Result{}, fmt.Errorf("ResourceClaim %s: looking for a Pod that uses it: %w", key, failed)
	}
	api := c.client.ResourceV1().ResourceClaims(key.Namespace)
	claim = claim.DeepCopy()
	if change.Status != nil {
		claim.Status = *change.Status
		if claim, err = api.UpdateStatus(ctx, claim, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			return reconcile.Result{}, fmt.Errorf("ResourceClaim %s: giving back what no Pod uses: %w", key, err)
		}
	}
	if change.Finalizers != nil {
		claim.Finalizers = change.Finalizers
		if claim, err = api.Update(ctx, claim, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("ResourceClaim %s: letting it go: %w", key, err)
		}
	}
	if change.Delete && claim != nil {
		err := api.Delete(ctx, claim.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(claim.UID))})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return reconcile.Result{}, fmt.Errorf("ResourceClaim %s: deleting it, as its Pod has ended: %w", key, err)
		}
	}
	return reconcile.Result{}, nil
}

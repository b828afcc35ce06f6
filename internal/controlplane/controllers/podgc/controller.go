package podgc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-podgc"

const workers = 4

// Controller is the controller of abandoned Pods.
type Controller struct {
	client kubernetes.Interface
	keep   int
	pods   corelisters.PodLister
	onNode cache.Indexer
	nodes  corelisters.NodeLister
	synced []cache.InformerSynced
	loop   *reconcile.Loop

	mu       sync.Mutex
	missed   map[string]time.Time // since when a Node that Pods name has not been there
	finished *finished
	surplus  map[types.UID]bool // finished Pods beyond the number that is kept
}

// New makes the controller; keep is how many finished Pods stay.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, keep int) *Controller {
	podInf, nodeInf := f.Core().V1().Pods(), f.Core().V1().Nodes()
	index.AddNode(podInf.Informer())
	c := &Controller{
		client: client, keep: keep,
		pods: podInf.Lister(), onNode: podInf.Informer().GetIndexer(), nodes: nodeInf.Lister(),
		missed: map[string]time.Time{}, finished: newFinished(), surplus: map[types.UID]bool{},
	}
	c.loop = reconcile.New("podgc", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(podInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { c.podSeen(obj.(*corev1.Pod)) },
			UpdateFunc: func(_, obj any) { c.podSeen(obj.(*corev1.Pod)) },
			DeleteFunc: c.podGone,
		}),
		reconcile.Listen(nodeInf.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: func(obj any) {
				c.mu.Lock()
				defer c.mu.Unlock()
				delete(c.missed, obj.(*corev1.Node).Name)
			},
			UpdateFunc: func(_, obj any) {
				if n := obj.(*corev1.Node); outOfService(n) {
					c.wakeNode(n.Name)
				}
			},
			DeleteFunc: func(obj any) {
				if name, err := cache.DeletionHandlingObjectToName(obj); err == nil {
					c.wakeNode(name.Name)
				}
			},
		}),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) wakeNode(name string) {
	for _, p := range index.OnNode(c.onNode, name) {
		c.loop.EnqueueObject(p)
	}
}

// podSeen wakes what may be abandoned; of a healthy Pod on a Node that exists nothing is to be decided.
func (c *Controller) podSeen(p *corev1.Pod) {
	if podstate.Finished(p) {
		c.mu.Lock()
		c.finished.add(p)
		for _, old := range c.finished.excess(c.keep) {
			c.surplus[old.UID] = true
			c.loop.EnqueueObject(old)
		}
		c.mu.Unlock()
	}
	if p.DeletionTimestamp != nil {
		c.loop.EnqueueObject(p)
		return
	}
	if p.Spec.NodeName == "" {
		return
	}
	if _, err := c.nodes.Get(p.Spec.NodeName); err != nil {
		c.loop.EnqueueObject(p)
	}
}

func (c *Controller) podGone(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if p, ok := obj.(*corev1.Pod); ok {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.finished.remove(p.UID)
		delete(c.surplus, p.UID)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	p, err := c.pods.Pods(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	v, err := c.decide(p)
	if err != nil {
		return reconcile.Result{}, err
	}
	if v.Confirm {
		_, err := c.client.CoreV1().Nodes().Get(ctx, p.Spec.NodeName, metav1.GetOptions{})
		if err == nil {
			return reconcile.Result{}, nil // it is back; its event will come
		}
		if !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("making sure that the node of Pod %s, %s, is gone: %w", key, p.Spec.NodeName, err)
		}
	}
	if v.Delete {
		return reconcile.Result{}, c.remove(ctx, p, v.Reason)
	}
	return reconcile.Result{After: v.Recheck}, nil
}

func (c *Controller) decide(p *corev1.Pod) (Verdict, error) {
	o := Observed{Pod: p}
	if p.Spec.NodeName != "" {
		n, err := c.nodes.Get(p.Spec.NodeName)
		if err != nil && !apierrors.IsNotFound(err) {
			return Verdict{}, err
		}
		if err == nil {
			o.Node = n
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.surplus[p.UID] && podstate.Finished(p) {
		return Verdict{Delete: true, Reason: fmt.Sprintf("more than %d finished Pods were kept", c.keep)}, nil
	}
	if o.Node == nil && p.Spec.NodeName != "" {
		since, ok := c.missed[p.Spec.NodeName]
		if !ok {
			since = time.Now()
			c.missed[p.Spec.NodeName] = since
		}
		o.Missing = time.Since(since)
	}
	return Decide(o), nil
}

func (c *Controller) remove(ctx context.Context, p *corev1.Pod, why string) error {
	slog.Info("removing an abandoned Pod", "pod", p.Namespace+"/"+p.Name, "because", why)
	if !podstate.Finished(p) && p.Spec.NodeName != "" {
		// Its containers will not be heard of again; whoever counts on the Pod (a Job) is to see that it failed, not that it vanished.
		patch, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"uid": p.UID},
			"status": map[string]any{
				"phase": corev1.PodFailed,
				"conditions": []corev1.PodCondition{{
					Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
					Reason: "DeletionByPodGC", Message: "deleted because " + why,
				}},
			},
		})
		if err != nil {
			return err
		}
		_, err = c.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return fmt.Errorf("noting that Pod %s/%s is abandoned: %w", p.Namespace, p.Name, err)
		}
	}
	err := c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: ptr.To[int64](0), Preconditions: &metav1.Preconditions{UID: &p.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("removing Pod %s/%s because %s: %w", p.Namespace, p.Name, why, err)
	}
	return nil
}

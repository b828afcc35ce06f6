package nodeipam

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-nodeipam"

// Controller is the controller of Nodes' Pod address blocks. It has one worker: two at once could choose the same block.
type Controller struct {
	client kubernetes.Interface
	events record.EventRecorder
	pools  []Pool // one for each family
	nodes  corelisters.NodeLister
	synced cache.InformerSynced
	loop   *reconcile.Loop

	settled time.Time // until when Nodes may be missing that have blocks in use

	mu      sync.Mutex
	written map[types.UID]*gift // what the cache does not show yet
}

// gift is the blocks of a Node on their way to it.
type gift struct {
	blocks []netip.Prefix
	unsure bool // nobody knows whether the write took effect: it is to be repeated with the same blocks
}

// New makes the controller and registers what it wants to hear from f. Until settled, Nodes may be missing that have blocks in use, and none is given that nobody says to have.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder, pools []Pool, settled time.Time) *Controller {
	inf := f.Core().V1().Nodes()
	c := &Controller{client: client, events: events, pools: pools, settled: settled, nodes: inf.Lister(), written: map[types.UID]*gift{}}
	c.loop = reconcile.New("nodeipam", c.reconcile)
	c.synced = reconcile.Listen(inf.Informer(), cache.ResourceEventHandlerFuncs{
		AddFunc: c.loop.EnqueueObject,
		UpdateFunc: func(_, obj any) {
			if n := obj.(*corev1.Node); n.Spec.PodCIDR == "" || c.remembers(n.UID) {
				c.loop.EnqueueObject(n)
			}
		},
		DeleteFunc: c.released,
	})
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced) {
		c.loop.Run(ctx, 1)
	}
}

func (c *Controller) remembers(uid types.UID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.written[uid]
	return ok
}

// released forgets a Node that is gone and wakes those that found no free block.
func (c *Controller) released(obj any) {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = t.Obj
	}
	if n, ok := obj.(*corev1.Node); ok {
		c.mu.Lock()
		delete(c.written, n.UID)
		c.mu.Unlock()
	}
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		slog.Error("nodeipam: listing nodes from the cache failed", "err", err)
		return
	}
	for _, n := range nodes {
		if n.Spec.PodCIDR == "" {
			c.loop.EnqueueObject(n)
		}
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	n, err := c.nodes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if n.Spec.PodCIDR != "" {
		delete(c.written, n.UID)
		return reconcile.Result{}, nil
	}
	if n.DeletionTimestamp != nil {
		return reconcile.Result{}, nil
	}
	if g := c.written[n.UID]; g != nil {
		if !g.unsure {
			return reconcile.Result{}, nil
		}
		return reconcile.Result{}, c.write(ctx, n, g)
	}
	inUse := InUse(n)
	if wait := time.Until(c.settled); wait > 0 && len(inUse) == 0 {
		return reconcile.Result{After: wait}, nil
	}
	taken, err := c.taken()
	if err != nil {
		return reconcile.Result{}, err
	}
	g := &gift{}
	for _, pool := range c.pools {
		block, ok := pool.Choose(inUse, taken)
		if !ok {
			c.events.Eventf(n, corev1.EventTypeWarning, "CIDRNotAvailable", "No block of /%d is free in the cluster CIDR %s: remove Nodes or start the control plane with a larger one", pool.Bits, pool.Cluster)
			return reconcile.Result{}, nil
		}
		g.blocks = append(g.blocks, block)
	}
	c.written[n.UID] = g
	return reconcile.Result{}, c.write(ctx, n, g)
}

// taken are the blocks of all Nodes, those just written included. c.mu is held.
func (c *Controller) taken() ([]netip.Prefix, error) {
	nodes, err := c.nodes.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, n := range nodes {
		out = append(out, Blocks(n)...)
	}
	for _, g := range c.written {
		out = append(out, g.blocks...)
	}
	return out, nil
}

// write is called with c.mu held, so that a deletion of the Node seen meanwhile is not undone in c.written.
func (c *Controller) write(ctx context.Context, n *corev1.Node, g *gift) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": n.UID},
		"spec":     map[string]any{"podCIDR": g.blocks[0].String(), "podCIDRs": g.blocks},
	})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		g.unsure = false
		return nil
	case apierrors.IsNotFound(err):
		delete(c.written, n.UID)
		return nil
	case ledger.Refused(err):
		delete(c.written, n.UID)
	default:
		g.unsure = true
	}
	return fmt.Errorf("giving Node %s the Pod addresses %s: %w", n.Name, g.blocks, err)
}

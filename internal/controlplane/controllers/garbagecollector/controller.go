package garbagecollector

import (
	"context"
	"fmt"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-garbagecollector"

const (
	workers = 16
	// unknownAgain is when an object is looked at again whose owner's kind is not served. No event says that it is served again.
	unknownAgain = 30 * time.Second
)

// Controller is the garbage collector.
type Controller struct {
	meta      metadata.Interface
	inventory *inventory.Inventory
	graph     *graph
	absent    *absence
	loop      *reconcile.Loop // its keys' names are UIDs
}

// New makes the garbage collector and registers what it wants to hear from inv.
func New(m metadata.Interface, inv *inventory.Inventory) *Controller {
	c := &Controller{meta: m, inventory: inv, graph: newGraph(), absent: newAbsence()}
	c.loop = reconcile.New("garbagecollector", c.reconcile)
	inv.Listen(c.changed)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if c.inventory.Wait(ctx) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) changed(e inventory.Event) {
	if e.New != nil {
		c.look(c.graph.set(nodeOf(e.Resource, e.New)))
	}
	// An update to another UID is a deletion and a creation that the watch has merged.
	if e.Old != nil && (e.New == nil || e.New.GetUID() != e.Old.GetUID()) {
		c.look(c.graph.remove(e.Old.GetUID()))
	}
}

func (c *Controller) look(uids []types.UID) {
	for _, uid := range uids {
		c.loop.Enqueue(reconcile.Key{Name: string(uid)})
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	n, deps := c.graph.get(types.UID(key.Name))
	if n == nil || c.graph.settled(n) {
		return reconcile.Result{}, nil
	}
	live, err := c.client(n).Get(ctx, n.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && live.UID != n.uid {
		return reconcile.Result{}, nil // gone; its event will come
	}
	if err != nil {
		return reconcile.Result{}, fmt.Errorf("%s: reading it: %w", n, err)
	}
	o := Observed{Deleting: live.DeletionTimestamp != nil, Finalizers: live.Finalizers}
	for _, d := range deps {
		o.Dependents = append(o.Dependents, Dependent{UID: d.uid, Waits: d.waits(), Blocks: blocks(d, n.uid)})
	}
	if !o.Deleting {
		for _, ref := range live.OwnerReferences {
			state, err := c.ownerState(ctx, live.Namespace, ref)
			if err != nil {
				return reconcile.Result{}, fmt.Errorf("%s: looking for its owner %s %s: %w", n, ref.Kind, ref.Name, err)
			}
			o.Owners = append(o.Owners, Owner{OwnerReference: ref, State: state})
		}
	}
	var again reconcile.Result
	if slices.ContainsFunc(o.Owners, func(w Owner) bool { return w.State == Unknown }) {
		again.After = unknownAgain
	}
	return again, c.act(ctx, n, live, deps, Decide(o))
}

func blocks(d *node, owner types.UID) bool {
	return slices.ContainsFunc(d.owners, func(r metav1.OwnerReference) bool {
		return r.UID == owner && r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
	})
}

// ownerState finds out about an owner. That it exists is believed from the cache; that it does not is asked of the API server, once.
func (c *Controller) ownerState(ctx context.Context, namespace string, ref metav1.OwnerReference) (OwnerState, error) {
	if o := c.graph.owner(ref.UID); o != nil && o.is(ref, namespace) {
		if o.waits() {
			return Waiting, nil
		}
		return Solid, nil
	}
	if c.absent.has(namespace, ref) {
		return Absent, nil
	}
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return Unknown, nil // the API server lets any string in; it names nothing that could be looked for
	}
	r, ok := c.inventory.ByKind(schema.GroupKind{Group: gv.Group, Kind: ref.Kind})
	if !ok {
		return Unknown, nil
	}
	if !r.Namespaced {
		namespace = ""
	} else if namespace == "" {
		return Unknown, nil // a cluster-scoped object cannot be owned by a namespaced one: which one is meant nobody can tell
	}
	live, err := c.meta.Resource(r.GroupVersionResource).Namespace(namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err), err == nil && live.UID != ref.UID:
		c.absent.add(namespace, ref)
		return Absent, nil
	case err != nil:
		return "", err
	case live.DeletionTimestamp != nil && slices.Contains(live.Finalizers, metav1.FinalizerDeleteDependents):
		return Waiting, nil
	}
	return Solid, nil
}

func (c *Controller) client(n *node) metadata.ResourceInterface {
	r := c.meta.Resource(n.resource.GroupVersionResource)
	if n.namespace == "" {
		return r
	}
	return r.Namespace(n.namespace)
}

// String names the object in messages.
func (n *node) String() string {
	if n.namespace == "" {
		return n.resource.Kind + " " + n.name
	}
	return n.resource.Kind + " " + n.namespace + "/" + n.name
}

package garbagecollector

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/inventory"
)

// graph is who owns whom. Every object is in it, for any may come to be named as an owner.
type graph struct {
	mu    sync.Mutex
	nodes map[types.UID]*node
	deps  map[types.UID]sets.Set[types.UID] // by owner; the owner itself need not be known
}

// node is an object. Its fields are replaced as a whole, never changed.
type node struct {
	resource   *inventory.Resource
	namespace  string
	name       string
	uid        types.UID
	owners     []metav1.OwnerReference
	deleting   bool
	finalizers []string
}

func newGraph() *graph {
	return &graph{nodes: map[types.UID]*node{}, deps: map[types.UID]sets.Set[types.UID]{}}
}

func nodeOf(r *inventory.Resource, o metav1.Object) *node {
	return &node{
		resource: r, namespace: o.GetNamespace(), name: o.GetName(), uid: o.GetUID(), owners: o.GetOwnerReferences(),
		deleting: o.GetDeletionTimestamp() != nil, finalizers: o.GetFinalizers(),
	}
}

// waits says that the object is being deleted in the foreground.
func (n *node) waits() bool {
	return n.deleting && slices.Contains(n.finalizers, metav1.FinalizerDeleteDependents)
}

// settles says that the object is being deleted in a way that involves its dependents.
func (n *node) settles() bool {
	return n.waits() || n.deleting && slices.Contains(n.finalizers, metav1.FinalizerOrphanDependents)
}

// set takes in an object and returns those to look at because of it.
func (g *graph) set(n *node) (look []types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.nodes[n.uid]
	g.nodes[n.uid] = n
	if was != nil {
		for _, ref := range was.owners {
			g.unlink(ref.UID, n.uid)
		}
		// An owner that waited for this object, and that it no longer names, waits for one less.
		look = append(look, g.waiting(was.owners)...)
	}
	missing := false
	for _, ref := range n.owners {
		if g.deps[ref.UID] == nil {
			g.deps[ref.UID] = sets.New[types.UID]()
		}
		g.deps[ref.UID].Insert(n.uid)
		owner := g.nodes[ref.UID]
		missing = missing || owner == nil || owner.waits() || !owner.is(ref, n.namespace)
	}
	if !n.deleting && missing || n.settles() {
		look = append(look, n.uid)
	}
	if n.waits() && (was == nil || !was.waits()) {
		look = append(look, g.deps[n.uid].UnsortedList()...)
	}
	return look
}

// remove takes out an object that is gone and returns those to look at because of it.
func (g *graph) remove(uid types.UID) (look []types.UID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return nil
	}
	delete(g.nodes, uid)
	for _, ref := range n.owners {
		g.unlink(ref.UID, uid)
	}
	return append(g.waiting(n.owners), g.deps[uid].UnsortedList()...)
}

func (g *graph) unlink(owner, dependent types.UID) {
	g.deps[owner].Delete(dependent)
	if g.deps[owner].Len() == 0 {
		delete(g.deps, owner)
	}
}

// waiting are those owners that wait for dependents.
func (g *graph) waiting(owners []metav1.OwnerReference) (out []types.UID) {
	for _, ref := range owners {
		if o := g.nodes[ref.UID]; o != nil && o.settles() {
			out = append(out, o.uid)
		}
	}
	return out
}

// get returns an object with its dependents, or nil.
func (g *graph) get(uid types.UID) (*node, []*node) {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := g.nodes[uid]
	if n == nil {
		return nil, nil
	}
	var deps []*node
	for d := range g.deps[uid] {
		if dep := g.nodes[d]; dep != nil {
			deps = append(deps, dep)
		}
	}
	return n, deps
}

// owner returns an owner as the graph knows it, or nil.
func (g *graph) owner(uid types.UID) *node {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.nodes[uid]
}

// settled says that nothing is to be done about an object as far as the graph shows: it is not being deleted with dependents to settle, and all its owners
// are there and stay. At the start objects are announced before their owners, and only afterwards can this be told.
func (g *graph) settled(n *node) bool {
	if n.settles() {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, ref := range n.owners {
		if o := g.nodes[ref.UID]; o == nil || !o.is(ref, n.namespace) || o.waits() {
			return false
		}
	}
	return true
}

// is says whether the object is the one that a reference from a namespace means, not only by its UID.
func (n *node) is(ref metav1.OwnerReference, namespace string) bool {
	return n.resource.Kind == ref.Kind && n.name == ref.Name && (n.namespace == "" || n.namespace == namespace)
}

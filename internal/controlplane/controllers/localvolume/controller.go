package localvolume

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	snapshotlisters "github.com/kubernetes-csi/external-snapshotter/client/v8/listers/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-localvolume"

const workers = 4

// Controller is the built-in provisioner. It has a loop for each of: claims, volumes, nodes.
type Controller struct {
	client     kubernetes.Interface
	events     record.EventRecorder
	claims     corelisters.PersistentVolumeClaimLister
	volumes    corelisters.PersistentVolumeLister
	nodes      corelisters.NodeLister
	classes    storagelisters.StorageClassLister
	capacities storagelisters.CSIStorageCapacityLister
	snapshots  snapshotlisters.VolumeSnapshotLister
	contents   snapshotlisters.VolumeSnapshotContentLister
	synced     []cache.InformerSynced

	ofClaims, ofVolumes, ofNodes *reconcile.Loop

	settled time.Time // until when nodes have to say which volumes they have, before others are made

	mu    sync.Mutex
	told  map[types.UID]Event
	given map[string]*corev1.PersistentVolume // volumes that were made and that the cache may not show yet: they take room
}

// New makes the controller and registers what it wants to hear from f and, of snapshots, from the factory that another controller starts. Before settled no volume is made.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, snapshots snapshotinformers.SharedInformerFactory, events record.EventRecorder, settled time.Time) *Controller {
	claims, volumes, nodes := f.Core().V1().PersistentVolumeClaims(), f.Core().V1().PersistentVolumes(), f.Core().V1().Nodes()
	classes, capacities := f.Storage().V1().StorageClasses(), f.Storage().V1().CSIStorageCapacities()
	kinds := snapshots.Snapshot().V1()
	c := &Controller{
		settled: settled, snapshots: kinds.VolumeSnapshots().Lister(), contents: kinds.VolumeSnapshotContents().Lister(),
		client: client, events: events, claims: claims.Lister(), volumes: volumes.Lister(), nodes: nodes.Lister(), classes: classes.Lister(), capacities: capacities.Lister(),
		told: map[types.UID]Event{}, given: map[string]*corev1.PersistentVolume{},
	}
	c.ofClaims, c.ofVolumes, c.ofNodes = reconcile.New("localvolume-claims", c.claim), reconcile.New("localvolume-volumes", c.volume), reconcile.New("localvolume-nodes", c.node)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(claims.Informer(), c.ofClaims.HandlerFor(func(obj any) []reconcile.Key {
			claim, ok := obj.(*corev1.PersistentVolumeClaim)
			if !ok {
				return nil
			}
			// Those that wait for it to have a volume, which they are to be clones of.
			keys := c.beginning(claim.Namespace, func(kind, name string) bool { return kind == "PersistentVolumeClaim" && name == claim.Name })
			return append(keys, concerned(claim)...)
		})),
		reconcile.Listen(volumes.Informer(), c.ofVolumes.HandlerFor(func(obj any) []reconcile.Key {
			v, ok := obj.(*corev1.PersistentVolume)
			if !ok || !pv.IsLocal(v) {
				return nil
			}
			c.ofNodes.Enqueue(reconcile.Key{Name: v.Labels[pv.NodeLabel]})
			if from, ok := pv.SourceOf(v); ok && from.Volume != "" {
				c.ofVolumes.Enqueue(reconcile.Key{Name: from.Volume}) // which may have waited for this one to be filled
			}
			if ref := v.Spec.ClaimRef; ref != nil {
				c.ofClaims.Enqueue(reconcile.Key{Namespace: ref.Namespace, Name: ref.Name})
				for _, k := range c.beginning(ref.Namespace, func(kind, name string) bool { return kind == "PersistentVolumeClaim" && name == ref.Name }) {
					c.ofClaims.Enqueue(k)
				}
			}
			return []reconcile.Key{{Name: v.Name}}
		})),
		reconcile.Listen(nodes.Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: c.ofNodes.EnqueueObject,
			UpdateFunc: func(old, obj any) {
				if was, is := old.(*corev1.Node), obj.(*corev1.Node); was.Annotations[pv.AnnRoom] != is.Annotations[pv.AnnRoom] {
					c.ofNodes.EnqueueObject(is)
					c.lookAtClaims() // there may be room now
				}
			},
			DeleteFunc: func(any) { c.lookAtVolumes() },
		}),
		reconcile.Listen(classes.Informer(), c.ofNodes.HandlerFor(func(any) []reconcile.Key {
			all, err := c.nodes.List(labels.Everything())
			if err != nil {
				return nil // a lister fails for an invalid selector only
			}
			keys := []reconcile.Key{theClass}
			for _, n := range all {
				keys = append(keys, reconcile.Key{Name: n.Name})
			}
			return keys
		})),
		reconcile.Listen(capacities.Informer(), cache.ResourceEventHandlerFuncs{}),
	}
	// Not waited for: until they are served there are none.
	reconcile.Listen(kinds.VolumeSnapshots().Informer(), c.ofClaims.HandlerFor(func(obj any) []reconcile.Key {
		s, ok := obj.(*snapshotv1.VolumeSnapshot)
		if !ok {
			return nil
		}
		return c.beginning(s.Namespace, func(kind, name string) bool { return kind == "VolumeSnapshot" && name == s.Name })
	}))
	reconcile.Listen(kinds.VolumeSnapshotContents().Informer(), c.ofClaims.HandlerFor(func(obj any) []reconcile.Key {
		content, ok := obj.(*snapshotv1.VolumeSnapshotContent)
		if !ok {
			return nil
		}
		return c.beginning(content.Spec.VolumeSnapshotRef.Namespace, func(kind, name string) bool {
			return kind == "VolumeSnapshot" && name == content.Spec.VolumeSnapshotRef.Name
		})
	}))
	return c
}

// beginning names the claims without a volume that are to begin with something that matches.
func (c *Controller) beginning(namespace string, match func(kind, name string) bool) (keys []reconcile.Key) {
	all, err := c.claims.PersistentVolumeClaims(namespace).List(labels.Everything())
	if err != nil {
		return nil // a lister fails for an invalid selector only
	}
	for _, claim := range all {
		if ref := claim.Spec.DataSourceRef; ref != nil && claim.Spec.VolumeName == "" && match(ref.Kind, ref.Name) {
			keys = append(keys, reconcile.Key{Namespace: claim.Namespace, Name: claim.Name})
		}
	}
	return keys
}

// theClass is the key of the StorageClass in the nodes' loop; no Node has a namespace.
var theClass = reconcile.Key{Namespace: "class", Name: pv.LocalClass}

// concerned names claims that this provisioner may have to do something for.
func concerned(obj any) []reconcile.Key {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok || claim.Annotations[volume.AnnStorageProvisioner] != pv.Provisioner && claim.Spec.DataSourceRef == nil {
		return nil
	}
	return []reconcile.Key{{Namespace: claim.Namespace, Name: claim.Name}}
}

func (c *Controller) lookAtClaims() {
	if all, err := c.claims.List(labels.Everything()); err == nil {
		for _, claim := range all {
			for _, k := range concerned(claim) {
				c.ofClaims.Enqueue(k)
			}
		}
	}
}

func (c *Controller) lookAtVolumes() {
	if all, err := c.volumes.List(labels.Everything()); err == nil {
		for _, v := range all {
			c.ofVolumes.Enqueue(reconcile.Key{Name: v.Name})
		}
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	c.ofNodes.Enqueue(theClass)
	var wg sync.WaitGroup
	for _, l := range []*reconcile.Loop{c.ofClaims, c.ofVolumes, c.ofNodes} {
		wg.Go(func() { l.Run(ctx, workers) })
	}
	wg.Wait()
}

// found makes nil of an object that does not exist.
func found[T any](obj *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return obj, nil
}

func (c *Controller) claim(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	claim, err := found(c.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name))
	if claim == nil || err != nil {
		return reconcile.Result{}, err
	}
	c.mu.Lock()
	a, err := c.decide(claim)
	if a.Create != nil {
		c.given[a.Create.Name] = a.Create
	}
	c.mu.Unlock()
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := c.act(ctx, claim, a); err != nil {
		return reconcile.Result{}, fmt.Errorf("the PersistentVolumeClaim %s: %w", key, err)
	}
	return reconcile.Result{After: max(0, time.Until(c.settled))}, nil
}

// decide observes what a decision about a claim rests on. c.mu is held, so that no two claims are given the same room.
func (c *Controller) decide(claim *corev1.PersistentVolumeClaim) (ClaimActions, error) {
	o := ObservedClaim{Claim: claim}
	var err error
	name := claim.Spec.VolumeName
	if name == "" {
		name = "pvc-" + string(claim.UID)
	}
	node := claim.Annotations[volume.AnnSelectedNode]
	if o.Volume, err = found(c.volumes.Get(name)); err != nil {
		return ClaimActions{}, err
	}
	if o.Volume != nil {
		node = o.Volume.Labels[pv.NodeLabel]
	}
	if o.Class, err = found(c.classes.Get(volume.GetPersistentVolumeClaimClass(claim))); err != nil {
		return ClaimActions{}, err
	}
	if node != "" {
		if o.Node, err = found(c.nodes.Get(node)); err != nil {
			return ClaimActions{}, err
		}
	}
	o.Origin = originOf(claim, listed{c})
	o.Settling = time.Now().Before(c.settled)
	volumes, err := c.volumes.List(labels.Everything())
	if err != nil {
		return ClaimActions{}, err
	}
	for _, v := range volumes {
		if keptFor(v, claim) {
			o.Kept = v.Name
		}
	}
	if o.Taken, err = c.taken(node); err != nil {
		return ClaimActions{}, err
	}
	return DecideClaim(o), nil
}

// taken sums up the sizes of a node's volumes. c.mu is held.
func (c *Controller) taken(node string) (sum int64, err error) {
	all, err := c.volumes.List(labels.SelectorFromSet(labels.Set{pv.NodeLabel: node}))
	if err != nil {
		return 0, err
	}
	for _, v := range all {
		delete(c.given, v.Name)
		if pv.IsLocal(v) {
			sum += v.Spec.Capacity.Storage().Value()
		}
	}
	for _, v := range c.given {
		if v.Labels[pv.NodeLabel] == node {
			sum += v.Spec.Capacity.Storage().Value()
		}
	}
	return sum, nil
}

// there is what a lister has; nil if it has none.
func there[T any](obj *T, err error) *T {
	if err != nil {
		return nil // listers fail for what they lack only
	}
	return obj
}

// claim, volume, snapshot and content implement known.
func (k listed) claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return there(k.c.claims.PersistentVolumeClaims(namespace).Get(name))
}

func (k listed) volume(name string) *corev1.PersistentVolume { return there(k.c.volumes.Get(name)) }

func (k listed) snapshot(namespace, name string) *snapshotv1.VolumeSnapshot {
	return there(k.c.snapshots.VolumeSnapshots(namespace).Get(name))
}

func (k listed) content(name string) *snapshotv1.VolumeSnapshotContent {
	return there(k.c.contents.Get(name))
}

// listed is what the controller's listers have.
type listed struct{ c *Controller }

func (c *Controller) act(ctx context.Context, claim *corev1.PersistentVolumeClaim, a ClaimActions) error {
	claims, volumes := c.client.CoreV1().PersistentVolumeClaims(claim.Namespace), c.client.CoreV1().PersistentVolumes()
	var err error
	switch {
	case a.Create != nil:
		if _, err = volumes.Create(ctx, a.Create, metav1.CreateOptions{FieldManager: fieldManager}); apierrors.IsAlreadyExists(err) {
			return nil // by an earlier life of this process
		}
		if err != nil {
			c.mu.Lock()
			delete(c.given, a.Create.Name)
			c.mu.Unlock()
			err = fmt.Errorf("creating PersistentVolume %s: %w", a.Create.Name, err)
		}
	case a.Grow != nil:
		if _, err = volumes.Update(ctx, a.Grow, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			err = fmt.Errorf("growing PersistentVolume %s: %w", a.Grow.Name, err)
		}
	case a.Claim != nil:
		if _, err = claims.Update(ctx, a.Claim, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			err = fmt.Errorf("having the scheduler choose again: %w", err)
		}
	case a.Status != nil:
		if _, err = claims.UpdateStatus(ctx, a.Status, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
			err = fmt.Errorf("saying that it grows: %w", err)
		}
	}
	if err != nil {
		return err
	}
	c.tell(claim, a.Event)
	return nil
}

// tell records an Event that was not the last to be recorded at the claim.
func (c *Controller) tell(claim *corev1.PersistentVolumeClaim, e *Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e == nil {
		delete(c.told, claim.UID)
	} else if c.told[claim.UID] != *e {
		c.told[claim.UID] = *e
		c.events.Event(claim, e.Type, e.Reason, e.Message)
	}
}

func (c *Controller) volume(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	v, err := found(c.volumes.Get(key.Name))
	if v == nil || err != nil {
		return reconcile.Result{}, err
	}
	node, err := found(c.nodes.Get(v.Labels[pv.NodeLabel]))
	if err != nil {
		return reconcile.Result{}, err
	}
	all, err := c.volumes.List(labels.SelectorFromSet(labels.Set{pv.NodeLabel: v.Labels[pv.NodeLabel]}))
	if err != nil {
		return reconcile.Result{}, err
	}
	read := slices.ContainsFunc(all, func(w *corev1.PersistentVolume) bool {
		from, ok := pv.SourceOf(w)
		return ok && from.Volume == v.Name && pv.Filling(w)
	})
	volumes := c.client.CoreV1().PersistentVolumes()
	switch a := DecideVolume(v, node, read); {
	case a.Delete:
		// Of that version: its policy may have been changed to Retain a moment ago.
		err := volumes.Delete(ctx, v.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID, ResourceVersion: &v.ResourceVersion}})
		if err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("deleting PersistentVolume %s, which no claim has any more: %w", v.Name, err)
		}
	case a.Abandon:
		if node, err = found(c.client.CoreV1().Nodes().Get(ctx, v.Labels[pv.NodeLabel], metav1.GetOptions{})); err != nil || node != nil {
			return reconcile.Result{}, err
		}
		c.events.Eventf(v, corev1.EventTypeWarning, reasonDataLeft, "node %s does not exist any more: if its disk does, %s is still there", v.Labels[pv.NodeLabel], v.Spec.Local.Path)
		return reconcile.Result{}, c.release(ctx, v)
	case a.Release:
		return reconcile.Result{}, c.release(ctx, v)
	}
	return reconcile.Result{}, nil
}

// release takes the finalizer off a volume.
func (c *Controller) release(ctx context.Context, v *corev1.PersistentVolume) error {
	next := v.DeepCopy()
	next.Finalizers = slices.DeleteFunc(next.Finalizers, func(f string) bool { return f == pv.DataFinalizer })
	if _, err := c.client.CoreV1().PersistentVolumes().Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("letting PersistentVolume %s go: %w", v.Name, err)
	}
	return nil
}

// node tells the scheduler what volumes can be made on a node, and keeps the class.
func (c *Controller) node(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	if key == theClass {
		return reconcile.Result{}, c.keepClass(ctx)
	}
	node, err := found(c.nodes.Get(key.Name))
	if node == nil || err != nil {
		return reconcile.Result{}, err
	}
	classes, err := c.classes.List(labels.Everything())
	if err != nil {
		return reconcile.Result{}, err
	}
	c.mu.Lock()
	taken, err := c.taken(node.Name)
	c.mu.Unlock()
	if err != nil {
		return reconcile.Result{}, err
	}
	var all error
	for _, class := range classes {
		if class.Provisioner == pv.Provisioner {
			all = errors.Join(all, c.publish(ctx, node, class, taken))
		}
	}
	return reconcile.Result{}, all
}

func (c *Controller) publish(ctx context.Context, node *corev1.Node, class *storagev1.StorageClass, taken int64) error {
	have, err := found(c.capacities.CSIStorageCapacities(metav1.NamespaceSystem).Get(capacityName(node.Name, class.Name)))
	if err != nil {
		return err
	}
	next := Capacity(node, class, taken, have)
	if next == nil {
		return nil
	}
	api := c.client.StorageV1().CSIStorageCapacities(next.Namespace)
	if have == nil {
		_, err = api.Create(ctx, next, metav1.CreateOptions{FieldManager: fieldManager})
		if apierrors.IsAlreadyExists(err) {
			return nil // the next change is an update
		}
	} else {
		_, err = api.Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	}
	if err != nil {
		return fmt.Errorf("publishing what volumes node %s has room for: CSIStorageCapacity %s/%s: %w", node.Name, next.Namespace, next.Name, err)
	}
	return nil
}

// keepClass makes the StorageClass unless it is there. It becomes the default one if no other is.
func (c *Controller) keepClass(ctx context.Context) error {
	all, err := c.classes.List(labels.Everything())
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(s *storagev1.StorageClass) bool { return s.Name == pv.LocalClass }) {
		return nil
	}
	_, err = c.client.StorageV1().StorageClasses().Create(ctx, pv.Class(pv.DefaultClass(all) == ""), metav1.CreateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating StorageClass %s: %w", pv.LocalClass, err)
	}
	return nil
}

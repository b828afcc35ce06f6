package volumesnapshot

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	snapshotlisters "github.com/kubernetes-csi/external-snapshotter/client/v8/listers/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-volumesnapshot"

const workers = 2

// Controller binds snapshots to contents. Its loop has keys of both: those without a namespace are contents.
type Controller struct {
	client    kubernetes.Interface
	custom    snapshotclient.Interface
	dynamic   dynamic.Interface
	factory   snapshotinformers.SharedInformerFactory
	events    record.EventRecorder
	claims    corelisters.PersistentVolumeClaimLister
	volumes   corelisters.PersistentVolumeLister
	nodes     corelisters.NodeLister
	snapshots snapshotlisters.VolumeSnapshotLister
	contents  snapshotlisters.VolumeSnapshotContentLister
	classes   snapshotlisters.VolumeSnapshotClassLister
	synced    []cache.InformerSynced
	loop      *reconcile.Loop
}

// New makes the controller and registers what it wants to hear from f and from snapshots, which Run starts once the kinds are served.
func New(client kubernetes.Interface, custom snapshotclient.Interface, dynamic dynamic.Interface, f informers.SharedInformerFactory, snapshots snapshotinformers.SharedInformerFactory, events record.EventRecorder) *Controller {
	claims, volumes, nodes, kinds := f.Core().V1().PersistentVolumeClaims(), f.Core().V1().PersistentVolumes(), f.Core().V1().Nodes(), snapshots.Snapshot().V1()
	c := &Controller{
		client: client, custom: custom, dynamic: dynamic, factory: snapshots, events: events, claims: claims.Lister(), volumes: volumes.Lister(), nodes: nodes.Lister(),
		snapshots: kinds.VolumeSnapshots().Lister(), contents: kinds.VolumeSnapshotContents().Lister(), classes: kinds.VolumeSnapshotClasses().Lister(),
	}
	c.loop = reconcile.New("volumesnapshot", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(kinds.VolumeSnapshots().Informer(), c.loop.Handler()),
		reconcile.Listen(kinds.VolumeSnapshotContents().Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			content, ok := obj.(*snapshotv1.VolumeSnapshotContent)
			if !ok {
				return nil
			}
			ref := content.Spec.VolumeSnapshotRef
			return []reconcile.Key{{Name: content.Name}, {Namespace: ref.Namespace, Name: ref.Name}}
		})),
		reconcile.Listen(kinds.VolumeSnapshotClasses().Informer(), c.loop.HandlerFor(func(any) []reconcile.Key {
			return c.waiting(metav1.NamespaceAll, func(*snapshotv1.VolumeSnapshot) bool { return true })
		})),
		reconcile.Listen(claims.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			claim, ok := obj.(*corev1.PersistentVolumeClaim)
			if !ok {
				return nil
			}
			return c.waiting(claim.Namespace, func(s *snapshotv1.VolumeSnapshot) bool {
				return ptr.Deref(s.Spec.Source.PersistentVolumeClaimName, "") == claim.Name
			})
		})),
		reconcile.Listen(volumes.Informer(), c.loop.HandlerFor(func(obj any) []reconcile.Key {
			v, ok := obj.(*corev1.PersistentVolume)
			if !ok {
				return nil
			}
			if from, ok := pv.SourceOf(v); ok && from.Snapshot != "" { // one that is being deleted may have waited for it
				return c.waiting(metav1.NamespaceAll, func(s *snapshotv1.VolumeSnapshot) bool { return s.DeletionTimestamp != nil })
			}
			return nil
		})),
		reconcile.Listen(nodes.Informer(), cache.ResourceEventHandlerFuncs{DeleteFunc: func(any) {
			if all, err := c.contents.List(labels.Everything()); err == nil {
				for _, content := range all {
					c.loop.Enqueue(reconcile.Key{Name: content.Name})
				}
			}
		}}),
	}
	return c
}

// waiting names the snapshots that are not ready, or that are to go, and match.
func (c *Controller) waiting(namespace string, match func(*snapshotv1.VolumeSnapshot) bool) (keys []reconcile.Key) {
	all, err := c.snapshots.VolumeSnapshots(namespace).List(labels.Everything())
	if err != nil {
		return nil // a lister fails for an invalid selector only
	}
	for _, s := range all {
		if ready := s.Status != nil && ptr.Deref(s.Status.ReadyToUse, false); (!ready || s.DeletionTimestamp != nil) && match(s) {
			keys = append(keys, reconcile.Key{Namespace: s.Namespace, Name: s.Name})
		}
	}
	return keys
}

// Run has the kinds be served and works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := define(ctx, c.dynamic)
		if err == nil {
			err = served(ctx, c.custom)
		}
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			slog.Error("VolumeSnapshots are not served; it is tried again", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	c.factory.Start(ctx.Done())
	defer c.factory.Shutdown()
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// found makes nil of an object that does not exist.
func found[T any](obj *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return obj, err
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	if key.Namespace == "" {
		return reconcile.Result{}, c.content(ctx, key.Name)
	}
	s, err := found(c.snapshots.VolumeSnapshots(key.Namespace).Get(key.Name))
	if s == nil || err != nil {
		return reconcile.Result{}, err
	}
	o, err := c.observe(s)
	if err != nil {
		return reconcile.Result{}, err
	}
	if err := c.act(ctx, s, Decide(o)); err != nil {
		return reconcile.Result{}, fmt.Errorf("the VolumeSnapshot %s: %w", key, err)
	}
	return reconcile.Result{}, nil
}

func (c *Controller) observe(s *snapshotv1.VolumeSnapshot) (Observed, error) {
	o := Observed{Snapshot: s, Now: time.Now()}
	var err error
	if name := s.Spec.VolumeSnapshotClassName; name != nil {
		o.Class, err = found(c.classes.Get(*name))
	} else {
		o.Class, err = c.defaultClass()
	}
	if err != nil {
		return o, err
	}
	if name := s.Spec.Source.PersistentVolumeClaimName; name != nil {
		if o.Claim, err = found(c.claims.PersistentVolumeClaims(s.Namespace).Get(*name)); err != nil {
			return o, err
		}
		if o.Claim != nil && o.Claim.Spec.VolumeName != "" && o.Claim.Status.Phase == corev1.ClaimBound {
			if o.Volume, err = found(c.volumes.Get(o.Claim.Spec.VolumeName)); err != nil {
				return o, err
			}
		}
	}
	if o.Content, err = c.contentOf(s); err != nil || o.Content == nil {
		return o, err
	}
	all, err := c.volumes.List(labels.Everything())
	for _, v := range all {
		if from, ok := pv.SourceOf(v); ok && pv.Filling(v) && from.Snapshot == pv.SnapshotHandle(o.Content) {
			o.Readers = append(o.Readers, v.Name)
		}
	}
	return o, err
}

// contentOf finds the content that a snapshot is bound to, names, or would have; or that a node offers for one of its name.
func (c *Controller) contentOf(s *snapshotv1.VolumeSnapshot) (*snapshotv1.VolumeSnapshotContent, error) {
	name := pv.ContentName(s)
	switch {
	case s.Status != nil && s.Status.BoundVolumeSnapshotContentName != nil:
		name = *s.Status.BoundVolumeSnapshotContentName
	case s.Spec.Source.VolumeSnapshotContentName != nil:
		name = *s.Spec.Source.VolumeSnapshotContentName
	}
	content, err := found(c.contents.Get(name))
	if content != nil || err != nil || s.Spec.Source.VolumeSnapshotContentName != nil {
		return content, err
	}
	all, err := c.contents.List(labels.Everything())
	at := slices.IndexFunc(all, func(o *snapshotv1.VolumeSnapshotContent) bool {
		ref := o.Spec.VolumeSnapshotRef
		return pv.IsLocalSnapshot(o) && o.DeletionTimestamp == nil && ref.UID == "" && ref.Namespace == s.Namespace && ref.Name == s.Name
	})
	if at < 0 || err != nil {
		return nil, err
	}
	return all[at], nil
}

// defaultClass is the built-in driver's: the first by name of those that claim to be it.
func (c *Controller) defaultClass() (*snapshotv1.VolumeSnapshotClass, error) {
	all, err := c.classes.List(labels.Everything())
	var first *snapshotv1.VolumeSnapshotClass
	for _, class := range all {
		if class.Driver == pv.Provisioner && class.Annotations[pv.AnnDefaultSnapshotClass] == "true" && (first == nil || class.Name < first.Name) {
			first = class
		}
	}
	return first, err
}

func (c *Controller) act(ctx context.Context, s *snapshotv1.VolumeSnapshot, a Actions) error {
	api, update := c.custom.SnapshotV1(), metav1.UpdateOptions{FieldManager: fieldManager}
	var err error
	switch {
	case a.Snapshot != nil:
		_, err = api.VolumeSnapshots(s.Namespace).Update(ctx, a.Snapshot, update)
	case a.Create != nil:
		if _, err = api.VolumeSnapshotContents().Create(ctx, a.Create, metav1.CreateOptions{FieldManager: fieldManager}); apierrors.IsAlreadyExists(err) {
			return nil // by an earlier life of this process
		}
	case a.Bind != nil:
		_, err = api.VolumeSnapshotContents().Update(ctx, a.Bind, update)
	case a.Delete != nil:
		err = api.VolumeSnapshotContents().Delete(ctx, a.Delete.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &a.Delete.UID, ResourceVersion: &a.Delete.ResourceVersion}})
	case a.Status != nil:
		_, err = api.VolumeSnapshots(s.Namespace).UpdateStatus(ctx, a.Status, update)
	}
	if err != nil && !apierrors.IsNotFound(err) {
		return err
	}
	if a.Event != nil {
		c.events.Event(pv.Ref("VolumeSnapshot", s), a.Event.Type, a.Event.Reason, a.Event.Message)
	}
	return nil
}

func (c *Controller) content(ctx context.Context, name string) error {
	content, err := found(c.contents.Get(name))
	if content == nil || err != nil {
		return err
	}
	ref := content.Spec.VolumeSnapshotRef
	snapshot, err := found(c.snapshots.VolumeSnapshots(ref.Namespace).Get(ref.Name))
	if err != nil {
		return err
	}
	node, err := found(c.nodes.Get(content.Labels[pv.NodeLabel]))
	if err != nil {
		return err
	}
	a := DecideContent(content, snapshot, node)
	if a.Offer != nil {
		_, err := c.custom.SnapshotV1().VolumeSnapshots(ref.Namespace).Create(ctx, a.Offer, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("offering snapshot %s, which is on node %s, as VolumeSnapshot %s/%s: %w", pv.SnapshotHandle(content), content.Labels[pv.NodeLabel], ref.Namespace, ref.Name, err)
		}
	}
	if a.Abandon {
		if node, err = found(c.client.CoreV1().Nodes().Get(ctx, content.Labels[pv.NodeLabel], metav1.GetOptions{})); err != nil || node != nil {
			return err
		}
		c.events.Eventf(pv.Ref("VolumeSnapshotContent", content), corev1.EventTypeWarning, reasonLeft, "node %s does not exist any more: if its disk does, snapshot %s is still there", content.Labels[pv.NodeLabel], pv.SnapshotHandle(content))
		next := content.DeepCopy()
		next.Finalizers = pv.WithoutData(next.Finalizers)
		if _, err := c.custom.SnapshotV1().VolumeSnapshotContents().Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("letting VolumeSnapshotContent %s go: %w", name, err)
		}
	}
	return nil
}

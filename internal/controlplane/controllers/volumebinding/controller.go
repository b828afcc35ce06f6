package volumebinding

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-volumebinding"

const workers = 4

// Controller binds claims and volumes. Its loop has keys of both: those without a namespace are volumes.
type Controller struct {
	client  kubernetes.Interface
	events  record.EventRecorder
	claims  corelisters.PersistentVolumeClaimLister
	volumes cache.Indexer
	classes storagelisters.StorageClassLister
	synced  []cache.InformerSynced
	loop    *reconcile.Loop

	// What this process wrote and its caches may not show yet.
	writtenClaims  reconcile.Written[*corev1.PersistentVolumeClaim]
	writtenVolumes reconcile.Written[*corev1.PersistentVolume]

	mu     sync.Mutex
	told   map[types.UID]Event  // the last Event of each object: to say the same again helps nobody
	chosen map[string]types.UID // volumes that a claim was decided to get, while that is being written: two claims would choose the same one
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	claims, volumes, classes := f.Core().V1().PersistentVolumeClaims(), f.Core().V1().PersistentVolumes(), f.Storage().V1().StorageClasses()
	index.AddVolumes(volumes.Informer())
	c := &Controller{
		client: client, events: events, claims: claims.Lister(), volumes: volumes.Informer().GetIndexer(), classes: classes.Lister(),
		told: map[types.UID]Event{}, chosen: map[string]types.UID{},
	}
	c.loop = reconcile.New("volumebinding", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(claims.Informer(), c.loop.HandlerFor(c.ofClaim)),
		reconcile.Listen(volumes.Informer(), c.loop.HandlerFor(c.ofVolume)),
		reconcile.Listen(classes.Informer(), c.loop.HandlerFor(c.ofClass)),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

// ofClaim names what an event about a claim concerns: itself, the volume that it names, and those that name it.
func (c *Controller) ofClaim(obj any) []reconcile.Key {
	claim, ok := obj.(*corev1.PersistentVolumeClaim)
	if !ok {
		return nil
	}
	keys := []reconcile.Key{{Namespace: claim.Namespace, Name: claim.Name}}
	if claim.Spec.VolumeName != "" {
		keys = append(keys, reconcile.Key{Name: claim.Spec.VolumeName})
	}
	for _, v := range index.KeptFor(c.volumes, claim.Namespace, claim.Name) {
		keys = append(keys, reconcile.Key{Name: v.Name})
	}
	return keys
}

// ofVolume names what an event about a volume concerns: itself, the claim that it names, or those that could get it.
func (c *Controller) ofVolume(obj any) []reconcile.Key {
	v, ok := obj.(*corev1.PersistentVolume)
	if !ok {
		return nil
	}
	keys := []reconcile.Key{{Name: v.Name}}
	if ref := v.Spec.ClaimRef; ref != nil {
		return append(keys, reconcile.Key{Namespace: ref.Namespace, Name: ref.Name})
	}
	return append(keys, c.waiting(func(claim *corev1.PersistentVolumeClaim) bool {
		return claim.Spec.VolumeName == v.Name || claim.Spec.VolumeName == "" && volume.GetPersistentVolumeClaimClass(claim) == volume.GetPersistentVolumeClass(v)
	})...)
}

func (c *Controller) ofClass(obj any) []reconcile.Key {
	class, ok := obj.(*storagev1.StorageClass)
	if !ok {
		return nil
	}
	return c.waiting(func(claim *corev1.PersistentVolumeClaim) bool {
		return claim.Spec.VolumeName == "" && (claim.Spec.StorageClassName == nil || *claim.Spec.StorageClassName == class.Name)
	})
}

// waiting names the claims without a volume that match.
func (c *Controller) waiting(match func(*corev1.PersistentVolumeClaim) bool) (keys []reconcile.Key) {
	all, err := c.claims.List(labels.Everything())
	if err != nil {
		return nil // a lister fails for an invalid selector only
	}
	for _, claim := range all {
		if !metav1.HasAnnotation(claim.ObjectMeta, volume.AnnBindCompleted) && match(claim) {
			keys = append(keys, reconcile.Key{Namespace: claim.Namespace, Name: claim.Name})
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	if key.Namespace == "" {
		return reconcile.Result{}, c.lookAtVolume(ctx, key)
	}
	return reconcile.Result{}, c.lookAtClaim(ctx, key)
}

func (c *Controller) lookAtClaim(ctx context.Context, key reconcile.Key) error {
	claim, err := c.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) {
		c.writtenClaims.Forget(key)
		return nil
	}
	if err != nil {
		return err
	}
	o := ObservedClaim{Claim: c.writtenClaims.Later(claim)}
	if name := o.Claim.Spec.VolumeName; name != "" {
		o.Named = c.named(name)
	} else if o.Class, o.Default, err = c.class(o.Claim); err != nil {
		return err
	}
	a := c.choose(&o)
	if a.Volume != nil {
		defer c.release(a.Volume.Name)
	}
	if a.Confirm {
		if o.Named, err = found(c.client.CoreV1().PersistentVolumes().Get(ctx, o.Claim.Spec.VolumeName, metav1.GetOptions{})); err != nil {
			return fmt.Errorf("the PersistentVolumeClaim %s: reading its volume: %w", key, err)
		}
		o.Live = true
		a = DecideClaim(o)
	}
	c.tell(o.Claim, a.Events)
	if err := c.write(ctx, a, o.Claim, c.observed(o, a.Volume)); err != nil {
		return fmt.Errorf("the PersistentVolumeClaim %s: %w", key, err)
	}
	return nil
}

// choose decides about a claim, among the volumes that no other claim is being given at this moment.
func (c *Controller) choose(o *ObservedClaim) Actions {
	c.mu.Lock()
	defer c.mu.Unlock()
	if claim := o.Claim; claim.Spec.VolumeName == "" {
		for _, v := range append(index.KeptFor(c.volumes, claim.Namespace, claim.Name), index.FreeVolumes(c.volumes, volume.GetPersistentVolumeClaimClass(claim))...) {
			if uid, ok := c.chosen[v.Name]; !ok || uid == claim.UID {
				o.Volumes = append(o.Volumes, c.writtenVolumes.Later(v))
			}
		}
	}
	a := DecideClaim(*o)
	if a.Volume != nil {
		c.chosen[a.Volume.Name] = o.Claim.UID
	}
	return a
}

func (c *Controller) release(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.chosen, name)
}

// observed is the volume that a decision about a claim changes, as it was.
func (c *Controller) observed(o ObservedClaim, next *corev1.PersistentVolume) *corev1.PersistentVolume {
	if next == nil || o.Named != nil {
		return o.Named
	}
	for _, v := range o.Volumes {
		if v.Name == next.Name {
			return v
		}
	}
	return nil
}

func (c *Controller) lookAtVolume(ctx context.Context, key reconcile.Key) error {
	v := c.named(key.Name)
	if v == nil {
		c.writtenVolumes.Forget(key)
		return nil
	}
	o := ObservedVolume{Volume: v}
	ref := v.Spec.ClaimRef
	if ref != nil {
		claim, err := found(c.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name))
		if err != nil {
			return err
		}
		if claim != nil {
			o.Claim = c.writtenClaims.Later(claim)
		}
	}
	a := DecideVolume(o)
	if a.Confirm {
		var err error
		if o.Claim, err = found(c.client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})); err != nil {
			return fmt.Errorf("the PersistentVolume %s: reading its claim: %w", key.Name, err)
		}
		o.Live = true
		a = DecideVolume(o)
	}
	c.tell(v, a.Events)
	if a.LookAtClaim {
		c.loop.Enqueue(reconcile.Key{Namespace: ref.Namespace, Name: ref.Name})
	}
	if err := c.write(ctx, a, nil, v); err != nil {
		return fmt.Errorf("the PersistentVolume %s: %w", key.Name, err)
	}
	return nil
}

// named is what is known of a volume; nil when there is none.
func (c *Controller) named(name string) *corev1.PersistentVolume {
	obj, ok, err := c.volumes.GetByKey(name)
	if err != nil || !ok {
		return nil
	}
	return c.writtenVolumes.Later(obj.(*corev1.PersistentVolume))
}

// class gives a claim's class, and the name of the one that it gets if it names none.
func (c *Controller) class(claim *corev1.PersistentVolumeClaim) (*storagev1.StorageClass, string, error) {
	if name := volume.GetPersistentVolumeClaimClass(claim); name != "" {
		class, err := found(c.classes.Get(name))
		return class, "", err
	}
	all, err := c.classes.List(labels.Everything())
	if err != nil {
		return nil, "", err
	}
	return nil, pv.DefaultClass(all), nil
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

// tell records Events that were not the last to be recorded at the object.
func (c *Controller) tell(about runtime.Object, events []Event) {
	uid := about.(metav1.Object).GetUID()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(events) == 0 {
		delete(c.told, uid)
	}
	for _, e := range events {
		if c.told[uid] != e {
			c.told[uid] = e
			c.events.Event(about, e.Type, e.Reason, e.Message)
		}
	}
}

// write carries a decision out: the volume first, so that no claim names one that another may get.
func (c *Controller) write(ctx context.Context, a Actions, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	options := metav1.UpdateOptions{FieldManager: fieldManager}
	if next := a.Volume; next != nil {
		volumes := c.client.CoreV1().PersistentVolumes()
		status := next.Status
		if !equality.Semantic.DeepEqual(next.ObjectMeta, v.ObjectMeta) || !equality.Semantic.DeepEqual(next.Spec, v.Spec) {
			got, err := volumes.Update(ctx, next, options)
			if apierrors.IsNotFound(err) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("writing PersistentVolume %s: %w", v.Name, err)
			}
			c.writtenVolumes.Note(got)
			next = got.DeepCopy()
		}
		if last := next.DeletionTimestamp != nil && len(next.Finalizers) == 0; !last && !samePhase(status, v.Status) {
			next.Status = status
			got, err := volumes.UpdateStatus(ctx, next, options)
			if err != nil {
				return fmt.Errorf("writing the status of PersistentVolume %s: %w", v.Name, err)
			}
			c.writtenVolumes.Note(got)
		}
	}
	if next := a.Claim; next != nil {
		claims := c.client.CoreV1().PersistentVolumeClaims(claim.Namespace)
		status := next.Status
		if !equality.Semantic.DeepEqual(next.ObjectMeta, claim.ObjectMeta) || !equality.Semantic.DeepEqual(next.Spec, claim.Spec) {
			got, err := claims.Update(ctx, next, options)
			if err != nil {
				return fmt.Errorf("binding it: %w", err)
			}
			c.writtenClaims.Note(got)
			next = got.DeepCopy()
		}
		if !equality.Semantic.DeepEqual(status, claim.Status) {
			next.Status = status
			got, err := claims.UpdateStatus(ctx, next, options)
			if err != nil {
				return fmt.Errorf("writing its status: %w", err)
			}
			c.writtenClaims.Note(got)
		}
	}
	return nil
}

func samePhase(a, b corev1.PersistentVolumeStatus) bool {
	return a.Phase == b.Phase && a.Message == b.Message && a.Reason == b.Reason
}

package snapshotschedule

import (
	"context"
	"fmt"
	"sync"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	snapshotlisters "github.com/kubernetes-csi/external-snapshotter/client/v8/listers/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-snapshotschedule"

const workers = 1

// Controller takes snapshots by schedule.
type Controller struct {
	client    snapshotclient.Interface
	events    record.EventRecorder
	clock     clock.PassiveClock
	claims    corelisters.PersistentVolumeClaimLister
	snapshots snapshotlisters.VolumeSnapshotLister
	synced    []cache.InformerSynced
	loop      *reconcile.Loop

	mu   sync.Mutex
	told map[types.UID]Event // the last complaint at each claim
}

// New makes the controller and registers what it wants to hear from f and, of snapshots, from the factory that another controller starts.
func New(client snapshotclient.Interface, f informers.SharedInformerFactory, snapshots snapshotinformers.SharedInformerFactory, events record.EventRecorder, c clock.PassiveClock) *Controller {
	claims, kinds := f.Core().V1().PersistentVolumeClaims(), snapshots.Snapshot().V1().VolumeSnapshots()
	s := &Controller{client: client, events: events, clock: c, claims: claims.Lister(), snapshots: kinds.Lister(), told: map[types.UID]Event{}}
	s.loop = reconcile.New("snapshotschedule", s.reconcile)
	s.synced = []cache.InformerSynced{
		reconcile.Listen(claims.Informer(), s.loop.HandlerFor(func(obj any) []reconcile.Key {
			claim, ok := obj.(*corev1.PersistentVolumeClaim)
			if !ok || claim.Annotations[Schedule] == "" {
				return nil
			}
			return []reconcile.Key{{Namespace: claim.Namespace, Name: claim.Name}}
		})),
		reconcile.Listen(kinds.Informer(), s.loop.HandlerFor(func(obj any) []reconcile.Key {
			of, ok := obj.(*snapshotv1.VolumeSnapshot)
			if !ok || of.Labels[Label] == "" {
				return nil
			}
			return []reconcile.Key{{Namespace: of.Namespace, Name: ptr.Deref(of.Spec.Source.PersistentVolumeClaimName, "")}}
		})),
	}
	return s
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		c.loop.Run(ctx, workers)
	}
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	claim, err := c.claims.PersistentVolumeClaims(key.Namespace).Get(key.Name)
	if apierrors.IsNotFound(err) || err == nil && claim.Annotations[Schedule] == "" {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	all, err := c.snapshots.VolumeSnapshots(key.Namespace).List(labels.SelectorFromSet(labels.Set{Label: "true"}))
	if err != nil {
		return reconcile.Result{}, err
	}
	o := Observed{Claim: claim, Now: c.clock.Now()}
	for _, s := range all {
		if ptr.Deref(s.Spec.Source.PersistentVolumeClaimName, "") == claim.Name {
			o.Snapshots = append(o.Snapshots, s)
		}
	}
	a := Decide(o)
	api := c.client.SnapshotV1().VolumeSnapshots(key.Namespace)
	if a.Take != nil {
		// It exists already when the cache does not show yet what was made a moment ago.
		if _, err := api.Create(ctx, a.Take, metav1.CreateOptions{FieldManager: fieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
			return reconcile.Result{}, fmt.Errorf("taking VolumeSnapshot %s of PersistentVolumeClaim %s: %w", a.Take.Name, key, err)
		}
	}
	c.tell(claim, a)
	for _, s := range a.Remove {
		if err := api.Delete(ctx, s.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &s.UID}}); err != nil && !apierrors.IsNotFound(err) {
			return reconcile.Result{}, fmt.Errorf("removing VolumeSnapshot %s of PersistentVolumeClaim %s: %w", s.Name, key, err)
		}
	}
	return reconcile.Result{After: a.Next}, nil
}

// tell records an Event. The same complaint is made once.
func (c *Controller) tell(claim *corev1.PersistentVolumeClaim, a Actions) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a.Event == nil || a.Take != nil {
		delete(c.told, claim.UID)
	}
	if a.Event == nil || c.told[claim.UID] == *a.Event {
		return
	}
	if a.Take == nil {
		c.told[claim.UID] = *a.Event
	}
	c.events.Event(claim, a.Event.Type, a.Event.Reason, a.Event.Message)
}

package disks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/logging"
	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// copies is how many volumes are copied at a time: each has the disk to itself anyway.
const copies = 2

// listen makes what followSnapshots needs.
func (d *Disks) listen() {
	d.snapshotFactory = snapshotinformers.NewSharedInformerFactoryWithOptions(d.Snapshots, 0, snapshotinformers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = labels.SelectorFromSet(labels.Set{pv.NodeLabel: d.Node}).String()
	}))
	inf := d.snapshotFactory.Snapshot().V1().VolumeSnapshotContents()
	d.contents = inf.Lister()
	d.ofSnapshots = reconcile.New("snapshots", d.snapshot)
	d.snapshotsSynced = reconcile.Listen(inf.Informer(), d.ofSnapshots.Handler())
}

// followSnapshots follows the snapshots on this node's disk until ctx ends.
func (d *Disks) followSnapshots(ctx context.Context) {
	// Nobody waits for it to end: its requests know nothing of ctx, and one that waits for the API server to be back would keep the daemon from ending until then.
	d.snapshotFactory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), d.snapshotsSynced, d.synced) {
		return
	}
	failures := map[string]*logging.News{}
	if d.retry(ctx, func() bool { return d.offer(ctx, failures) }) {
		d.ofSnapshots.Run(ctx, copies)
	}
}

// offer tells the cluster of snapshots on the disk that it does not know. It says whether all that could be told were.
func (d *Disks) offer(ctx context.Context, failures map[string]*logging.News) bool {
	all, err := d.Snapshots.SnapshotV1().VolumeSnapshotContents().List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{pv.NodeLabel: d.Node}).String()})
	if err != nil {
		if failureOf(failures, "").New(err) && ctx.Err() == nil {
			slog.Warn("asking the cluster which of this disk's snapshots it knows failed; it is tried again until it succeeds", "err", err)
		}
		return false
	}
	known := map[string]bool{}
	for i := range all.Items {
		known[all.Items[i].Name] = true
	}
	found, err := d.Store.Snapshots()
	if err != nil {
		slog.Error("a snapshot's directory is not understood; it is left alone", "err", err)
	}
	ok := true
	for _, c := range found {
		if known[c.Name] || c.Labels[pv.NodeLabel] != d.Node {
			continue
		}
		switch _, err := d.Snapshots.SnapshotV1().VolumeSnapshotContents().Create(ctx, pv.Offered(c), metav1.CreateOptions{}); {
		case apierrors.IsAlreadyExists(err):
		case err != nil:
			if failureOf(failures, c.Name).New(err) {
				slog.Warn("telling the cluster of a snapshot on this disk failed; it is tried again", "snapshot", pv.SnapshotHandle(c), "err", err)
			}
			ok = false
		default:
			slog.Info("the cluster did not know a snapshot on this disk; it is offered as the VolumeSnapshot that it was taken for", "snapshot", pv.SnapshotHandle(c))
		}
	}
	return ok
}

// snapshot takes or removes one.
func (d *Disks) snapshot(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	c, err := d.contents.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil || !pv.IsLocalSnapshot(c) {
		return reconcile.Result{}, err
	}
	switch decideSnapshot(c) {
	case remove:
		err = d.Store.RemoveSnapshot(pv.SnapshotHandle(c))
	case forget:
		err = d.Store.ForgetSnapshot(pv.SnapshotHandle(c))
	case take:
		return reconcile.Result{}, d.take(ctx, c)
	default:
		return reconcile.Result{}, nil
	}
	if err != nil {
		d.complainOf(c.Name, pv.Ref("VolumeSnapshotContent", c), reasonNotGone, err)
		return reconcile.Result{}, err
	}
	d.Registered() // there is more room now
	return reconcile.Result{}, d.patchContent(ctx, c, map[string]any{"metadata": map[string]any{"uid": c.UID, "resourceVersion": c.ResourceVersion, "finalizers": pv.WithoutData(c.Finalizers)}})
}

// take has a snapshot be there and its content say so.
func (d *Disks) take(ctx context.Context, c *snapshotv1.VolumeSnapshotContent) error {
	got, err := d.taken(ctx, c)
	if err == nil {
		d.Registered() // there is less room now
		return d.patchContent(ctx, c, map[string]any{"metadata": map[string]any{"uid": c.UID}, "status": got.Status}, "status")
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if was := c.Status; was == nil || was.Error == nil || ptr.Deref(was.Error.Message, "") != err.Error() {
		status := snapshotv1.VolumeSnapshotContentStatus{ReadyToUse: ptr.To(false), Error: &snapshotv1.VolumeSnapshotError{Time: ptr.To(metav1.Now()), Message: ptr.To(err.Error())}}
		if err := d.patchContent(ctx, c, map[string]any{"metadata": map[string]any{"uid": c.UID}, "status": status}, "status"); err != nil {
			return err
		}
	}
	return err
}

func (d *Disks) taken(ctx context.Context, c *snapshotv1.VolumeSnapshotContent) (*snapshotv1.VolumeSnapshotContent, error) {
	if c.Spec.Source.SnapshotHandle != nil {
		return d.Store.Snapshot(*c.Spec.Source.SnapshotHandle)
	}
	name := ptr.Deref(c.Spec.Source.VolumeHandle, "")
	v, err := d.volumes.Get(name)
	if err != nil {
		return nil, fmt.Errorf("its volume, PersistentVolume %s, is not on the disk of node %s: %w", name, d.Node, err)
	}
	if err := d.hasRoomFor(d.Store.Used(v)); err != nil {
		return nil, fmt.Errorf("taking a snapshot of PersistentVolume %s: %w", name, err)
	}
	return d.Store.TakeSnapshot(ctx, v, c, d.inUse(v))
}

// hasRoomFor refuses to take from the disk what volumes were promised. Also a snapshot that takes no room at first does when its volume is written to.
func (d *Disks) hasRoomFor(bytes int64) error {
	room, err := d.Store.Room()
	if err != nil {
		return err
	}
	all, err := d.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	left := room.Bytes
	for _, v := range all {
		left -= v.Spec.Capacity.Storage().Value()
	}
	if bytes > left {
		return fmt.Errorf("the disk of node %s has %s that are not promised to volumes, the snapshot may take %s: delete snapshots or claims, or make room on the disk",
			d.Node, resource.NewQuantity(max(0, left), resource.BinarySI), resource.NewQuantity(bytes, resource.BinarySI))
	}
	return nil
}

// inUse says whether a Pod on this node may be writing to a volume.
func (d *Disks) inUse(v *corev1.PersistentVolume) bool {
	ref := v.Spec.ClaimRef
	return ref != nil && d.Path(ref.Namespace, ref.Name) != ""
}

// fill makes a volume that begins with other data, and says when it has.
func (d *Disks) fill(ctx context.Context, v *corev1.PersistentVolume) error {
	ref := v.Spec.ClaimRef
	if ref == nil {
		return nil
	}
	claim := &corev1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: ref.Namespace, Name: ref.Name, UID: ref.UID}
	from, ok := pv.SourceOf(v)
	var source *corev1.PersistentVolume
	err := error(nil)
	if ok && from.Volume != "" {
		if source, err = d.volumes.Get(from.Volume); err != nil {
			err = fmt.Errorf("PersistentVolume %s: filling it from %s: %w", v.Name, from, err)
		}
	}
	if err == nil {
		err = d.Store.Fill(ctx, v, source, source != nil && d.inUse(source))
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			d.complainOf(v.Name, claim, reasonNotFilled, err)
		}
		return err
	}
	if err := d.annotate(ctx, v, pv.AnnMade, time.Now().UTC().Format(time.RFC3339)); err != nil {
		return fmt.Errorf("noting that PersistentVolume %s has been made: %w", v.Name, err)
	}
	d.Events.Eventf(claim, corev1.EventTypeNormal, reasonFilled, "volume %s has the data of %s", v.Name, from)
	return nil
}

// patchContent writes to a content, or a part of it. Null values of a status are taken away.
func (d *Disks) patchContent(ctx context.Context, c *snapshotv1.VolumeSnapshotContent, change map[string]any, part ...string) error {
	if status, ok := change["status"]; ok {
		b, err := json.Marshal(status)
		if err != nil {
			return err
		}
		whole := map[string]any{"error": nil}
		if err := json.Unmarshal(b, &whole); err != nil {
			return err
		}
		change["status"] = whole
	}
	body, err := json.Marshal(change)
	if err != nil {
		return err
	}
	_, err = d.Snapshots.SnapshotV1().VolumeSnapshotContents().Patch(ctx, c.Name, types.MergePatchType, body, metav1.PatchOptions{}, part...)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing VolumeSnapshotContent %s: %w", c.Name, err)
	}
	return nil
}

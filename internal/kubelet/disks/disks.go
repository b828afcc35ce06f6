package disks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	snapshotinformers "github.com/kubernetes-csi/external-snapshotter/client/v8/informers/externalversions"
	snapshotlisters "github.com/kubernetes-csi/external-snapshotter/client/v8/listers/volumesnapshot/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/logging"
	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/pv/disk"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// Reasons of Events.
const (
	reasonGrown     = "FileSystemResizeSuccessful"
	reasonNotGrown  = "FileSystemResizeFailed"
	reasonUnbound   = "VolumeSizeNotEnforced"
	reasonSlower    = "ProjectQuotaMissing"
	reasonFull      = "VolumeFull"
	reasonNotGone   = "VolumeFailedDelete"
	reasonReadopted = "VolumeReadopted"
	reasonFilled    = "ProvisioningSucceeded"
	reasonNotFilled = "ProvisioningFailed"
)

// workers is how many volumes are made, grown and removed at a time, while others are copied.
const workers = copies + 2

// lookEvery is how often the node looks at how full its disk and its volumes are.
const lookEvery = 30 * time.Second

// Disks are the volumes of one node.
type Disks struct {
	Client    kubernetes.Interface
	Snapshots snapshotclient.Interface
	Node      string
	Store     *disk.Store
	Events    record.EventRecorder
	// Stored is the Node as the API has it, nil while that is not known; Pods are those of the node.
	Stored func() *corev1.Node
	Pods   func() []*corev1.Pod

	factory informers.SharedInformerFactory
	volumes corelisters.PersistentVolumeLister
	synced  cache.InformerSynced
	loop    *reconcile.Loop

	snapshotFactory snapshotinformers.SharedInformerFactory
	contents        snapshotlisters.VolumeSnapshotContentLister
	snapshotsSynced cache.InformerSynced
	ofSnapshots     *reconcile.Loop

	registered chan struct{}

	mu      sync.Mutex
	paths   map[string]string    // of claims whose volumes Pods use, by namespace/name
	holders map[string]types.UID // the Pod that was set up last with a claim
	full    map[string]bool      // claims that were told to be full
	told    map[string]string    // the last failure of each volume
	said    pv.Room
	to      types.UID // the Node that was told
}

// Start makes what Run and Open need. Writes to volumes go on that a daemon which was killed had wait.
func (d *Disks) Start() {
	if err := d.Store.Thaw(); err != nil {
		slog.Error("a volume that was being copied when the node daemon was killed cannot be written to", "err", err)
	}
	d.registered = make(chan struct{}, 1)
	d.paths, d.holders, d.full, d.told = map[string]string{}, map[string]types.UID{}, map[string]bool{}, map[string]string{}
	d.factory = informers.NewSharedInformerFactoryWithOptions(d.Client, 0, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = labels.SelectorFromSet(labels.Set{pv.NodeLabel: d.Node}).String()
	}), informers.WithTransform(func(obj any) (any, error) {
		if v, ok := obj.(*corev1.PersistentVolume); ok {
			v.ManagedFields = nil
		}
		return obj, nil
	}))
	inf := d.factory.Core().V1().PersistentVolumes()
	d.volumes = inf.Lister()
	d.loop = reconcile.New("disks", d.reconcile)
	d.synced = reconcile.Listen(inf.Informer(), d.loop.Handler())
	d.listen()
}

// Run follows the node's volumes until ctx ends.
func (d *Disks) Run(ctx context.Context) {
	d.factory.Start(ctx.Done())
	defer d.factory.Shutdown()
	if !cache.WaitForCacheSync(ctx.Done(), d.synced) {
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { d.loop.Run(ctx, workers) })
	wg.Go(func() { d.followSnapshots(ctx) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	var failure logging.News
	failures := map[string]*logging.News{}
	for first := true; ; first = false {
		if lost := d.unknown(); first || lost {
			if !d.retry(ctx, func() bool { return d.bringBack(ctx, failures) }) {
				return
			}
			if lost && !first {
				wg.Go(func() { d.retry(ctx, func() bool { return d.offer(ctx, map[string]*logging.News{}) }) })
			}
		}
		if err := d.sayRoom(ctx); failure.New(err) && ctx.Err() == nil {
			slog.Warn("saying what volumes this node has room for failed; it is tried again until it succeeds", "err", err)
		}
		d.lookWhetherFull()
		select {
		case <-ctx.Done():
			return
		case <-d.registered:
		case <-tick.C:
		}
	}
}

// retry calls f until it has succeeded; false if ctx ended first.
func (d *Disks) retry(ctx context.Context, f func() bool) bool {
	for pause := time.Second; !f(); pause = min(2*pause, time.Minute) {
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause):
		}
	}
	return true
}

// unknown says that the cluster may not know what is on this disk: its Node says nothing of it, as in a cluster that has lost its state, or was restored to an earlier one. What
// is on the disk is offered before room is, so that nothing is made beside it.
func (d *Disks) unknown() bool {
	node := d.Stored()
	if node == nil {
		return false
	}
	_, said := pv.RoomOf(node)
	return !said
}

// bringBack tells the cluster of volumes on the disk that it does not know. It says whether all that could be told were; failures are the volumes' so far.
func (d *Disks) bringBack(ctx context.Context, failures map[string]*logging.News) bool {
	// Of the API itself, as what is followed may be of before the loss; and before the disk is looked at: of a volume that was deleted the data goes first.
	all, err := d.Client.CoreV1().PersistentVolumes().List(ctx, metav1.ListOptions{LabelSelector: labels.SelectorFromSet(labels.Set{pv.NodeLabel: d.Node}).String()})
	if err != nil {
		if failureOf(failures, "").New(err) && ctx.Err() == nil {
			slog.Warn("asking the cluster which of this disk's volumes it knows failed; it is tried again until it succeeds", "err", err)
		}
		return false
	}
	known := map[string]bool{}
	for i := range all.Items {
		known[all.Items[i].Name] = true
	}
	found, err := d.Store.List()
	if err != nil {
		slog.Error("a volume's directory is not understood; it is left alone", "err", err)
	}
	ok := true
	for _, v := range found {
		if known[v.Name] || v.Labels[pv.NodeLabel] != d.Node {
			continue
		}
		made, err := d.Client.CoreV1().PersistentVolumes().Create(ctx, pv.Readopted(v), metav1.CreateOptions{})
		switch {
		case apierrors.IsAlreadyExists(err):
		case err != nil:
			if failureOf(failures, v.Name).New(err) && ctx.Err() == nil {
				slog.Warn("telling the cluster of a volume on this disk failed; it is tried again until it succeeds", "volume", v.Name, "err", err)
			}
			ok = false
		default:
			slog.Info("the cluster did not know a volume on this disk; a claim of the name it was made for gets it", "volume", v.Name, "path", v.Spec.Local.Path)
			d.Events.Eventf(made, corev1.EventTypeNormal, reasonReadopted, "found on node %s at %s; it is kept for a claim %s/%s", d.Node, v.Spec.Local.Path, made.Spec.ClaimRef.Namespace, made.Spec.ClaimRef.Name)
		}
	}
	return ok
}

// failureOf is what was told last of a volume or snapshot.
func failureOf(failures map[string]*logging.News, name string) *logging.News {
	if failures[name] == nil {
		failures[name] = &logging.News{}
	}
	return failures[name]
}

// sayRoom has the Node say what volumes it has room for.
func (d *Disks) sayRoom(ctx context.Context) error {
	node := d.Stored()
	if node == nil {
		return nil // it is not registered yet
	}
	room, err := d.Store.Room()
	if err != nil {
		return err
	}
	if _, known := pv.RoomOf(node); known && d.to == node.UID && !changedMuch(d.said, room) {
		return nil
	}
	text, err := json.Marshal(room)
	if err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{pv.AnnRoom: string(text)}}})
	if err != nil {
		return err
	}
	if _, err := d.Client.CoreV1().Nodes().Patch(ctx, d.Node, types.MergePatchType, body, metav1.PatchOptions{}); err != nil {
		return err
	}
	d.said, d.to = room, node.UID
	return nil
}

// Registered has the room said at once, now that there is a Node.
func (d *Disks) Registered() {
	select {
	case d.registered <- struct{}{}:
	default:
	}
}

func (d *Disks) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	v, err := d.volumes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	var done string
	switch decide(v) {
	case remove:
		err = d.Store.Remove(v)
		done = "removed"
	case forget:
		err = d.Store.Forget(v)
		done = "kept"
	case begin:
		return reconcile.Result{}, d.fill(ctx, v)
	case keep:
		return reconcile.Result{}, d.grow(ctx, v)
	}
	if err != nil {
		d.complain(v, v, reasonNotGone, err)
		return reconcile.Result{}, err
	}
	return reconcile.Result{}, d.annotate(ctx, v, pv.AnnDone, done)
}

// annotate writes an annotation of a volume, by way of its status: that is all of a volume that a node may write.
func (d *Disks) annotate(ctx context.Context, v *corev1.PersistentVolume, key, value string) error {
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": v.UID, "annotations": map[string]string{key: value}}})
	if err != nil {
		return err
	}
	_, err = d.Client.CoreV1().PersistentVolumes().Patch(ctx, v.Name, types.MergePatchType, body, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// grow makes a volume as large as it says, and its claim say so. A volume that nobody uses is left to when it is used: only then may the node write to its claim.
func (d *Disks) grow(ctx context.Context, v *corev1.PersistentVolume) error {
	ref := v.Spec.ClaimRef
	if ref == nil || d.Path(ref.Namespace, ref.Name) == "" {
		return nil
	}
	claim, err := d.Client.CoreV1().PersistentVolumeClaims(ref.Namespace).Get(ctx, ref.Name, metav1.GetOptions{})
	if err != nil {
		if apierrors.IsForbidden(err) || apierrors.IsNotFound(err) {
			return nil
		}
		return err
	}
	return d.growFor(ctx, claim, v)
}

// Grown has a claim say that its volume is as large as that says.
func (d *Disks) Grown(ctx context.Context, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	status := grown(claim, v)
	if status == nil {
		return nil
	}
	next := claim.DeepCopy()
	next.Status = *status
	if _, err := d.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{}); err != nil {
		return fmt.Errorf("saying that PersistentVolumeClaim %s/%s has grown: %w", claim.Namespace, claim.Name, err)
	}
	d.Events.Eventf(claim, corev1.EventTypeNormal, reasonGrown, "MountVolume.NodeExpandVolume succeeded for volume %q: it has %s now", v.Name, v.Spec.Capacity.Storage())
	return nil
}

func (d *Disks) growFor(ctx context.Context, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) error {
	if grown(claim, v) == nil {
		return nil
	}
	if _, err := d.Store.Grow(v); err != nil {
		d.complain(v, claim, reasonNotGrown, err)
		return nil // it is tried again when a Pod begins to use it
	}
	return d.Grown(ctx, claim, v)
}

// complain tells of a failure once.
func (d *Disks) complain(v *corev1.PersistentVolume, at runtime.Object, reason string, err error) {
	d.complainOf(v.Name, at, reason, err)
}

func (d *Disks) complainOf(name string, at runtime.Object, reason string, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told[name] != err.Error() {
		d.told[name] = err.Error()
		d.Events.Event(at, corev1.EventTypeWarning, reason, err.Error())
	}
}

// Open implements volume.Disks.
func (d *Disks) Open(ctx context.Context, claim *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) (string, error) {
	if v.Labels[pv.NodeLabel] != d.Node {
		return "", fmt.Errorf("PersistentVolume %s is on the disk of node %s", v.Name, v.Labels[pv.NodeLabel])
	}
	o, err := d.Store.Open(v)
	if err != nil {
		return "", err
	}
	if v.Annotations[pv.AnnMade] == "" {
		// Before a Pod writes to it: from now on a directory that is gone is data that is lost.
		if err := d.annotate(ctx, v, pv.AnnMade, time.Now().UTC().Format(time.RFC3339)); err != nil {
			return "", fmt.Errorf("noting that PersistentVolume %s has been made: %w", v.Name, err)
		}
	}
	if why := o.Unbound(); why != "" {
		d.complain(v, claim, reasonUnbound, errors.New(why))
	}
	if why := o.Slower(); why != "" {
		d.complain(v, claim, reasonSlower, fmt.Errorf("%s; the volume is a file system in a file instead", why))
	}
	return o.Path, d.growFor(ctx, claim, v)
}

// NodeLabels implements volume.Disks.
func (d *Disks) NodeLabels() map[string]string {
	if n := d.Stored(); n != nil {
		return n.Labels
	}
	return nil
}

// OtherUser implements volume.Disks. Who was set up first has the claim; of Pods that an earlier daemon set up, who was made first.
func (d *Disks) OtherUser(pod *corev1.Pod, claim string) string {
	d.mu.Lock()
	holder := d.holders[pod.Namespace+"/"+claim]
	d.mu.Unlock()
	other, held := "", false
	for _, p := range d.Pods() {
		if p.Namespace != pod.Namespace || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
			continue
		}
		held = held || p.UID == holder
		for _, c := range used(p) {
			if c == claim && p.UID != pod.UID && (p.UID == holder || holder == "" && before(p, pod)) {
				other = p.Name
			}
		}
	}
	if holder == pod.UID || holder != "" && !held {
		return ""
	}
	return other
}

// before says which of two Pods was there first.
func before(p, q *corev1.Pod) bool {
	if c := p.CreationTimestamp.Compare(q.CreationTimestamp.Time); c != 0 {
		return c < 0
	}
	return p.UID < q.UID
}

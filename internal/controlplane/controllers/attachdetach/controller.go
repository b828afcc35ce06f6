package attachdetach

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// fieldManager is who managedFields say wrote what this package writes.
const fieldManager = "gitopsd-attachdetach"

// workers is one: what is decided about a volume is written, and known here, before the next decision about it or about the same Node.
const workers = 1

// Controller decides who may use network volumes. Its loop has keys of PersistentVolumes.
type Controller struct {
	client      kubernetes.Interface
	events      record.EventRecorder
	volumes     corelisters.PersistentVolumeLister
	claims      corelisters.PersistentVolumeClaimLister
	drivers     storagelisters.CSIDriverLister
	attachments cache.Indexer
	pods, nodes cache.Indexer
	synced      []cache.InformerSynced
	loop        *reconcile.Loop

	// What this process wrote and its caches may not show yet.
	written reconcile.Written[*corev1.Node]
	made    map[string]*storagev1.VolumeAttachment // by name; only the loop's one worker touches what follows
	// lately are the Nodes whose status may name a volume though the cache does not show it yet.
	lately map[corev1.UniqueVolumeName]map[string]bool

	told map[types.UID]string // the last Event of each Pod
}

// New makes the controller and registers what it wants to hear from f.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, events record.EventRecorder) *Controller {
	core, storage := f.Core().V1(), f.Storage().V1()
	pods, nodes, volumes, claims := core.Pods().Informer(), core.Nodes().Informer(), core.PersistentVolumes(), core.PersistentVolumeClaims()
	attachments := storage.VolumeAttachments().Informer()
	index.AddClaimUsers(pods)
	index.AddNode(pods)
	index.AddVolumeNodes(nodes)
	index.AddAttachments(attachments)
	c := &Controller{
		client: client, events: events, volumes: volumes.Lister(), claims: claims.Lister(), drivers: storage.CSIDrivers().Lister(),
		attachments: attachments.GetIndexer(), pods: pods.GetIndexer(), nodes: nodes.GetIndexer(),
		made: map[string]*storagev1.VolumeAttachment{}, lately: map[corev1.UniqueVolumeName]map[string]bool{}, told: map[types.UID]string{},
	}
	c.loop = reconcile.New("attachdetach", c.reconcile)
	c.synced = []cache.InformerSynced{
		reconcile.Listen(pods, c.loop.HandlerFor(c.ofPod)),
		reconcile.Listen(nodes, c.loop.HandlerFor(c.ofNode)),
		reconcile.Listen(volumes.Informer(), c.loop.Handler()),
		reconcile.Listen(claims.Informer(), c.loop.HandlerFor(c.ofClaim)),
		reconcile.Listen(attachments, c.loop.HandlerFor(ofAttachment)),
		reconcile.Listen(storage.CSIDrivers().Informer(), c.loop.HandlerFor(c.ofDriver)),
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) {
	if !cache.WaitForCacheSync(ctx.Done(), c.synced...) {
		return
	}
	for pause := time.Second; ; pause = min(2*pause, time.Minute) {
		err := c.catchUp(ctx)
		if err == nil {
			break
		}
		slog.Warn("reading which node has which volume failed; none is attached or handed over before that", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	c.loop.Run(ctx, workers)
}

// catchUp reads from the API itself what an earlier process may have written that the caches do not show yet.
func (c *Controller) catchUp(ctx context.Context) error {
	nodes, err := c.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range nodes.Items {
		n := &nodes.Items[i]
		c.written.Note(n)
		for _, v := range n.Status.VolumesInUse {
			c.note(v, n.Name)
		}
		for _, v := range n.Status.VolumesAttached {
			c.note(v.Name, n.Name)
		}
	}
	attachments, err := c.client.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range attachments.Items {
		if a := &attachments.Items[i]; a.Spec.Source.PersistentVolumeName != nil {
			c.made[a.Name] = a
		}
	}
	return nil
}

func (c *Controller) note(v corev1.UniqueVolumeName, node string) {
	if c.lately[v] == nil {
		c.lately[v] = map[string]bool{}
	}
	c.lately[v][node] = true
}

// ofPod names the volumes of a Pod that has a node.
func (c *Controller) ofPod(obj any) (keys []reconcile.Key) {
	p, ok := obj.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" {
		return nil
	}
	for i := range p.Spec.Volumes {
		name := pv.ClaimOf(p, &p.Spec.Volumes[i])
		if name == "" {
			continue
		}
		if claim, err := c.claims.PersistentVolumeClaims(p.Namespace).Get(name); err == nil {
			keys = append(keys, c.ofClaim(claim)...)
		}
	}
	return keys
}

func (c *Controller) ofClaim(obj any) []reconcile.Key {
	if claim, ok := obj.(*corev1.PersistentVolumeClaim); ok && claim.Spec.VolumeName != "" {
		return []reconcile.Key{{Name: claim.Spec.VolumeName}}
	}
	return nil
}

// ofNode names the volumes that a Node's status is about, and those of its Pods: it may be new.
func (c *Controller) ofNode(obj any) (keys []reconcile.Key) {
	n, ok := obj.(*corev1.Node)
	if !ok {
		return nil
	}
	for _, p := range index.OnNode(c.pods, n.Name) {
		keys = append(keys, c.ofPod(p)...)
	}
	all, err := c.volumes.List(labels.Everything())
	if err != nil || len(n.Status.VolumesAttached)+len(n.Status.VolumesInUse) == 0 {
		return keys // a lister fails for an invalid selector only
	}
	for _, v := range all {
		name := pv.UniqueName(v)
		if slices.Contains(n.Status.VolumesInUse, name) || slices.ContainsFunc(n.Status.VolumesAttached, func(a corev1.AttachedVolume) bool { return a.Name == name }) {
			keys = append(keys, reconcile.Key{Name: v.Name})
		}
	}
	return keys
}

func ofAttachment(obj any) []reconcile.Key {
	if a, ok := obj.(*storagev1.VolumeAttachment); ok && a.Spec.Source.PersistentVolumeName != nil {
		return []reconcile.Key{{Name: *a.Spec.Source.PersistentVolumeName}}
	}
	return nil
}

func (c *Controller) ofDriver(obj any) (keys []reconcile.Key) {
	d, ok := obj.(*storagev1.CSIDriver)
	if !ok {
		return nil
	}
	all, err := c.volumes.List(labels.Everything())
	if err != nil {
		return nil // a lister fails for an invalid selector only
	}
	for _, v := range all {
		if v.Spec.CSI != nil && v.Spec.CSI.Driver == d.Name {
			keys = append(keys, reconcile.Key{Name: v.Name})
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	v, err := c.volumes.Get(key.Name)
	if apierrors.IsNotFound(err) {
		return reconcile.Result{}, nil // its attachers' finalizers have kept it while it was attached
	}
	if err != nil {
		return reconcile.Result{}, err
	}
	o, err := c.observe(ctx, v)
	if err != nil {
		return reconcile.Result{}, err
	}
	d := Decide(o)
	for _, e := range d.Events {
		c.tell(e)
	}
	for _, a := range d.Actions {
		if err := c.act(ctx, o, a); err != nil {
			return reconcile.Result{}, fmt.Errorf("the PersistentVolume %s: %s: %w", v.Name, a, err)
		}
	}
	if len(d.Actions) > 0 {
		c.loop.Enqueue(key) // what was written may be all that the next step waited for
	}
	return reconcile.Result{}, nil
}

// observe gathers what is known of a volume.
func (c *Controller) observe(ctx context.Context, v *corev1.PersistentVolume) (Observed, error) {
	o := Observed{Volume: v, Nodes: map[string]*corev1.Node{}}
	if v.Spec.CSI != nil {
		d, err := c.drivers.Get(v.Spec.CSI.Driver)
		if err != nil && !apierrors.IsNotFound(err) {
			return o, err
		}
		if err == nil {
			o.Driver = d
		}
	}
	if ref := v.Spec.ClaimRef; ref != nil {
		claim, err := c.claims.PersistentVolumeClaims(ref.Namespace).Get(ref.Name)
		if err != nil && !apierrors.IsNotFound(err) {
			return o, err
		}
		if err == nil && claim.UID == ref.UID && claim.Spec.VolumeName == v.Name {
			o.Pods = users(index.ClaimUsers(c.pods, ref.Namespace, ref.Name), ref.Name)
		}
	}
	var err error
	if o.Attachments, err = c.attached(ctx, v.Name); err != nil {
		return o, err
	}
	name := pv.UniqueName(v)
	for _, n := range index.VolumeNodes(c.nodes, name) {
		c.see(&o, n.Name)
	}
	for node := range c.lately[name] {
		if c.see(&o, node) {
			delete(c.lately[name], node)
		}
	}
	if len(c.lately[name]) == 0 {
		delete(c.lately, name)
	}
	for _, p := range o.Pods {
		c.see(&o, p.Spec.NodeName)
	}
	for _, a := range o.Attachments {
		c.see(&o, a.Spec.NodeName)
	}
	return o, nil
}

// see adds a Node to what is observed. It says whether the cache knows all that was written of the Node.
func (c *Controller) see(o *Observed, node string) bool {
	obj, ok, err := c.nodes.GetByKey(node)
	if err != nil || !ok {
		return true // it is gone
	}
	cached := obj.(*corev1.Node)
	o.Nodes[node] = c.written.Later(cached)
	return o.Nodes[node] == cached
}

// attached are a volume's attachments: those that the cache has, and those made here that it does not have yet.
func (c *Controller) attached(ctx context.Context, volume string) ([]*storagev1.VolumeAttachment, error) {
	all := slices.Clone(index.Attachments(c.attachments, volume))
	for name, a := range c.made {
		if *a.Spec.Source.PersistentVolumeName != volume {
			continue
		}
		at := slices.IndexFunc(all, func(b *storagev1.VolumeAttachment) bool { return b.Name == name })
		if at >= 0 && later(all[at], a) {
			delete(c.made, name)
			continue
		}
		now, err := c.client.StorageV1().VolumeAttachments().Get(ctx, name, metav1.GetOptions{}) // the cache may have seen it come and go
		switch {
		case apierrors.IsNotFound(err):
			delete(c.made, name)
		case err != nil:
			return nil, err
		case at >= 0:
			all[at] = now
		default:
			all = append(all, now)
		}
	}
	return all, nil
}

// later says that the cache's version of an attachment is not older than another.
func later(cached, a *storagev1.VolumeAttachment) bool {
	order, err := resourceversion.CompareResourceVersion(cached.ResourceVersion, a.ResourceVersion)
	return err == nil && order >= 0
}

// users are the Pods that have a node and have not ended.
func users(pods []*corev1.Pod, claim string) []Pod {
	var out []Pod
	for _, p := range pods {
		if p.Spec.NodeName == "" || podstate.Finished(p) {
			continue
		}
		reads := true
		for i := range p.Spec.Volumes {
			v := &p.Spec.Volumes[i]
			if pv.ClaimOf(p, v) == claim {
				reads = reads && v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
			}
		}
		out = append(out, Pod{p, reads})
	}
	return out
}

func (c *Controller) act(ctx context.Context, o Observed, a Action) error {
	switch {
	case a.List != "":
		return c.list(ctx, o, a.List, true)
	case a.Unlist != "":
		return c.list(ctx, o, a.Unlist, false)
	case a.Create != nil:
		got, err := c.client.StorageV1().VolumeAttachments().Create(ctx, a.Create, metav1.CreateOptions{FieldManager: fieldManager})
		if err != nil {
			return err
		}
		c.made[got.Name] = got
		return nil
	}
	if a.Confirm != "" {
		_, err := c.client.CoreV1().Nodes().Get(ctx, a.Confirm, metav1.GetOptions{})
		if !apierrors.IsNotFound(err) {
			return err // it is there: its event brings the next look
		}
	}
	err := c.client.StorageV1().VolumeAttachments().Delete(ctx, a.Delete.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &a.Delete.UID}})
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// list has a Node's status list the volume or not. It is refused if the Node was written since: the node may have begun to use the volume.
func (c *Controller) list(ctx context.Context, o Observed, node string, want bool) error {
	n := o.Nodes[node]
	name := pv.UniqueName(o.Volume)
	next := slices.DeleteFunc(slices.Clone(n.Status.VolumesAttached), func(a corev1.AttachedVolume) bool { return a.Name == name })
	if want {
		next = append(next, corev1.AttachedVolume{Name: name})
	}
	if next == nil {
		next = []corev1.AttachedVolume{}
	}
	body, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": n.UID, "resourceVersion": n.ResourceVersion}, "status": map[string]any{"volumesAttached": next},
	})
	if err != nil {
		return err
	}
	got, err := c.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		c.loop.Enqueue(reconcile.Key{Name: o.Volume.Name})
		return nil
	}
	if err != nil {
		return err
	}
	c.written.Note(got)
	c.note(name, node)
	return nil
}

// tell records an Event that was not the last at the Pod. Only the loop's one worker calls it.
func (c *Controller) tell(e Event) {
	if c.told[e.Pod.UID] == e.Message {
		return
	}
	if len(c.told) > maxTold {
		clear(c.told)
	}
	c.told[e.Pod.UID] = e.Message
	c.events.Event(e.Pod, e.Type, e.Reason, e.Message)
}

// maxTold bounds what is remembered of Events; after it some are told once more.
const maxTold = 10000

package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// volumeWait is how long a Pod keeps its place while its volumes are being made and bound; kube-scheduler's bindTimeoutSeconds.
const volumeWait = 10 * time.Minute

// volumePod is a Pod that has a node and waits there for its volumes.
type volumePod struct {
	entry *queue.Entry
	pod   *corev1.Pod // as it was when the node was chosen
	node  string
	plan  plugins.VolumePlan
	timer *time.Timer
	// written says that nothing else is to be written before the Pod is bound: its devices are.
	written bool
}

// listenStorage registers for everything that volumes depend on.
func (s *Scheduler) listenStorage(f informers.SharedInformerFactory) []cache.InformerSynced {
	return []cache.InformerSynced{
		reconcile.Listen(f.Core().V1().PersistentVolumeClaims().Informer(), cache.ResourceEventHandlerFuncs{
			AddFunc: func(obj any) { s.claimChanged(nil, obj.(*corev1.PersistentVolumeClaim)) },
			UpdateFunc: func(old, obj any) {
				s.claimChanged(old.(*corev1.PersistentVolumeClaim), obj.(*corev1.PersistentVolumeClaim))
			},
			DeleteFunc: func(obj any) {
				if c, ok := last(obj).(*corev1.PersistentVolumeClaim); ok {
					s.storageChanged(plugins.Event{Change: plugins.Claims, Claim: c.Namespace + "/" + c.Name}, func() { s.snap.RemoveClaim(c.Namespace + "/" + c.Name) })
				}
			},
		}),
		listen(s, f.Core().V1().PersistentVolumes().Informer(),
			func(v *corev1.PersistentVolume) { s.snap.SetVolume(v) }, func(v *corev1.PersistentVolume) { s.snap.RemoveVolume(v.Name) }),
		listen(s, f.Storage().V1().StorageClasses().Informer(),
			func(c *storagev1.StorageClass) { s.snap.SetClass(c) }, func(c *storagev1.StorageClass) { s.snap.RemoveClass(c.Name) }),
		listen(s, f.Storage().V1().CSINodes().Informer(),
			func(d *storagev1.CSINode) { s.snap.SetDrivers(d) }, func(d *storagev1.CSINode) { s.snap.RemoveDrivers(d.Name) }),
		listen(s, f.Storage().V1().CSIDrivers().Informer(),
			func(d *storagev1.CSIDriver) { s.snap.SetDriver(d) }, func(d *storagev1.CSIDriver) { s.snap.RemoveDriver(d.Name) }),
		listen(s, f.Storage().V1().CSIStorageCapacities().Informer(),
			func(c *storagev1.CSIStorageCapacity) { s.snap.SetCapacity(c) }, func(c *storagev1.CSIStorageCapacity) { s.snap.RemoveCapacity(c) }),
	}
}

func listen[T any](s *Scheduler, inf cache.SharedInformer, set, remove func(T)) cache.InformerSynced {
	return listenFor(s, plugins.Storage, inf, set, remove)
}

// listenFor takes objects in and out of the snapshot, and says to waiting Pods what kind of change that is.
func listenFor[T any](s *Scheduler, change plugins.Change, inf cache.SharedInformer, set, remove func(T)) cache.InformerSynced {
	changed := func(f func(T), obj any) {
		if o, ok := last(obj).(T); ok {
			s.storageChanged(plugins.Event{Change: change}, func() { f(o) })
		}
	}
	return reconcile.Listen(inf, cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { changed(set, obj) },
		UpdateFunc: func(_, obj any) { changed(set, obj) },
		DeleteFunc: func(obj any) { changed(remove, obj) },
	})
}

// last is the object of a deletion, also of one that was missed.
func last(obj any) any {
	if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		return t.Obj
	}
	return obj
}

func (s *Scheduler) storageChanged(e plugins.Event, take func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	take()
	s.helped(e, time.Now())
	s.signal()
}

func (s *Scheduler) claimChanged(old, c *corev1.PersistentVolumeClaim) {
	name := c.Namespace + "/" + c.Name
	var ready, failed []*volumePod
	s.storageChanged(plugins.Event{Change: plugins.Claims, Claim: name}, func() {
		s.snap.SetClaim(c)
		for _, w := range s.volumePods {
			for _, k := range w.entry.Pod.Claims {
				switch {
				case k.Name != name:
				case old != nil && old.Annotations[volume.AnnSelectedNode] == w.node && c.Annotations[volume.AnnSelectedNode] != w.node && !plugins.Bound(c):
					failed = append(failed, w) // who makes the volume cannot do so for that node
				case w.written && s.volumesBound(w):
					ready = append(ready, w)
				}
			}
		}
		for _, w := range append(ready, failed...) {
			s.forget(w)
		}
	})
	for _, w := range failed {
		s.giveUp(w, fmt.Sprintf("no volume can be made for claim %s on node %s", name, w.node))
	}
	for _, w := range ready {
		s.calls.start(s.ctx, call{w.pod.UID, func() { s.bindThere(s.ctx, w) }})
	}
}

// volumesBound says whether all claims of a Pod are bound. s.mu is held.
func (s *Scheduler) volumesBound(w *volumePod) bool {
	for _, k := range w.entry.Pod.Claims {
		if c := s.snap.Claim(k.Name); c == nil || !plugins.Bound(c) {
			return false
		}
	}
	return true
}

// forget ends the waiting for volumes. It is false if that has ended already, and the Pod may wait anew by now. s.mu is held.
func (s *Scheduler) forget(w *volumePod) bool {
	w.timer.Stop()
	if s.volumePods[w.pod.UID] != w {
		return false
	}
	delete(s.volumePods, w.pod.UID)
	return true
}

// release leaves the volumes that were chosen for a Pod to others. s.mu is held.
func (s *Scheduler) release(w *volumePod) {
	for _, m := range w.plan.Static {
		s.snap.ReleaseVolume(m.Volume.Name)
	}
}

// awaitVolumes lets a Pod wait on its node until its claims are bound. s.mu is held.
func (s *Scheduler) awaitVolumes(e *queue.Entry, node string, plan plugins.VolumePlan) *volumePod {
	w := &volumePod{entry: e, pod: e.Pod.Object, node: node, plan: plan}
	for _, m := range plan.Static {
		s.snap.TakeVolume(m.Volume.Name, m.Claim.Namespace+"/"+m.Claim.Name)
	}
	w.timer = time.AfterFunc(volumeWait, func() {
		s.mu.Lock()
		waits := s.forget(w)
		s.mu.Unlock()
		if waits {
			s.giveUp(w, fmt.Sprintf("its volumes are not bound after %v", volumeWait))
		}
	})
	s.volumePods[w.pod.UID] = w
	return w
}

// writeVolumes says which volumes a Pod gets: who binds and makes volumes goes by that. The Pod is bound once its claims are.
func (s *Scheduler) writeVolumes(ctx context.Context, w *volumePod) {
	s.mu.Lock()
	w.written = true
	bound := s.volumesBound(w) // by somebody else, meanwhile
	waits := s.volumePods[w.pod.UID] == w
	if bound {
		s.forget(w)
	}
	s.mu.Unlock()
	switch {
	case !waits:
		return
	case bound:
		s.bindThere(ctx, w)
		return
	}
	err := func() error {
		for _, m := range w.plan.Static {
			v, changed, err := volume.GetBindVolumeToClaim(m.Volume, m.Claim)
			if err != nil {
				return fmt.Errorf("claiming PersistentVolume %s: %w", m.Volume.Name, err)
			}
			if !changed {
				continue
			}
			if _, err := s.client.CoreV1().PersistentVolumes().Update(ctx, v, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
				return fmt.Errorf("claiming PersistentVolume %s: %w", m.Volume.Name, err)
			}
		}
		for _, c := range w.plan.Provision {
			if c.Annotations[volume.AnnSelectedNode] == w.node {
				continue
			}
			patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
				"uid": c.UID, "resourceVersion": c.ResourceVersion, "annotations": map[string]string{volume.AnnSelectedNode: w.node},
			}})
			if err != nil {
				return fmt.Errorf("encoding the node of claim %s/%s: %w", c.Namespace, c.Name, err)
			}
			if _, err := s.client.CoreV1().PersistentVolumeClaims(c.Namespace).Patch(ctx, c.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}); err != nil {
				return fmt.Errorf("choosing a node for claim %s/%s: %w", c.Namespace, c.Name, err)
			}
		}
		return nil
	}()
	if err == nil || ctx.Err() != nil {
		return
	}
	s.mu.Lock()
	waits = s.forget(w)
	s.mu.Unlock()
	if waits {
		s.giveUp(w, err.Error())
	}
}

// bindThere binds a Pod whose claims are bound, if its node is one that their volumes can be reached from. A claim may have got another volume than was to be made for it: one that
// somebody made by hand, or that a node has brought back after the loss of the cluster's state.
func (s *Scheduler) bindThere(ctx context.Context, w *volumePod) {
	if why := s.outOfReach(ctx, w); why != "" {
		s.giveUp(w, why)
		return
	}
	s.bind(ctx, w.entry, w.pod, w.node)
}

func (s *Scheduler) outOfReach(ctx context.Context, w *volumePod) string {
	s.mu.Lock()
	node := s.snap.Node(w.node)
	names := map[string]string{} // of volumes, by claim
	for _, k := range w.entry.Pod.Claims {
		if c := s.snap.Claim(k.Name); c != nil {
			names[k.Name] = c.Spec.VolumeName
		}
	}
	volumes := map[string]*corev1.PersistentVolume{}
	for _, name := range names {
		volumes[name] = s.snap.Volume(name)
	}
	s.mu.Unlock()
	if node == nil {
		return "" // binding finds that out
	}
	for claim, name := range names {
		v := volumes[name]
		if v == nil { // it was made a moment ago
			var err error
			if v, err = s.client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{}); err != nil {
				return fmt.Sprintf("claim %s: %v", claim, err)
			}
		}
		if err := volume.CheckNodeAffinity(v, node.Object.Labels); err != nil {
			return fmt.Sprintf("claim %s was bound to PersistentVolume %s, which cannot be reached from there: %v", claim, name, err)
		}
	}
	return ""
}

// giveUp takes a Pod, whose volumes cannot be bound, off its node; it is looked at again.
func (s *Scheduler) giveUp(w *volumePod, why string) {
	pod := w.pod
	slog.Warn("a Pod's volumes cannot be bound, it will be looked at again", "pod", pod.Namespace+"/"+pod.Name, "node", w.node, "err", why)
	s.events.Eventf(pod, corev1.EventTypeWarning, "FailedScheduling", "Volumes for %s: %s", w.node, why)
	s.mu.Lock()
	s.release(w)
	s.mu.Unlock()
	s.undo(w.entry, pod.UID, pod)
}

// stopWaiting ends all waiting when the scheduler ends.
func (s *Scheduler) stopWaiting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range maps.Clone(s.volumePods) {
		s.forget(w)
	}
}

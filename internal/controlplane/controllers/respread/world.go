package respread

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

// world is where the cluster is read from: the informers' caches.
type world struct {
	nodes, namespaces, claims, volumes, classes, drivers, pods cache.Store
	synced                                                     []cache.InformerSynced
}

func newWorld(f informers.SharedInformerFactory) (w world) {
	of := func(inf cache.SharedIndexInformer) cache.Store {
		w.synced = append(w.synced, inf.HasSynced)
		return inf.GetStore()
	}
	core, storage := f.Core().V1(), f.Storage().V1()
	w.nodes, w.namespaces, w.pods = of(core.Nodes().Informer()), of(core.Namespaces().Informer()), of(core.Pods().Informer())
	w.claims, w.volumes = of(core.PersistentVolumeClaims().Informer()), of(core.PersistentVolumes().Informer())
	w.classes, w.drivers = of(storage.StorageClasses().Informer()), of(storage.CSINodes().Informer())
	return w
}

// snapshot is the cluster as the caches have it. It takes microseconds for each Pod of the cluster, and is only made when a node has come.
func (w world) snapshot() *snapshot.Snapshot {
	out := why.NewWorld()
	s := out.Snapshot
	each(w.nodes, func(n *corev1.Node) { s.SetNode(n) })
	each(w.namespaces, func(n *corev1.Namespace) { s.SetNamespace(n.Name, n.Labels) })
	each(w.claims, s.SetClaim)
	each(w.volumes, s.SetVolume)
	each(w.classes, func(c *storagev1.StorageClass) { s.SetClass(c) })
	each(w.drivers, func(d *storagev1.CSINode) { s.SetDrivers(d) })
	each(w.pods, out.AddPod)
	return s
}

func each[T any](store cache.Store, f func(*T)) {
	for _, obj := range store.List() {
		if o, ok := obj.(*T); ok {
			f(o)
		}
	}
}

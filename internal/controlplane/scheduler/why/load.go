package why

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/pager"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// World is what is known of the cluster.
type World struct {
	Snapshot *snapshot.Snapshot
	Waiting  []*snapshot.Pod // without a node, those with gates left out
}

// NewWorld is a World with nothing in it.
func NewWorld() *World { return &World{Snapshot: snapshot.New()} }

// AddPod takes a Pod in, as the scheduler would.
func (w *World) AddPod(pod *corev1.Pod) {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded && pod.DeletionTimestamp == nil:
		w.Snapshot.Succeed(pod)
	case podstate.Finished(pod):
	case pod.Spec.NodeName != "":
		w.Snapshot.Place(snapshot.NewPod(pod), pod.Spec.NodeName)
	case pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0:
		p := snapshot.NewPod(pod)
		w.Waiting = append(w.Waiting, p)
		if node := pod.Status.NominatedNodeName; node != "" {
			w.Snapshot.Nominate(p, node)
		}
	}
}

// Load reads the cluster.
func Load(ctx context.Context, c kubernetes.Interface) (*World, error) {
	w := NewWorld()
	s := w.Snapshot
	for _, l := range []func() error{
		func() error {
			return each(ctx, "nodes", c.CoreV1().Nodes().List, func(o *corev1.Node) { s.SetNode(o) })
		},
		func() error {
			return each(ctx, "namespaces", c.CoreV1().Namespaces().List, func(o *corev1.Namespace) { s.SetNamespace(o.Name, o.Labels) })
		},
		func() error {
			return each(ctx, "persistentvolumeclaims", c.CoreV1().PersistentVolumeClaims("").List, s.SetClaim)
		},
		func() error { return each(ctx, "persistentvolumes", c.CoreV1().PersistentVolumes().List, s.SetVolume) },
		func() error { return each(ctx, "storageclasses", c.StorageV1().StorageClasses().List, s.SetClass) },
		func() error { return each(ctx, "csinodes", c.StorageV1().CSINodes().List, s.SetDrivers) },
		func() error { return each(ctx, "csidrivers", c.StorageV1().CSIDrivers().List, s.SetDriver) },
		func() error {
			return each(ctx, "csistoragecapacities", c.StorageV1().CSIStorageCapacities("").List, s.SetCapacity)
		},
		func() error {
			return each(ctx, "poddisruptionbudgets", c.PolicyV1().PodDisruptionBudgets("").List, s.SetBudget)
		},
		func() error {
			return each(ctx, "resourceclaims", c.ResourceV1().ResourceClaims("").List, s.SetDeviceClaim)
		},
		func() error { return each(ctx, "resourceslices", c.ResourceV1().ResourceSlices().List, s.SetSlice) },
		func() error { return each(ctx, "deviceclasses", c.ResourceV1().DeviceClasses().List, s.SetDeviceClass) },
		func() error { return each(ctx, "pods", c.CoreV1().Pods("").List, w.AddPod) },
	} {
		if err := l(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// each calls f for every object of a resource, which is read in pages.
func each[L runtime.Object, T any](ctx context.Context, resource string, list func(context.Context, metav1.ListOptions) (L, error), f func(*T)) error {
	p := pager.New(pager.SimplePageFunc(func(o metav1.ListOptions) (runtime.Object, error) { return list(ctx, o) }))
	err := p.EachListItem(ctx, metav1.ListOptions{}, func(obj runtime.Object) error {
		if o, ok := any(obj).(*T); ok {
			f(o)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("list %s: %w", resource, err)
	}
	return nil
}

package index

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
)

const (
	byController = "controller"
	byNode       = "node"

	chosen = "yes" // the one value of AddChosen's indexes
)

// orphanKey cannot be a UID: it holds a slash.
func orphanKey(namespace string) string { return "orphans/" + namespace }

// AddController indexes an informer's objects by the UID of their controller, and those without one by namespace.
// It may be called by every user of the informer, before or after the informer has started.
func AddController(inf cache.SharedIndexInformer) {
	add(inf, byController, func(obj any) ([]string, error) {
		m, ok := obj.(metav1.Object)
		if !ok {
			return nil, fmt.Errorf("index %s: %T has no metadata", byController, obj)
		}
		if ref := metav1.GetControllerOfNoCopy(m); ref != nil {
			return []string{string(ref.UID)}, nil
		}
		return []string{orphanKey(m.GetNamespace())}, nil
	})
}

// AddNode indexes Pods by the node they are bound to; unbound Pods are under "".
func AddNode(pods cache.SharedIndexInformer) {
	add(pods, byNode, func(obj any) ([]string, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("index %s: got %T, want a Pod", byNode, obj)
		}
		return []string{pod.Spec.NodeName}, nil
	})
}

// add panics on a failure, which can only be an informer that has already been shut down: a mistake of the program's order, not of its input.
func add(inf cache.SharedIndexInformer, name string, f cache.IndexFunc) {
	if _, ok := inf.GetIndexer().GetIndexers()[name]; ok {
		return
	}
	if err := inf.AddIndexers(cache.Indexers{name: f}); err != nil {
		panic(fmt.Sprintf("adding index %s: %v", name, err))
	}
}

// ControlledBy returns the cached objects whose controller is owner.
func ControlledBy[T any](ix cache.Indexer, owner types.UID) []T {
	return lookup[T](ix, byController, string(owner))
}

// Orphans returns the cached objects of a namespace that have no controller.
func Orphans[T any](ix cache.Indexer, namespace string) []T {
	return lookup[T](ix, byController, orphanKey(namespace))
}

// OnNode returns the cached Pods bound to a node.
func OnNode(ix cache.Indexer, node string) []*corev1.Pod {
	return lookup[*corev1.Pod](ix, byNode, node)
}

func lookup[T any](ix cache.Indexer, name, value string) []T {
	objs, err := ix.ByIndex(name, value)
	if err != nil {
		panic(fmt.Sprintf("index %s: %v: call the package's Add function first", name, err))
	}
	out := make([]T, len(objs))
	for i, o := range objs {
		out[i] = o.(T)
	}
	return out
}

// AddChosen indexes the Pods that choose says yes to, under a name of the caller's.
func AddChosen(pods cache.SharedIndexInformer, name string, choose func(*corev1.Pod) bool) {
	add(pods, name, func(obj any) ([]string, error) {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil, fmt.Errorf("index %s: got %T, want a Pod", name, obj)
		}
		if !choose(pod) {
			return nil, nil
		}
		return []string{chosen}, nil
	})
}

// Chosen returns the cached Pods of such an index.
func Chosen(ix cache.Indexer, name string) []*corev1.Pod {
	return lookup[*corev1.Pod](ix, name, chosen)
}

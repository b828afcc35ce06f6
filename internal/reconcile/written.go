package reconcile

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Written remembers what the API answered to a component's own writes, until its cache has caught up with them. Without it a decision right after a write is
// made on what was before, and its own write is refused as out of date. The zero value is ready for use.
type Written[T metav1.Object] struct {
	mu     sync.Mutex
	latest map[Key]T
}

// Note remembers an object as the API returned it.
func (w *Written[T]) Note(obj T) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.latest == nil {
		w.latest = map[Key]T{}
	}
	w.latest[keyOf(obj)] = obj
}

// Later returns the later of an object as the cache has it and as it was noted. A note that the cache has caught up with, or that is about an earlier object of
// the same name, is forgotten. Neither object may be changed.
func (w *Written[T]) Later(cached T) T {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := keyOf(cached)
	noted, ok := w.latest[k]
	if !ok {
		return cached
	}
	if order, err := resourceversion.CompareResourceVersion(noted.GetResourceVersion(), cached.GetResourceVersion()); err == nil && order > 0 && noted.GetUID() == cached.GetUID() {
		return noted
	}
	delete(w.latest, k)
	return cached
}

// Forget forgets an object that is gone.
func (w *Written[T]) Forget(k Key) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.latest, k)
}

func keyOf(o metav1.Object) Key { return Key{Namespace: o.GetNamespace(), Name: o.GetName()} }

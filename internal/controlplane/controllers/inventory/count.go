package inventory

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
)

// Count is how many objects of a resource a namespace has, as far as the cache shows, or false for a resource that nobody serves.
func (i *Inventory) Count(gr schema.GroupResource, namespace string) (int, bool) {
	i.mu.RLock()
	m := i.monitors[gr]
	i.mu.RUnlock()
	if m == nil {
		return 0, false
	}
	names, err := m.informer.GetIndexer().IndexKeys(cache.NamespaceIndex, namespace)
	return len(names), err == nil
}

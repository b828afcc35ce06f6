package registry

import "k8s.io/apimachinery/pkg/runtime/schema"

// Serves tells whether the table has a resource that is stored.
func (r *Registry) Serves(gr schema.GroupResource) bool {
	_, ok := r.stores[gr]
	return ok
}

package registry

import (
	"maps"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
)

// AddComputed adds resources that are not stored but found out when they are asked for. It must be called before Install.
func (r *Registry) AddComputed(gv schema.GroupVersion, resources map[string]rest.Storage) {
	maps.Copy(r.version(gv), resources)
}

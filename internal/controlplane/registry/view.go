package registry

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// view serves, in one more API version, what another stores: the objects are the same ones, converted on their way in and out by the scheme.
type view struct {
	gv       schema.GroupVersion
	kind     string
	resource string
	// of is where the objects are stored.
	of schema.GroupResource
	// labels are the field selectors of this version, each with its name in the stored one.
	labels map[string]string
	// adapt gives the main resource what this version does in another way; nil for nothing.
	adapt func(rest.Storage) rest.Storage
}

// addViews serves the views; what they look at must have been added before.
func (r *Registry) addViews(views []view) error {
	for _, v := range views {
		out := r.version(v.gv)
		for name, s := range r.served[v.of] {
			rest, ok := strings.CutPrefix(name, v.of.Resource)
			if !ok || rest != "" && rest[0] != '/' {
				continue
			}
			if rest == "" && v.adapt != nil {
				s = v.adapt(s)
			}
			out[v.resource+rest] = s
		}
		err := Scheme.AddFieldLabelConversionFunc(v.gv.WithKind(v.kind), func(label, value string) (string, string, error) {
			if stored, ok := v.labels[label]; ok {
				return stored, value, nil
			}
			return "", "", fmt.Errorf("%q is not a known field selector of %s: only %s", label, v.kind, quoted(slices.Collect(maps.Keys(v.labels))))
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// version returns the resources of a group's version, to be added to. A version that was not there yet comes after those that were: it is the less preferred.
func (r *Registry) version(gv schema.GroupVersion) map[string]rest.Storage {
	for _, g := range r.groups {
		if g.PrioritizedVersions[0].Group != gv.Group {
			continue
		}
		if g.VersionedResourcesStorageMap[gv.Version] == nil {
			g.PrioritizedVersions = append(g.PrioritizedVersions, gv)
			g.VersionedResourcesStorageMap[gv.Version] = map[string]rest.Storage{}
		}
		return g.VersionedResourcesStorageMap[gv.Version]
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(gv.Group, Scheme, ParameterCodec, Codecs)
	info.PrioritizedVersions = []schema.GroupVersion{gv}
	info.VersionedResourcesStorageMap[gv.Version] = map[string]rest.Storage{}
	r.groups = append(r.groups, &info)
	return info.VersionedResourcesStorageMap[gv.Version]
}

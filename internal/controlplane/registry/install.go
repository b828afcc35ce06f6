package registry

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
)

// readyPoll is the time between two looks at a watch cache that is being filled.
const readyPoll = 5 * time.Millisecond

// group is the table of one API group in one version.
type group struct {
	gv      schema.GroupVersion
	entries []entry
	// more are resources that store nothing, such as reviews, by name.
	more map[string]rest.Storage
}

// Registry is the storage of every resource, ready to be installed in an API server.
type Registry struct {
	groups []*genericapiserver.APIGroupInfo
	stores map[schema.GroupResource]*genericregistry.Store
	// served is what each stored resource is served as, with its subresources, by name.
	served map[schema.GroupResource]map[string]rest.Storage
	// byType finds the storage of an object of this process.
	byType map[reflect.Type]*genericregistry.Store
}

// Deps is what some resources need beyond storage.
type Deps struct {
	Storage *Storage
	// Nodes reaches the node daemons for logs, exec, attach and port-forward.
	Nodes *NodeClient
	// Services hands out cluster IPs and node ports.
	Services *Allocator
	// Tokens signs ServiceAccount tokens.
	Tokens TokenIssuer
	// Grants judges who may hand out rights.
	Grants Grants
	// Access answers reviews.
	Access *Access
}

// New builds the storage of all groups.
func New(d Deps) (*Registry, error) {
	r := &Registry{stores: map[schema.GroupResource]*genericregistry.Store{}, served: map[schema.GroupResource]map[string]rest.Storage{},
		byType: map[reflect.Type]*genericregistry.Store{}}
	for _, g := range groups(d, r) {
		if err := r.add(g, d.Storage); err != nil {
			return nil, err
		}
	}
	d.Services.registry = r
	return r, r.addViews(views)
}

// addFieldLabels lets requests select by labels, and tells a client that asks for another which ones there are.
func addFieldLabels(gvk schema.GroupVersionKind, labels []string) error {
	return Scheme.AddFieldLabelConversionFunc(gvk, func(label, value string) (string, string, error) {
		if slices.Contains(labels, label) {
			return label, value, nil
		}
		return "", "", fmt.Errorf("%q is not a known field selector of %s: only %s", label, gvk.Kind, quoted(labels))
	})
}

func quoted(labels []string) string {
	sorted := slices.Sorted(slices.Values(labels))
	return `"` + strings.Join(sorted, `", "`) + `"`
}

func (r *Registry) add(g group, storage *Storage) error {
	resources := map[string]rest.Storage{}
	for _, e := range g.entries {
		store, err := e.install(g.gv, storage, resources)
		if err != nil {
			return err
		}
		gr := g.gv.WithResource(e.resource()).GroupResource()
		r.stores[gr], r.served[gr] = store, resources
		r.byType[reflect.TypeOf(e.example())] = store
		gvk, err := kindOf(g.gv, e.example())
		if err != nil {
			return err
		}
		if err := addFieldLabels(gvk, e.fieldLabels()); err != nil {
			return err
		}
	}
	for name, s := range g.more {
		resources[name] = s
	}
	info := genericapiserver.NewDefaultAPIGroupInfo(g.gv.Group, Scheme, ParameterCodec, Codecs)
	info.PrioritizedVersions = []schema.GroupVersion{g.gv}
	info.VersionedResourcesStorageMap[g.gv.Version] = resources
	if mediaType(g.gv.Group) == runtime.ContentTypeJSON {
		info.NegotiatedSerializer = withoutProtobuf{Codecs}
	}
	r.groups = append(r.groups, &info)
	return nil
}

func kindOf(gv schema.GroupVersion, obj runtime.Object) (schema.GroupVersionKind, error) {
	gvks, _, err := Scheme.ObjectKinds(obj)
	if err != nil {
		return schema.GroupVersionKind{}, err
	}
	for _, gvk := range gvks {
		if gvk.GroupVersion() == gv {
			return gvk, nil
		}
	}
	return schema.GroupVersionKind{}, fmt.Errorf("%T is not registered in %s", obj, gv)
}

// Install adds all groups to the server.
func (r *Registry) Install(s *genericapiserver.GenericAPIServer) error {
	var named []*genericapiserver.APIGroupInfo
	for _, g := range r.groups {
		if g.PrioritizedVersions[0].Group != "" {
			named = append(named, g)
			continue
		}
		if err := s.InstallLegacyAPIGroup(genericapiserver.DefaultLegacyAPIPrefix, g); err != nil {
			return err
		}
	}
	return s.InstallAPIGroups(named...)
}

// Store returns the storage of a resource; it panics for one that is not in the table.
func (r *Registry) Store(gr schema.GroupResource) *genericregistry.Store {
	s, ok := r.stores[gr]
	if !ok {
		panic(fmt.Sprintf("no resource %s in the registry", gr))
	}
	return s
}

// Get returns the object of a resource as it is now; see resource.Get. Nobody may write to it.
func (r *Registry) Get(ctx context.Context, gr schema.GroupResource, name string) (runtime.Object, error) {
	g, ok := r.served[gr][gr.Resource].(rest.Getter)
	if !ok {
		return nil, fmt.Errorf("resource %s cannot be read by name", gr)
	}
	return g.Get(ctx, name, &metav1.GetOptions{})
}

// WaitReady returns when every resource can be listed and watched: before that, requests are told to try again. The library offers no
// event for it.
func (r *Registry) WaitReady(ctx context.Context) error {
	for gr, s := range r.stores {
		err := wait.PollUntilContextCancel(ctx, readyPoll, true, func(context.Context) (bool, error) { return s.ReadinessCheckFunc() == nil, nil })
		if err != nil {
			return fmt.Errorf("fill the watch cache of %s: %w", gr, err)
		}
	}
	return nil
}

// withoutProtobuf offers no protobuf for types that have none, so that a client which accepts both gets JSON.
type withoutProtobuf struct{ runtime.NegotiatedSerializer }

func (s withoutProtobuf) SupportedMediaTypes() []runtime.SerializerInfo {
	return slices.DeleteFunc(slices.Clone(s.NegotiatedSerializer.SupportedMediaTypes()), func(i runtime.SerializerInfo) bool {
		return i.MediaType == runtime.ContentTypeProtobuf
	})
}

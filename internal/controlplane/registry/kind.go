package registry

import (
	"context"
	"fmt"
	"maps"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/registry/generic"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/storage"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
)

// Object is what every stored type is.
type Object interface {
	runtime.Object
	metav1.Object
}

// Kind is the entry of one resource in the table. Only Resource, Singular, New, NewList and Columns are required; a hook that is nil does nothing.
type Kind[T Object] struct {
	// Resource is the plural name in URLs; Singular the one that clients may type instead.
	Resource, Singular string
	ShortNames         []string
	Categories         []string
	// ClusterScoped kinds live outside of namespaces.
	ClusterScoped bool
	New           func() T
	NewList       func() runtime.Object
	Columns       columns.Table[T]

	// HasStatus gives the kind a status subresource: the status can be written only there, and nothing else can.
	HasStatus bool
	// KeepStatusOnCreate lets the creator set the status, as a node does.
	KeepStatusOnCreate bool
	// MetadataWithStatus lets a write of the status change labels and annotations too.
	MetadataWithStatus bool
	// StatusAlone tells that what a status defaults to depends on nothing outside it: patches of it are worked out without the rest of the object.
	StatusAlone bool
	// HasGeneration counts the changes of everything but metadata and status in metadata.generation.
	HasGeneration bool
	// LabelsCount makes a change of labels one for metadata.generation too.
	LabelsCount bool

	// PrepareCreate and PrepareUpdate normalize an object before it is validated. They run after the split of spec and status.
	PrepareCreate func(ctx context.Context, obj T)
	PrepareUpdate func(ctx context.Context, obj, old T)
	// PrepareStatus normalizes a new status before it is validated.
	PrepareStatus func(obj, old T)
	// Validate judges a new object; ValidateUpdate one that is to replace old (it includes Validate's rules); ValidateStatus a new status.
	Validate       func(obj T) field.ErrorList
	ValidateUpdate func(obj, old T) field.ErrorList
	ValidateStatus func(obj, old T) field.ErrorList
	// Warnings are shown to the client that writes obj.
	Warnings func(obj T) []string
	// Fields are the values of the field selectors that this kind has beyond metadata.name and metadata.namespace.
	Fields func(obj T) fields.Set
	// Indexed is the one field of Fields, if any, by which watches are dispatched directly instead of asking every watcher.
	Indexed string
	// TTLSeconds ends the object that long after its last write; zero is never.
	TTLSeconds uint64
	// Grace returns the seconds that a deletion waits, given what the client asked for (nil: nothing), or false when the kind or object is deleted at once.
	Grace func(obj T, asked *int64) (seconds int64, graceful bool)
	// CreateOnUpdate lets a PUT create the object.
	CreateOnUpdate bool
	// Conditional kinds can be replaced only by who names the version that he read.
	Conditional bool
	// Scale gives the kind a scale subresource.
	Scale *Scale[T]
	// Customize adapts the finished store, for what only this kind does.
	Customize func(s *genericregistry.Store)
	// Wrap replaces the main resource by one that does something differently, such as deleting.
	Wrap func(*resource) (rest.Storage, error)
	// More adds the kind's other subresources, named by their path below the resource, such as "binding".
	More func(s *genericregistry.Store) map[string]rest.Storage
}

// entry is a Kind with its type forgotten.
type entry interface {
	install(gv schema.GroupVersion, opts *Storage, out map[string]rest.Storage) (*genericregistry.Store, error)
	fieldLabels() []string
	example() runtime.Object
	resource() string
}

func (k Kind[T]) example() runtime.Object { return k.New() }

func (k Kind[T]) resource() string { return k.Resource }

// fieldLabels are the selectable fields, found by asking about an empty object: the label conversion and the values cannot disagree.
func (k Kind[T]) fieldLabels() []string {
	names := []string{"metadata.name"}
	if !k.ClusterScoped {
		names = append(names, "metadata.namespace")
	}
	if k.Fields != nil {
		for name := range k.Fields(k.New()) {
			names = append(names, name)
		}
	}
	return names
}

func (k Kind[T]) attrs(obj runtime.Object) (labels.Set, fields.Set, error) {
	o, ok := obj.(T)
	if !ok {
		return nil, nil, fmt.Errorf("%s: stored object is a %T", k.Resource, obj)
	}
	var set fields.Set
	if k.Fields != nil {
		set = k.Fields(o)
	} else {
		set = make(fields.Set, 2)
	}
	// A field that is missing counts as empty. Left out, the map of most objects is of the smallest kind; the watch cache has one for each version that it keeps.
	maps.DeleteFunc(set, func(_, value string) bool { return value == "" })
	set["metadata.name"] = o.GetName()
	if !k.ClusterScoped {
		set["metadata.namespace"] = o.GetNamespace()
	}
	return o.GetLabels(), set, nil
}

func (k Kind[T]) install(gv schema.GroupVersion, opts *Storage, out map[string]rest.Storage) (*genericregistry.Store, error) {
	gr := gv.WithResource(k.Resource).GroupResource()
	strategy := strategy[T]{kind: k, gv: gv}
	store := &genericregistry.Store{
		NewFunc:                   func() runtime.Object { return k.New() },
		NewListFunc:               k.NewList,
		DefaultQualifiedResource:  gr,
		SingularQualifiedResource: gv.WithResource(k.Singular).GroupResource(),
		PredicateFunc: func(l labels.Selector, f fields.Selector) storage.SelectionPredicate {
			p := storage.SelectionPredicate{Label: l, Field: f, GetAttrs: k.attrs}
			if k.Indexed != "" {
				p.IndexFields = []string{k.Indexed}
			}
			return p
		},
		CreateStrategy:      strategy,
		UpdateStrategy:      strategy,
		DeleteStrategy:      strategy.forDeletion(),
		ResetFieldsStrategy: strategy,
		TableConvertor:      tableConvertor[T]{gr: gr, table: k.Columns},
	}
	if k.TTLSeconds > 0 {
		store.TTLFunc = func(runtime.Object, uint64, bool) (uint64, error) { return k.TTLSeconds, nil }
	}
	options := &generic.StoreOptions{RESTOptions: opts, AttrFunc: k.attrs}
	if k.Indexed != "" {
		options.TriggerFunc = storage.IndexerFuncs{k.Indexed: func(obj runtime.Object) string { return k.Fields(obj.(T))[k.Indexed] }}
		indexed := storageIndexers(k.Indexed, func(obj any) string { return k.Fields(obj.(T))[k.Indexed] })
		options.Indexers = &indexed
	}
	if k.Customize != nil {
		k.Customize(store)
	}
	if err := store.CompleteWithOptions(options); err != nil {
		return nil, fmt.Errorf("%s: %w", gr, err)
	}
	main := &resource{Store: store, revision: opts.revision, shortNames: k.ShortNames, categories: k.Categories}
	out[k.Resource] = main
	if k.Wrap != nil {
		wrapped, err := k.Wrap(main)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", gr, err)
		}
		out[k.Resource] = wrapped
	}
	if k.HasStatus {
		status := *store
		s := statusStrategy[T]{strategy}
		status.UpdateStrategy, status.ResetFieldsStrategy = s, s
		out[k.Resource+"/status"] = &subresource{store: &status, alone: k.StatusAlone}
	}
	if k.Scale != nil {
		out[k.Resource+"/scale"] = &scaleREST[T]{store: store, scale: k.Scale, gv: gv}
	}
	if k.More != nil {
		for name, s := range k.More(store) {
			out[k.Resource+"/"+name] = s
		}
	}
	return store, nil
}

// resource is a Store with the names that discovery tells clients.
type resource struct {
	*genericregistry.Store
	// revision is that of the last change of a key of the storage.
	revision               func(ctx context.Context, key string) (int64, error)
	shortNames, categories []string
}

func (r *resource) ShortNames() []string { return r.shortNames }

func (r *resource) Categories() []string { return r.categories }

func objectMeta(obj runtime.Object) metav1.Object {
	m, err := meta.Accessor(obj)
	if err != nil {
		panic(fmt.Sprintf("%T in the registry has no metadata: %v", obj, err))
	}
	return m
}

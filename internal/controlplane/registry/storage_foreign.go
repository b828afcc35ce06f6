package registry

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
)

// Foreign stores kinds of another library's scheme on the same etcd: CustomResourceDefinitions and APIServices, whose libraries bring their own
// strategies and their own internal types.
func (s *Storage) Foreign(version schema.GroupVersion, codecs runtime.StorageSerializer) generic.RESTOptionsGetter {
	return foreign{s, version, codecs}
}

type foreign struct {
	storage *Storage
	version schema.GroupVersion
	codecs  runtime.StorageSerializer
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (f foreign) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return f.storage.storedAs(gr, f.version, f.codecs, runtime.ContentTypeProtobuf)
}

// CustomResources stores objects that have no Go type, as JSON. The library puts the conversion between their versions around the codec.
func (s *Storage) CustomResources() generic.RESTOptionsGetter { return customResources{s} }

type customResources struct{ storage *Storage }

// GetRESTOptions implements generic.RESTOptionsGetter.
func (c customResources) GetRESTOptions(gr schema.GroupResource, _ runtime.Object) (generic.RESTOptions, error) {
	return c.storage.restOptions(gr, unstructured.UnstructuredJSONScheme, nil), nil
}

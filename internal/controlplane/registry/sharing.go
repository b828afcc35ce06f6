package registry

import (
	"bytes"
	"context"
	"reflect"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
)

// sharing decodes the objects of a watch cache so that the versions of an object have in common what did not change between them. The cache holds each
// object's current version and, as its history, those that were replaced lately: without sharing, each write of a status would keep a second spec.
//
// The library never writes in depth to what a cache holds, and hands it out as shallow copies itself; sharing between two versions asks for no more than that.
type sharing struct {
	runtime.Codec
	fields  *interned
	key     func(runtime.Object) (string, error)
	newFunc func() runtime.Object
	cache   atomic.Pointer[cacher.Cacher]
}

// Decode implements runtime.Decoder.
func (s *sharing) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, gvk, err := s.Codec.Decode(data, defaults, into)
	if err != nil {
		return obj, gvk, err
	}
	if _, free := obj.(*unstructured.Unstructured); free {
		return obj, gvk, nil
	}
	if m, ok := obj.(metav1.Object); ok {
		s.fields.intern(m.GetManagedFields())
	}
	// While the cache is being filled there is nothing to share, and the answer would come from etcd.
	if c := s.cache.Load(); c != nil && c.Ready() {
		if key, err := s.key(obj); err == nil {
			previous := s.newFunc()
			if c.Get(context.Background(), key, storage.GetOptions{ResourceVersion: "0"}, previous) == nil {
				share(previous, obj)
			}
		}
	}
	return obj, gvk, nil
}

// share gives obj the parts of other that are equal to its own.
func share(other, obj runtime.Object) {
	from, to := reflect.ValueOf(other), reflect.ValueOf(obj)
	if from.Type() != to.Type() || to.Kind() != reflect.Pointer || to.Elem().Kind() != reflect.Struct {
		return
	}
	from, to = from.Elem(), to.Elem()
	for i := range to.NumField() {
		f, t := from.Field(i), to.Field(i)
		if meta, ok := t.Addr().Interface().(*metav1.ObjectMeta); ok {
			shareMeta(f.Addr().Interface().(*metav1.ObjectMeta), meta)
		} else if reflect.DeepEqual(f.Interface(), t.Interface()) {
			t.Set(f)
		}
	}
}

func shareMeta(from, to *metav1.ObjectMeta) {
	if reflect.DeepEqual(from.Labels, to.Labels) {
		to.Labels = from.Labels
	}
	if reflect.DeepEqual(from.Annotations, to.Annotations) {
		to.Annotations = from.Annotations
	}
	if reflect.DeepEqual(from.OwnerReferences, to.OwnerReferences) {
		to.OwnerReferences = from.OwnerReferences
	}
	if reflect.DeepEqual(from.Finalizers, to.Finalizers) {
		to.Finalizers = from.Finalizers
	}
	for i := range min(len(from.ManagedFields), len(to.ManagedFields)) {
		f, t := from.ManagedFields[i].FieldsV1, &to.ManagedFields[i]
		if f != nil && t.FieldsV1 != nil && bytes.Equal(f.GetRawBytes(), t.FieldsV1.GetRawBytes()) {
			t.FieldsV1 = f
		}
	}
	// Equal strings may be two.
	if from.UID == to.UID && from.Name == to.Name && from.Namespace == to.Namespace {
		to.UID, to.Name, to.Namespace = from.UID, from.Name, from.Namespace
	}
}

// maxInterned bounds the lists of fields that are known; past it, all are forgotten.
const maxInterned = 1024

// interned has one copy of each list of managed fields that many objects have: what one program writes to objects of one kind is mostly the same.
type interned struct {
	mu    sync.Mutex
	known map[string]*metav1.FieldsV1
}

func (n *interned) intern(entries []metav1.ManagedFieldsEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i := range entries {
		f := entries[i].FieldsV1
		if f == nil {
			continue
		}
		known, ok := n.known[string(f.GetRawBytes())]
		if !ok {
			if n.known == nil || len(n.known) >= maxInterned {
				n.known = map[string]*metav1.FieldsV1{}
			}
			n.known[f.GetRawString()], known = f, f
		}
		entries[i].FieldsV1 = known
	}
}

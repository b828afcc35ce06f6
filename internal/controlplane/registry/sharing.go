package registry

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
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
	parts   *interned
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
		s.parts.managedFields(m.GetManagedFields())
	}
	if previous, ok := s.previous(obj); ok {
		share(previous, obj)
	} else if p, ok := obj.(*corev1.Pod); ok {
		s.parts.pod(p)
	}
	return obj, gvk, nil
}

// previous is the version of an object that the cache has. While the cache is being filled there is none, and the answer would come from etcd.
func (s *sharing) previous(obj runtime.Object) (runtime.Object, bool) {
	c := s.cache.Load()
	if c == nil || !c.Ready() {
		return nil, false
	}
	key, err := s.key(obj)
	if err != nil {
		return nil, false
	}
	previous := s.newFunc()
	return previous, c.Get(context.Background(), key, storage.GetOptions{ResourceVersion: "0"}, previous) == nil
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
		} else if !shareField(f, t) && t.Kind() == reflect.Struct {
			// Most of a status that changed is as it was: one condition is new, and the lists beside it are not.
			for j := range t.NumField() {
				shareField(f.Field(j), t.Field(j))
			}
		}
	}
}

// shareField gives a field the other's value if they are equal, and says whether they are.
func shareField(from, to reflect.Value) bool {
	if !to.CanSet() || !reflect.DeepEqual(from.Addr().Interface(), to.Addr().Interface()) { // by pointers: the structs are large
		return false
	}
	to.Set(from)
	return true
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

// maxInterned bounds how many parts of a kind are known; past it, all are forgotten.
const maxInterned = 1024

// interned has one copy of what many objects have alike: lists of managed fields, for what one program writes to objects of one kind is mostly the same, and
// the labels, annotations, containers and projected volumes of Pods, which replicas share. They are the larger part of what a small Pod takes, and of the objects
// that the collector has to look at.
type interned struct {
	names      copies[string]
	maps       copies[map[string]string]
	fields     copies[*metav1.FieldsV1]
	containers copies[corev1.Container]
	projected  copies[*corev1.ProjectedVolumeSource]
}

func (n *interned) managedFields(entries []metav1.ManagedFieldsEntry) {
	for i := range entries {
		e := &entries[i]
		if e.FieldsV1 != nil {
			e.FieldsV1 = n.fields.one(e.FieldsV1.GetRawBytes(), e.FieldsV1)
		}
		for _, s := range []*string{&e.Manager, (*string)(&e.Operation), &e.APIVersion, &e.FieldsType, &e.Subresource} {
			if *s != "" {
				*s = n.names.one([]byte(*s), *s)
			}
		}
	}
}

func (n *interned) pod(p *corev1.Pod) {
	n.stringMap(&p.Labels)
	n.stringMap(&p.Annotations)
	n.podContainers(p.Spec.InitContainers)
	n.podContainers(p.Spec.Containers)
	for i := range p.Spec.Volumes {
		p := &p.Spec.Volumes[i].Projected
		if *p == nil {
			continue
		}
		if encoded, err := (*p).Marshal(); err == nil {
			*p = n.projected.one(encoded, *p)
		}
	}
}

func (n *interned) stringMap(m *map[string]string) {
	if len(*m) == 0 {
		return
	}
	var encoded []byte
	for _, key := range slices.Sorted(maps.Keys(*m)) {
		for _, s := range []string{key, (*m)[key]} {
			encoded = append(binary.AppendUvarint(encoded, uint64(len(s))), s...)
		}
	}
	*m = n.maps.one(encoded, *m)
}

func (n *interned) podContainers(of []corev1.Container) {
	for i := range of {
		c := &of[i]
		// The volume of a Pod's token has a name of its own in each Pod.
		mounts := c.VolumeMounts
		c.VolumeMounts = nil
		// The keys of its maps are encoded in order.
		if encoded, err := c.Marshal(); err == nil {
			*c = n.containers.one(encoded, *c)
		}
		c.VolumeMounts = mounts
	}
}

// copies are parts by their encoding.
type copies[T any] struct {
	mu    sync.Mutex
	known map[string]T
}

// one is the copy that is known of part, which is part itself if there was none.
func (c *copies[T]) one(encoded []byte, part T) T {
	c.mu.Lock()
	defer c.mu.Unlock()
	if known, ok := c.known[string(encoded)]; ok {
		return known
	}
	if c.known == nil || len(c.known) >= maxInterned {
		c.known = map[string]T{}
	}
	c.known[string(encoded)] = part
	return part
}

package registry

import (
	"context"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage"
	etcd3metrics "k8s.io/apiserver/pkg/storage/etcd3/metrics"
)

// Get implements rest.Getter. A client may ask for the object as it is now. What that is, etcd knows; but mostly it is what the watch cache has decoded already, as the
// revision of the last change tells. Then the answer is the cache's own object but for the topmost struct, as it is for clients whom any version will do.
func (r *resource) Get(ctx context.Context, name string, options *metav1.GetOptions) (runtime.Object, error) {
	if options.ResourceVersion == "" && r.Decorator == nil {
		if obj, ok := r.current(ctx, name); ok {
			return obj, nil
		}
	}
	return r.Store.Get(ctx, name, options)
}

// current is the object as it is now, if the watch cache has it so.
func (r *resource) current(ctx context.Context, name string) (runtime.Object, bool) {
	key, err := r.KeyFunc(ctx, name)
	if err != nil {
		return nil, false
	}
	start := time.Now()
	revision, err := r.revision(ctx, key)
	etcd3metrics.RecordEtcdRequest("get", r.DefaultQualifiedResource, err, start)
	if err != nil || revision == 0 {
		return nil, false
	}
	obj := r.NewFunc()
	if err := r.Storage.Storage.Get(ctx, key, storage.GetOptions{ResourceVersion: "0"}, obj); err != nil {
		return nil, false
	}
	return obj, obj.(metav1.Object).GetResourceVersion() == strconv.FormatInt(revision, 10)
}

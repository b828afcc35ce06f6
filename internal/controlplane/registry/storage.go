package registry

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/kubernetes"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/registry/generic"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/etcd3"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	"k8s.io/apiserver/pkg/storage/value"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

const (
	// Prefix is the root of all API objects in etcd.
	Prefix = "/registry"
	// compactionInterval is the history that etcd keeps of overwritten objects, and with it the time a paged list or a resumed watch may take.
	compactionInterval = 5 * time.Minute
	// deleteCollectionWorkers delete the items of one collection side by side.
	deleteCollectionWorkers = 8
	// countPeriod is the time between two countings of a resource's objects, for the metrics.
	countPeriod = time.Minute
)

// uncached are Events: several for each Pod are written, few are read, and a watch cache would hold each of them for an hour. Lists and watches of them ask etcd.
var uncached = schema.GroupResource{Resource: "events"}

// Storage makes the storage of every resource on one shared etcd client. It is the library's RESTOptionsGetter.
type Storage struct {
	client    *kubernetes.Client
	compactor etcd3.Compactor
	stop      func()
	// transformer turns objects of a resource into their stored form and back.
	transformer func(schema.GroupResource) value.Transformer
	parts       interned
	// resumeAt is the revision that watch caches begin with.
	resumeAt func() int64
	// streams counts those that the watches of caches have to etcd.
	streams atomic.Int64
}

var _ generic.RESTOptionsGetter = (*Storage)(nil)

// embedded answers for the etcd in this process what the library would otherwise find out by asking an endpoint, of which there is none.
type embedded struct{ feature.FeatureSupportChecker }

func (embedded) Supports(f storage.Feature) bool { return f == storage.RequestWatchProgress }

func init() { feature.DefaultFeatureSupportChecker = embedded{feature.DefaultFeatureSupportChecker} }

// NewStorage starts the compaction of old revisions on client; Close ends it.
func NewStorage(client *clientv3.Client, transformer func(schema.GroupResource) value.Transformer) *Storage {
	own := clientv3.NewCtxClient(client.Ctx()) // the client may be shared, and is not to be changed
	own.KV, own.Watcher, own.Lease, own.Cluster, own.Maintenance = etcd3.NewETCDLatencyTracker(client.KV), client.Watcher, client.Lease, client.Cluster, client.Maintenance
	kc := &kubernetes.Client{Client: own}
	kc.Kubernetes = kc
	c := etcd3.NewCompactor(client, compactionInterval, clock.RealClock{}, nil)
	s := &Storage{client: kc, compactor: c, stop: c.Stop, transformer: transformer}
	s.resumeAt = sync.OnceValue(s.since)
	return s
}

// Close stops the compaction; the etcd client stays open.
func (s *Storage) Close() { s.stop() }

// Healthy asks etcd for a key, as the health checks do; the error says what etcd answered.
func (s *Storage) Healthy(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := s.client.KV.Get(ctx, Prefix+"/health"); err != nil {
		return fmt.Errorf("read from etcd: %w", err)
	}
	return nil
}

// revision is that of the last change of a key, as it is in etcd now; zero: there is none.
func (s *Storage) revision(ctx context.Context, key string) (int64, error) {
	r, err := s.client.KV.Get(ctx, Prefix+"/"+strings.TrimPrefix(key, "/"), clientv3.WithKeysOnly())
	if err != nil || len(r.Kvs) == 0 {
		return 0, err
	}
	return r.Kvs[0].ModRevision, nil
}

// GetRESTOptions implements generic.RESTOptionsGetter.
func (s *Storage) GetRESTOptions(gr schema.GroupResource, example runtime.Object) (generic.RESTOptions, error) {
	if example == nil {
		return s.restOptions(gr, nil, nil), nil
	}
	gvks, _, err := Scheme.ObjectKinds(example)
	if err != nil {
		return generic.RESTOptions{}, err
	}
	version := schema.GroupVersion{Group: gr.Group, Version: gvks[0].Version}
	for _, gvk := range gvks {
		if gvk.Version != runtime.APIVersionInternal {
			version = gvk.GroupVersion()
		}
	}
	return s.storedAs(gr, version, Codecs, mediaType(gr.Group))
}

// storedAs are the options of a resource whose objects codecs knows and whose stored form is version in that media type.
func (s *Storage) storedAs(gr schema.GroupResource, version schema.GroupVersion, codecs runtime.StorageSerializer, mediaType string) (generic.RESTOptions, error) {
	codec, versioner, err := serverstorage.NewStorageCodec(serverstorage.StorageCodecConfig{
		StorageMediaType:  mediaType,
		StorageSerializer: codecs,
		StorageVersion:    version,
		MemoryVersion:     schema.GroupVersion{Group: version.Group, Version: runtime.APIVersionInternal},
	})
	if err != nil {
		return generic.RESTOptions{}, fmt.Errorf("storage codec of %s: %w", gr, err)
	}
	return s.restOptions(gr, codec, versioner), nil
}

func (s *Storage) restOptions(gr schema.GroupResource, codec runtime.Codec, versioner runtime.GroupVersioner) generic.RESTOptions {
	cfg := storagebackend.NewDefaultConfig(Prefix, codec)
	cfg.EncodeVersioner = versioner
	prefix := gr.Resource
	if gr.Group != "" {
		prefix = gr.Group + "/" + gr.Resource
	}
	return generic.RESTOptions{
		StorageConfig:           cfg.ForResource(gr),
		Decorator:               s.open,
		EnableGarbageCollection: true,
		DeleteCollectionWorkers: deleteCollectionWorkers,
		ResourcePrefix:          prefix,
		CountMetricPollPeriod:   countPeriod,
	}
}

// mediaType is protobuf where the types have it; gitopsd's own have not.
func mediaType(group string) string {
	if group == v1alpha1.GroupVersion.Group {
		return runtime.ContentTypeJSON
	}
	return runtime.ContentTypeProtobuf
}

// open makes the watch cache of one resource over etcd.
func (s *Storage) open(c *storagebackend.ConfigForResource, resourcePrefix string, key func(runtime.Object) (string, error),
	newFunc, newListFunc func() runtime.Object, attrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers,
) (storage.Interface, factory.DestroyFunc, error) {
	if c.GroupResource == uncached {
		raw, err := s.etcd(c, resourcePrefix, c.Codec, newFunc, newListFunc)
		if err != nil {
			return nil, nil, err
		}
		return raw, sync.OnceFunc(raw.Close), nil
	}
	// The cache reads with a codec of its own: what is read to be changed must share nothing.
	codec := &sharing{Codec: c.Codec, parts: &s.parts, key: key, newFunc: newFunc}
	watched, err := s.etcd(c, resourcePrefix, codec, newFunc, newListFunc)
	if err != nil {
		return nil, nil, err
	}
	raw, err := s.etcd(c, resourcePrefix, c.Codec, newFunc, newListFunc)
	if err != nil {
		watched.Close()
		return nil, nil, err
	}
	cached, err := s.cacheOf(watched, c, resourcePrefix, cacher.Config{
		KeyFunc: key, NewFunc: newFunc, NewListFunc: newListFunc, GetAttrsFunc: attrs, IndexerFuncs: triggers, Indexers: indexers,
	})
	if err != nil {
		watched.Close()
		raw.Close()
		return nil, nil, err
	}
	codec.cache.Store(cached.Cacher)
	delegator := delegator{cacher.NewCacheDelegator(cached.Cacher, raw), cached, raw}
	// A resource that is served in two groups is given up by both.
	return delegator, sync.OnceFunc(func() {
		delegator.Stop()
		cached.Stop()
		watched.Close()
		raw.Close()
	}), nil
}

// closable is a storage that holds something until it is closed.
type closable interface {
	storage.Interface
	Close()
}

// etcd is the storage of one resource without a cache, read and written with codec.
func (s *Storage) etcd(c *storagebackend.ConfigForResource, resourcePrefix string, codec runtime.Codec, newFunc, newListFunc func() runtime.Object) (closable, error) {
	versioner := storage.APIObjectVersioner{}
	return etcd3.New(s.client, s.compactor, codec, newFunc, newListFunc, c.Prefix, resourcePrefix, c.GroupResource, s.transformer(c.GroupResource),
		c.LeaseManagerConfig, etcd3.NewDefaultDecoder(codec, versioner), versioner)
}

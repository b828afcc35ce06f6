package registry

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/storagebackend"
)

// resumable is how many revisions before the start of this process a watch may go on from. The library fills a watch cache with what there is, and ends each watch that was
// behind that with "too old resource version", also if all it has missed is a second: every client would list all of its kinds anew after each restart, and client-go not before
// a pause that doubles with each. Here the cache begins with what there was, and is told of the changes since by etcd, which has them.
const resumable = 10_000

// since is the revision that the watch caches begin with: resumable ones before the last, or the first that etcd still has. Zero: unknown, and they begin with the last.
func (s *Storage) since() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	now, err := s.client.KV.Get(ctx, Prefix, clientv3.WithCountOnly())
	if err != nil {
		return 0
	}
	// A watch of what is compacted says where that ends.
	first := <-s.client.Watch(ctx, Prefix, clientv3.WithRev(1))
	return max(now.Header.Revision-resumable, first.CompactRevision)
}

// past is a storage that lists, the first time, what there was at a revision of the past, and whose watch then tells what has changed since.
type past struct {
	storage.Interface
	stream  string // that its watch has to etcd
	newList func() runtime.Object
	since   func() int64
	listed  bool        // for the first time; the reflector's
	behind  atomic.Bool // so that its watch has much to tell
}

// GetList implements storage.Interface for the reflector of a watch cache, which lists all there is, page after page and with no other list beside it.
func (p *past) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if p.listed || opts.Predicate.Continue != "" {
		return p.Interface.GetList(ctx, key, opts, list)
	}
	p.listed = true
	then := opts
	then.ResourceVersion, then.ResourceVersionMatch = strconv.FormatInt(p.since(), 10), metav1.ResourceVersionMatchExact
	if then.ResourceVersion == "0" {
		return p.Interface.GetList(ctx, key, opts, list)
	}
	if p.Interface.GetList(ctx, key, then, list) != nil { // it is compacted by now, or in a form that nobody can read any more
		if err := meta.SetList(list, nil); err != nil { // what could be read of it may be gone since
			return err
		}
		return p.Interface.GetList(ctx, key, opts, list)
	}
	if meta.LenList(list) == 0 {
		// There was nothing. If there is nothing now either, as of a kind that is new, there are no changes worth waiting for.
		now := p.newList()
		if err := p.Interface.GetList(ctx, key, opts, now); err != nil {
			return err
		}
		if meta.LenList(now) == 0 {
			return p.Interface.GetList(ctx, key, opts, list)
		}
	}
	p.behind.Store(true)
	return nil
}

// Watch implements storage.Interface.
func (p *past) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	return p.Interface.Watch(p.alone(ctx), key, opts)
}

// RequestWatchProgress implements storage.Interface.
func (p *past) RequestWatchProgress(ctx context.Context) error {
	return p.Interface.RequestWatchProgress(p.alone(ctx))
}

// alone gives the watch of a cache that begins with the past a stream of its own. On one that is shared, etcd says to all watches at once how far it is, and may have said so before one of them began, which
// hears it nevertheless: a cache that believed it would keep from its readers all that its watch has yet to tell.
func (p *past) alone(ctx context.Context) context.Context {
	if !p.behind.Load() {
		return ctx
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs("stream", p.stream))
}

// IsWatchListSemanticsUnSupported has the reflector list before it watches.
func (p *past) IsWatchListSemanticsUnSupported() bool { return true }

// filling is a watch cache and whether it has come up to what there was when it was made. Until then nobody may read from it who does not name a revision: it would be read of the past.
type filling struct {
	*cacher.Cacher
	settled chan struct{}
	stopped <-chan struct{}
	cancel  context.CancelFunc
}

// cacheOf fills a watch cache from a storage. The rest of its configuration is in config.
func (s *Storage) cacheOf(of storage.Interface, c *storagebackend.ConfigForResource, resourcePrefix string, config cacher.Config) (*filling, error) {
	from := &past{Interface: of, stream: strconv.FormatInt(s.streams.Add(1), 10), newList: config.NewListFunc, since: s.resumeAt}
	config.Storage = from
	config.Versioner, config.GroupResource = storage.APIObjectVersioner{}, c.GroupResource
	config.EventsHistoryWindow, config.ResourcePrefix, config.Codec = c.EventsHistoryWindow, resourcePrefix, c.Codec
	cached, err := cacher.NewCacherFromConfig(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &filling{Cacher: cached, settled: make(chan struct{}), stopped: ctx.Done(), cancel: cancel}
	go f.settle(ctx, from, resourcePrefix, config.NewFunc)
	return f, nil
}

// Stop ends the cache.
func (f *filling) Stop() {
	f.cancel()
	f.Cacher.Stop()
}

// settle closes settled as soon as the cache has all that there is now.
func (f *filling) settle(ctx context.Context, of storage.Interface, prefix string, newFunc func() runtime.Object) {
	var now uint64
	for ; ctx.Err() == nil; time.Sleep(settlePoll) {
		err := f.Wait(ctx)
		if err == nil && now == 0 {
			now, err = of.GetCurrentResourceVersion(ctx)
		}
		if err == nil {
			err = f.upTo(ctx, of, now, prefix, newFunc())
		}
		if err == nil {
			close(f.settled)
			return
		}
	}
}

// upTo returns when the cache has all that there was at a revision.
func (f *filling) upTo(ctx context.Context, of storage.Interface, revision uint64, prefix string, nothing runtime.Object) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// The library asks etcd how far the watch is, but takes its time.
	go func() {
		for ; ctx.Err() == nil; time.Sleep(settlePoll) {
			_ = of.RequestWatchProgress(ctx) // fails as long as there is no watch
		}
	}()
	// No object has this key. It is not said before the cache is that far.
	return f.Get(ctx, prefix+"/", storage.GetOptions{ResourceVersion: strconv.FormatUint(revision, 10), IgnoreNotFound: true}, nothing)
}

// settlePoll is the time between two looks at a cache that is being filled.
const settlePoll = 10 * time.Millisecond

func (f *filling) isSettled() bool {
	select {
	case <-f.settled:
		return true
	default:
		return false
	}
}

// readiness says whether the cache can be read from: it is settled, and is not being filled anew since its watch has ended.
func (f *filling) readiness() error {
	if !f.isSettled() || !f.Ready() {
		return storage.ErrStorageNotReady
	}
	return nil
}

// Watch waits until the cache is settled. One that is stopped before never is, and says so.
func (f *filling) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	select {
	case <-f.settled:
	case <-f.stopped:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return f.Cacher.Watch(ctx, key, opts)
}

// delegator reads from the watch cache what may be read there, as the library has it, but from etcd while the cache is not settled.
type delegator struct {
	*cacher.CacheDelegator
	cache *filling
	etcd  storage.Interface
}

// Get implements storage.Interface.
func (d delegator) Get(ctx context.Context, key string, opts storage.GetOptions, obj runtime.Object) error {
	if d.cache.isSettled() {
		return d.CacheDelegator.Get(ctx, key, opts, obj)
	}
	return d.etcd.Get(ctx, key, opts, obj)
}

// GetList implements storage.Interface.
func (d delegator) GetList(ctx context.Context, key string, opts storage.ListOptions, list runtime.Object) error {
	if d.cache.isSettled() {
		return d.CacheDelegator.GetList(ctx, key, opts, list)
	}
	return d.etcd.GetList(ctx, key, opts, list)
}

// Watch implements storage.Interface.
func (d delegator) Watch(ctx context.Context, key string, opts storage.ListOptions) (watch.Interface, error) {
	return d.cache.Watch(ctx, key, opts)
}

// ReadinessCheck implements storage.Interface.
func (d delegator) ReadinessCheck() error { return d.cache.readiness() }

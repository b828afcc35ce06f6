package trust

import (
	"context"
	"fmt"
	"sync"

	certificatesv1 "k8s.io/api/certificates/v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// Bundles are the cluster's ClusterTrustBundles as a node sees them.
type Bundles struct {
	// Informers are the node's; the watch of bundles is added to them when it is first needed, since most nodes never need it.
	Informers informers.SharedInformerFactory
	// Until ends the watch.
	Until context.Context
	// Changed is told when a bundle came, changed or went.
	Changed func()

	once   sync.Once
	synced <-chan struct{}
	failed error
}

// TrustAnchors gives the certificates that a volume's source selects, as PEM. A missing bundle that is not optional is a NotFound error of the API.
func (b *Bundles) TrustAnchors(ctx context.Context, p *v1.ClusterTrustBundleProjection) ([]byte, error) {
	b.once.Do(b.watch)
	if b.failed != nil {
		return nil, b.failed
	}
	select {
	case <-b.synced:
	case <-ctx.Done():
		return nil, fmt.Errorf("the API server has not listed the ClusterTrustBundles yet: %w", context.Cause(ctx))
	}
	all, err := b.Informers.Certificates().V1().ClusterTrustBundles().Lister().List(labels.Everything())
	if err != nil {
		return nil, err // a lister fails for an invalid selector only
	}
	chosen, err := Select(all, p)
	if err != nil {
		return nil, err
	}
	return Merge(chosen), nil
}

func (b *Bundles) watch() {
	informer := b.Informers.Certificates().V1().ClusterTrustBundles().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(_ any, initial bool) {
			if !initial {
				b.Changed()
			}
		},
		UpdateFunc: func(old, now any) {
			before, ok := old.(*certificatesv1.ClusterTrustBundle)
			after, also := now.(*certificatesv1.ClusterTrustBundle)
			if !ok || !also || before.ResourceVersion != after.ResourceVersion {
				b.Changed()
			}
		},
		DeleteFunc: func(any) { b.Changed() },
	})
	if err != nil {
		b.failed = fmt.Errorf("watching ClusterTrustBundles: %w", err)
		return
	}
	b.synced = informer.HasSyncedChecker().Done()
	b.Informers.Start(b.Until.Done())
}

package ingress

import (
	"context"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// secretsPatience is how long the first table waits for Secrets. One that cannot be read holds up no other host.
const secretsPatience = 5 * time.Second

// secrets follows Secrets one by one: a node may read only those that an Ingress names.
type secrets struct {
	client  kubernetes.Interface
	changed func()

	mu       sync.Mutex
	followed map[string]*followed
	wg       sync.WaitGroup
}

type followed struct {
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
}

func newSecrets(client kubernetes.Interface, changed func()) *secrets {
	return &secrets{client: client, changed: changed, followed: map[string]*followed{}}
}

// follow follows those wanted from now on, and no other.
func (s *secrets) follow(ctx context.Context, want map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, f := range s.followed {
		if !want[name] {
			f.cancel()
			delete(s.followed, name)
		}
	}
	for name := range want {
		if s.followed[name] == nil {
			s.followed[name] = s.start(ctx, name)
		}
	}
}

func (s *secrets) start(ctx context.Context, full string) *followed {
	namespace, name, _ := strings.Cut(full, "/")
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	inf := coreinformers.NewFilteredSecretInformer(s.client, namespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) { o.FieldSelector = only })
	// Neither fails before the informer runs.
	_ = inf.SetTransform(func(obj any) (any, error) {
		if secret, ok := obj.(*corev1.Secret); ok {
			secret.ManagedFields = nil
		}
		return obj, nil
	})
	_, _ = inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { s.changed() }, UpdateFunc: func(_, _ any) { s.changed() }, DeleteFunc: func(any) { s.changed() },
	})
	ctx, cancel := context.WithCancel(ctx)
	s.wg.Go(func() { inf.RunWithContext(ctx) })
	return &followed{inf, cancel}
}

// get is what is known of one.
func (s *secrets) get(full string) translate.Secret {
	s.mu.Lock()
	f := s.followed[full]
	s.mu.Unlock()
	if f == nil || !f.informer.HasSynced() {
		return translate.Secret{Unread: "the API has not answered yet"}
	}
	obj, exists, err := f.informer.GetStore().GetByKey(full)
	if err != nil || !exists {
		return translate.Secret{}
	}
	secret, _ := obj.(*corev1.Secret)
	return translate.Secret{Object: secret}
}

// wait waits until all that are followed have been read.
func (s *secrets) wait(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, secretsPatience)
	defer cancel()
	s.mu.Lock()
	var synced []cache.InformerSynced
	for _, f := range s.followed {
		synced = append(synced, f.informer.HasSynced)
	}
	s.mu.Unlock()
	cache.WaitForCacheSync(ctx.Done(), synced...)
}

func (s *secrets) stop() {
	s.follow(context.Background(), nil)
	s.wg.Wait()
}

package kubelet

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/kubelet/pod"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// How long the first Pods after a start wait for what the cluster says of its Services and its DNS; while the API is away they are made without. A node
// that knows the Services from before waits for keptPatience only, and then takes what it knows.
const (
	servicesPatience = 5 * time.Second
	keptPatience     = 500 * time.Millisecond
)

// servicesFile holds, in the data directory, what Pods are told of Services: a v1.ServiceList in protobuf. It is at most servicesDelay behind.
const (
	servicesFile  = "services.pb"
	servicesDelay = time.Second
)

// services are those that Pods are told of in their environment: as the API has them, or until it answers as it had them last.
type services struct {
	path     string
	lister   listers.ServiceLister
	synced   <-chan struct{}
	patience <-chan struct{}
	changed  chan struct{}
	kept     []byte // what the file held at the start; nil if there was none
}

// openServices takes up what is known from before.
func (d *daemon) openServices(ctx context.Context) (*services, error) {
	informer := d.informers.Core().V1().Services()
	s := &services{
		path: filepath.Join(d.cfg.DataDir, servicesFile), lister: informer.Lister(), synced: informer.Informer().HasSyncedChecker().Done(), changed: make(chan struct{}, 1),
	}
	var err error
	if s.kept, err = os.ReadFile(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the Services of before: %w", err)
	}
	wait := servicesPatience
	if s.kept != nil {
		wait = keptPatience
	}
	patience, stop := context.WithTimeout(ctx, wait)
	context.AfterFunc(patience, stop)
	s.patience = patience.Done()
	poke := func(any) {
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	reconcile.Listen(informer.Informer(), cache.ResourceEventHandlerFuncs{AddFunc: poke, UpdateFunc: func(_, o any) { poke(o) }, DeleteFunc: poke})
	return s, nil
}

// of gives the Services that a namespace's Pods are told of, and maybe others: its own, and the API server's.
func (s *services) of(namespace string) []*v1.Service {
	select {
	case <-s.synced:
	case <-s.patience:
		if !isClosed(s.synced) {
			return s.before()
		}
	}
	out, err := s.lister.Services(namespace).List(labels.Everything())
	if err != nil {
		return nil // a lister fails for an invalid selector only
	}
	if api, err := s.lister.Services(v1.NamespaceDefault).Get("kubernetes"); err == nil && namespace != v1.NamespaceDefault {
		out = append(out, api)
	}
	return out
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// before gives all Services as they were when the API answered last.
func (s *services) before() []*v1.Service {
	var list v1.ServiceList
	if err := list.Unmarshal(s.kept); err != nil {
		slog.Error("the Services of before are lost; Pods that start while the API is away are told of none", "file", s.path, "err", err)
		return nil
	}
	out := make([]*v1.Service, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out
}

// run keeps the file until ctx ends.
func (s *services) run(ctx context.Context) {
	written := s.kept
	var due <-chan time.Time
	changed := s.changed
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			// What comes until then is written with it.
			changed, due = nil, time.After(servicesDelay)
		case <-due:
			if !isClosed(s.synced) { // not all are known yet
				due = time.After(servicesDelay)
				continue
			}
			changed, due = s.changed, nil
			b, err := s.now()
			if err == nil && !bytes.Equal(b, written) {
				err = pod.ReplaceFile(s.path, b)
			}
			if err != nil {
				slog.Error("the cluster's Services are not kept for the next start", "err", err)
				continue
			}
			written = b
		}
	}
}

// now is what the file is to hold: of each Service what Pods are told.
func (s *services) now() ([]byte, error) {
	all, err := s.lister.List(labels.Everything())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *v1.Service) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	var list v1.ServiceList
	for _, svc := range all {
		list.Items = append(list.Items, v1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name},
			Spec:       v1.ServiceSpec{ClusterIP: svc.Spec.ClusterIP, Ports: svc.Spec.Ports},
		})
	}
	return list.Marshal()
}

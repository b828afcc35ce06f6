package dns

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
)

// Config says what is served where.
type Config struct {
	// Domain is the cluster's, such as "cluster.local".
	Domain string
	// Addresses are where questions are answered; none: at the cluster IPs of the Service kube-dns.
	Addresses []netip.Addr
	// Pods are the ranges of all nodes' Pods.
	Pods []netip.Prefix
	// Interfaces are where questions may come from; one without a name is any.
	Interfaces []string
	// ResolvConf is the host's resolv.conf, whose servers are asked about names outside the cluster.
	ResolvConf string
	// Dir keeps what is known for the next start.
	Dir string
	// Informers give Services and EndpointSlices. Their owner starts them, after New.
	Informers informers.SharedInformerFactory
	Client    kubernetes.Interface
	// Event tells about the node what an administrator has to know.
	Event func(reason, message string)
}

// byService is the index of EndpointSlices of headless Services by the Service they belong to.
const byService = "gitopsd-dns-service"

// Times of Run.
const (
	// verifyPeriod bounds how long something that was changed from outside stays changed: an address, or the host's resolv.conf.
	verifyPeriod = 10 * time.Second
	// retryPeriod is the wait after a socket could not be opened.
	retryPeriod = time.Second
)

// Server is the DNS of one node.
type Server struct {
	cfg    Config
	log    *slog.Logger
	server *server
	kept   store

	services, slices, configs cache.SharedIndexInformer

	mu    sync.Mutex
	dirty map[string]bool
	place place
	looks bool
	// wake has room for one: any number of changes before the next look are one look.
	wake chan struct{}
	// placed is closed once it is known where the cluster's DNS is, or that there is none.
	placed  chan struct{}
	settled sync.Once
	sockets map[socketKey]*socket
	held    place             // as it is noted on disk
	said    map[string]bool   // failures that were told already
	servers string            // what the forwarder was made of
	config  map[string]string // the ConfigMap's data when it was last right
	broken  string            // what is wrong with it now, if anything
}

// New prepares the informers and takes up what the node knew before. Nothing is served before Run.
func New(cfg Config) (*Server, error) {
	domain := dns.CanonicalName(cfg.Domain)
	z, err := newZone(domain, cfg.Pods, uint32(time.Now().Unix()))
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg: cfg, log: slog.With("component", "dns"), server: newServer(z), kept: store{dir: cfg.Dir},
		services: cfg.Informers.Core().V1().Services().Informer(), slices: cfg.Informers.Discovery().V1().EndpointSlices().Informer(),
		dirty: map[string]bool{}, wake: make(chan struct{}, 1), placed: make(chan struct{}), sockets: map[socketKey]*socket{}, said: map[string]bool{},
	}
	s.cfg.Domain = domain
	only := fields.OneTermEqualSelector(metav1.ObjectNameField, corefile.ConfigMapName).String()
	s.configs = coreinformers.NewFilteredConfigMapInformer(cfg.Client, corefile.ConfigMapNamespace, 0, cache.Indexers{}, func(o *metav1.ListOptions) { o.FieldSelector = only })
	err = s.slices.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		if key := headlessOf(obj); key != "" {
			return []string{key}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("index EndpointSlices by headless Service: %w", err)
	}
	was, list, err := s.kept.load(domain)
	if err != nil {
		return nil, err
	}
	if list != nil {
		z.set(formerOwner, list)
		z.known.Store(true)
	}
	s.place, s.held, s.config = was, was, s.kept.config()
	if len(cfg.Addresses) > 0 {
		s.place = place{Told: cfg.Addresses, Held: cfg.Addresses}
	}
	if len(s.place.Told) > 0 {
		z.servedAt(s.place.Told)
	}
	if list != nil || len(s.place.Told) > 0 { // the names are kept only once all have been seen
		s.settle()
	}
	return s, nil
}

// Collector tells metrics.
func (s *Server) Collector() prometheus.Collector { return collector{s} }

// Addresses are where Pods find the cluster's DNS. It waits until that is known, or until ctx ends.
func (s *Server) Addresses(ctx context.Context) []string {
	select {
	case <-s.placed:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, a := range s.place.Told {
		out = append(out, a.String())
	}
	return out
}

// Look has interfaces looked for again that were not there.
func (s *Server) Look() {
	s.mu.Lock()
	s.looks = true
	s.mu.Unlock()
	s.poke()
}

func (s *Server) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run answers until ctx ends. It works in the network namespace of the calling process.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	defer s.closeAll()
	wg.Go(func() { s.configs.RunWithContext(ctx) })
	if _, err := s.configs.AddEventHandler(s.handler(func(any) string { return configKey })); err != nil {
		return fmt.Errorf("watch the ConfigMap %s: %w", corefile.ConfigMapName, err)
	}
	services, err := s.services.AddEventHandler(s.handler(func(obj any) string {
		if svc, ok := obj.(*corev1.Service); ok {
			return svc.Namespace + "/" + svc.Name
		}
		return ""
	}))
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	defer func() { _ = s.services.RemoveEventHandler(services) }()
	endpoints, err := s.slices.AddEventHandler(s.handler(headlessOf))
	if err != nil {
		return fmt.Errorf("watch EndpointSlices: %w", err)
	}
	defer func() { _ = s.slices.RemoveEventHandler(endpoints) }()

	synced := make(chan struct{})
	wg.Go(func() {
		if cache.WaitForCacheSync(ctx.Done(), services.HasSynced, endpoints.HasSynced) {
			close(synced)
		}
	})
	verify := time.NewTicker(verifyPeriod)
	defer verify.Stop()
	kept := &journal{dir: s.cfg.Dir}
	defer kept.close()
	look, placed := true, place{}
	var retry <-chan time.Time
	for {
		if now := s.where(); look || !now.equal(placed) {
			look, placed, retry = false, now, nil
			if !s.ensure() {
				retry = time.After(retryPeriod)
			}
			s.configure(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-synced:
			synced = nil
			s.take()
			s.complete()
			s.settle()
			s.note(kept.rewrite(s.server.zone))
		case <-s.wake:
			names, config := s.take()
			if len(names) > 0 && synced == nil {
				s.note(kept.changed(s.server.zone, names))
			}
			look = s.looked() || config
		case <-retry:
			look = true
		case <-verify.C:
			look = true
		}
	}
}

// note says that what is known could not be kept.
func (s *Server) note(err error) {
	if err != nil {
		s.log.Error("the cluster's names are not kept for the next start", "err", err)
	}
}

// looked says whether somebody wants interfaces to be looked for.
func (s *Server) looked() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.looks
	s.looks = false
	return was
}

// configKey stands for the ConfigMap among the keys of Services.
const configKey = ""

// handler marks the Service that an event concerns, on an update also the one that it concerned before.
func (s *Server) handler(key func(obj any) string) cache.ResourceEventHandler {
	mark := func(objs ...any) {
		s.mu.Lock()
		for _, obj := range objs {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			s.dirty[key(obj)] = true
		}
		s.mu.Unlock()
		s.poke()
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { mark(obj) },
		UpdateFunc: func(old, obj any) { mark(old, obj) },
		DeleteFunc: func(obj any) { mark(obj) },
	}
}

// take brings what changed since the last call into the zone, and says which Services' did, and whether the ConfigMap did.
func (s *Server) take() (names []string, config bool) {
	s.mu.Lock()
	keys := slices.Collect(maps.Keys(s.dirty))
	s.dirty = map[string]bool{}
	s.mu.Unlock()
	for _, key := range keys {
		if key == configKey {
			config = true
			continue
		}
		names = append(names, key)
		s.takeService(key)
	}
	return names, config
}

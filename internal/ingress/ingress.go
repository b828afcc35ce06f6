package ingress

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gopkg.in/natefinch/lumberjack.v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/ingress/proxy"
	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// Config says where a node serves Ingresses.
type Config struct {
	// HTTPPort and HTTPSPort are listened at on all of the node's addresses; 0: not at all.
	HTTPPort, HTTPSPort int
	// HSTS is how long browsers are told to come by HTTPS only; zero: they are told nothing.
	HSTS time.Duration
	// Trusted are proxies whose word about a client's address is taken.
	Trusted []netip.Prefix
	// AccessLog is a file that gets a line per request, turned over when it is large; empty: none.
	AccessLog string
	// PerClient is how many connections one client may have at a port; zero: as many as is good.
	PerClient int
	// Informers give everything but Secrets. Their owner starts them, after New.
	Informers informers.SharedInformerFactory
	// Client follows Secrets.
	Client kubernetes.Interface
	// Event tells the Node's owner.
	Event func(reason, message string)
}

const (
	// byService is the index of EndpointSlices by the Service they belong to.
	byService = "gitopsd-ingress-service"
	// grace is how long requests may go on when the daemon ends.
	grace = 5 * time.Second
	// logSize is in megabytes, for each of logFiles.
	logSize, logFiles = 100, 3
)

// Server serves Ingresses on this node.
type Server struct {
	cfg   Config
	log   *slog.Logger
	proxy *proxy.Proxy
	lines *proxy.AccessLog
	file  *lumberjack.Logger

	ingresses, classes, services, slices cache.SharedIndexInformer
	secrets                              *secrets

	// wake has room for one: any number of changes before the next table are one table.
	wake chan struct{}

	mu sync.Mutex
	// named are the Services that the table was made of, whether or not there are such.
	named map[string]bool
}

// New prepares the informers. Nothing is served before Run.
func New(cfg Config) (*Server, error) {
	s := &Server{cfg: cfg, log: slog.With("component", "ingress"), wake: make(chan struct{}, 1), named: map[string]bool{}}
	f := cfg.Informers
	s.ingresses, s.classes = f.Networking().V1().Ingresses().Informer(), f.Networking().V1().IngressClasses().Informer()
	s.services, s.slices = f.Core().V1().Services().Informer(), f.Discovery().V1().EndpointSlices().Informer()
	err := s.slices.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		if name := serviceOf(obj); name != "" {
			return []string{name}, nil
		}
		return nil, nil
	}})
	if err != nil {
		return nil, fmt.Errorf("index EndpointSlices by Service: %w", err)
	}
	s.secrets = newSecrets(cfg.Client, s.poke)
	if cfg.AccessLog != "" {
		s.file = &lumberjack.Logger{Filename: cfg.AccessLog, MaxSize: logSize, MaxBackups: logFiles}
		s.lines = proxy.NewAccessLog(s.file)
	}
	s.proxy = proxy.New(proxy.Config{HTTPSPort: cfg.HTTPSPort, HSTS: cfg.HSTS, Trusted: cfg.Trusted, ConnectionsPerClient: cfg.PerClient, Log: s.lines})
	return s, nil
}

// serviceOf names the Service that an object is or belongs to.
func serviceOf(obj any) string {
	switch o := obj.(type) {
	case *corev1.Service:
		return o.Namespace + "/" + o.Name
	case *discoveryv1.EndpointSlice:
		if name := o.Labels[discoveryv1.LabelServiceName]; name != "" {
			return o.Namespace + "/" + name
		}
	}
	return ""
}

// Collector tells metrics.
func (s *Server) Collector() prometheus.Collector { return s.proxy.Collector() }

func (s *Server) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run serves until ctx ends. It works in the network namespace of the calling process. Nothing is listened at before the cluster has told what there is:
// a client that finds nobody goes to another node, one that is told that there is no such page believes it.
func (s *Server) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer func() {
		wg.Wait()
		s.closeLog()
	}()
	defer s.secrets.stop()
	var synced []cache.InformerSynced
	for _, inf := range []cache.SharedIndexInformer{s.ingresses, s.classes, s.services, s.slices} {
		reg, err := inf.AddEventHandler(s.handler())
		if err != nil {
			return fmt.Errorf("watch for the ingress: %w", err)
		}
		defer func() { _ = inf.RemoveEventHandler(reg) }()
		synced = append(synced, reg.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	s.build(ctx)
	s.secrets.wait(ctx)
	s.build(ctx)
	for port, secure := range map[int]bool{s.cfg.HTTPPort: false, s.cfg.HTTPSPort: true} {
		if port != 0 {
			wg.Go(func() { s.serve(ctx, port, secure) })
		}
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
			s.build(ctx)
		}
	}
}

func (s *Server) closeLog() {
	if s.lines == nil {
		return
	}
	if err := s.lines.Close(); err != nil {
		s.log.Error("the end of the access log is lost", "file", s.cfg.AccessLog, "err", err)
	}
	_ = s.file.Close()
}

// handler has the table made anew on every event that it depends on.
func (s *Server) handler() cache.ResourceEventHandler {
	changed := func(obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		if name := serviceOf(obj); name != "" {
			s.mu.Lock()
			concerns := s.named[name]
			s.mu.Unlock()
			if !concerns {
				return
			}
		}
		s.poke()
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { changed(obj) },
		UpdateFunc: func(_, obj any) { changed(obj) },
		DeleteFunc: func(obj any) { changed(obj) },
	}
}

// build makes the table of what there is now.
func (s *Server) build(ctx context.Context) {
	c := translate.Cluster{Service: s.service, Slices: s.slicesOf, Secret: s.secrets.get}
	for _, obj := range s.classes.GetStore().List() {
		if class, ok := obj.(*networkingv1.IngressClass); ok {
			c.Classes = append(c.Classes, class)
		}
	}
	want := map[string]bool{}
	// The informer's own lister fails for an invalid selector only.
	c.Ingresses, _ = s.cfg.Informers.Networking().V1().Ingresses().Lister().List(labels.Everything())
	for _, ing := range c.Ingresses {
		if c.Classes.Ours(ing) {
			for _, name := range translate.Secrets(ing) {
				want[ing.Namespace+"/"+name] = true
			}
		}
	}
	s.secrets.follow(ctx, want)
	// Before they are looked at: what changes from here on makes another table.
	named := map[string]bool{}
	for _, ing := range c.Ingresses {
		for _, name := range translate.Services(ing) {
			named[ing.Namespace+"/"+name] = true
		}
	}
	s.mu.Lock()
	s.named = named
	s.mu.Unlock()
	table, _ := translate.Build(c)
	s.proxy.Set(table)
}

func (s *Server) service(name string) *corev1.Service {
	obj, exists, err := s.services.GetStore().GetByKey(name)
	if err != nil || !exists {
		return nil // a store of this kind never fails
	}
	svc, _ := obj.(*corev1.Service)
	return svc
}

func (s *Server) slicesOf(service string) []*discoveryv1.EndpointSlice {
	objs, err := s.slices.GetIndexer().ByIndex(byService, service)
	if err != nil {
		return nil // nor does an index that exists
	}
	var out []*discoveryv1.EndpointSlice
	for _, obj := range objs {
		if slice, ok := obj.(*discoveryv1.EndpointSlice); ok {
			out = append(out, slice)
		}
	}
	return out
}

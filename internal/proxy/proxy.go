package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/iptables"
	"github.com/gitopsd/gitopsd/internal/proxy/rules"
)

// Config says for which node the rules are and where Services are seen.
type Config struct {
	// NodeName decides which endpoints are on this node.
	NodeName string
	// ClusterCIDRs are the ranges of all nodes' Pods. There are rules for each family that has one.
	ClusterCIDRs []netip.Prefix
	// Informers give Services and EndpointSlices. Their owner starts them, after New.
	Informers informers.SharedInformerFactory
}

// Times of Run.
const (
	// healthPeriod is the wait before a port for health checks is tried again that was taken.
	healthPeriod = time.Minute
	// Waits after a failed write.
	minRetry = 100 * time.Millisecond
	maxRetry = 10 * time.Second
)

// byService is the index of EndpointSlices by the Service they belong to.
const byService = "gitopsd-proxy-service"

// Proxy carries out Services on this node.
type Proxy struct {
	cfg      Config
	log      *slog.Logger
	families []*familyProgram
	services cache.SharedIndexInformer
	slices   cache.SharedIndexInformer
	metrics  metrics

	health healthChecks // only Run uses it

	mu    sync.Mutex
	zone  string // of this node
	dirty map[types.NamespacedName]bool
	// since is when the first of the events came that made Services dirty.
	since time.Time
	// wake has room for one: any number of changes before the next write are one write.
	wake   chan struct{}
	synced chan struct{}
	kernel kernel
}

type familyProgram struct {
	*program
	writer *iptables.Writer
	// stale are flows to be forgotten, and change how the use of addresses differs, once the kernel has the rules that say so.
	stale  []flow
	change uses
}

// New finds iptables and prepares the informers. No rule is written before Run.
func New(cfg Config) (*Proxy, error) {
	p := &Proxy{
		cfg:      cfg,
		log:      slog.With("component", "proxy"),
		services: cfg.Informers.Core().V1().Services().Informer(),
		slices:   cfg.Informers.Discovery().V1().EndpointSlices().Informer(),
		dirty:    map[types.NamespacedName]bool{},
		health:   healthChecks{log: slog.With("component", "proxy"), servers: map[types.NamespacedName]*healthServer{}},
		wake:     make(chan struct{}, 1),
		synced:   make(chan struct{}),
		metrics:  newMetrics(),
	}
	for _, f := range families {
		if !slices.ContainsFunc(cfg.ClusterCIDRs, func(c netip.Prefix) bool { return f.has(c.Addr()) }) {
			continue
		}
		w, err := iptables.NewWriter(f.Family, chainPrefix, f.jumps())
		if err != nil {
			return nil, err
		}
		p.families = append(p.families, &familyProgram{program: newProgram(f, cfg.ClusterCIDRs, w.HasRandomFully()), writer: w, change: uses{}})
	}
	err := p.slices.AddIndexers(cache.Indexers{byService: func(obj any) ([]string, error) {
		if key, ok := serviceOf(obj); ok {
			return []string{key.String()}, nil
		}
		return nil, nil
	}, byAddress: addressesOf})
	if err != nil {
		return nil, fmt.Errorf("index EndpointSlices by Service: %w", err)
	}
	return p, nil
}

// serviceOf names the Service that an EndpointSlice belongs to. Slices of headless Services are none of the proxy's business.
func serviceOf(obj any) (types.NamespacedName, bool) {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || s.Labels[discoveryv1.LabelServiceName] == "" {
		return types.NamespacedName{}, false
	}
	if _, headless := s.Labels[corev1.IsHeadlessService]; headless {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}, true
}

// Synced is closed once the kernel has the rules of every Service that existed at the start.
func (p *Proxy) Synced() <-chan struct{} { return p.synced }

// Run writes the rules of every Service and keeps them up to date until ctx ends. It leaves them in place then: a node that restarts
// serves on in the meantime. It works in the network namespace of the calling process.
func (p *Proxy) Run(ctx context.Context) error {
	services, err := p.services.AddEventHandler(p.handler(func(obj any) (types.NamespacedName, bool) {
		s, ok := obj.(*corev1.Service)
		if !ok {
			return types.NamespacedName{}, false
		}
		return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}, true
	}))
	if err != nil {
		return fmt.Errorf("watch Services: %w", err)
	}
	defer func() { _ = p.services.RemoveEventHandler(services) }()
	endpoints, err := p.slices.AddEventHandler(p.handler(serviceOf))
	if err != nil {
		return fmt.Errorf("watch EndpointSlices: %w", err)
	}
	defer func() { _ = p.slices.RemoveEventHandler(endpoints) }()
	// The first write must hold every Service: what it does not hold it takes away.
	if !cache.WaitForCacheSync(ctx.Done(), services.HasSynced, endpoints.HasSynced) {
		return nil
	}

	heal, health := time.NewTicker(iptables.HealPeriod), time.NewTicker(healthPeriod)
	defer heal.Stop()
	defer health.Stop()
	defer p.health.closeAll()
	first, backoff := true, minRetry
	for {
		var retry <-chan time.Time
		if err := p.sync(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			p.log.Error("Service rules could not be written, retrying", "after", backoff, "err", err)
			retry = time.After(backoff)
			backoff = min(2*backoff, maxRetry)
		} else {
			backoff = minRetry
			if first {
				close(p.synced)
				first = false
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-p.wake:
		case <-retry:
		case <-heal.C:
			p.heal(ctx)
		case <-health.C:
			p.health.retry()
		}
	}
}

// SetZone says in which zone this node is (its label topology.kubernetes.io/zone), whose endpoints hints may prefer.
func (p *Proxy) SetZone(zone string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.zone == zone {
		return
	}
	p.zone = zone
	for _, key := range p.services.GetStore().ListKeys() {
		if namespace, name, err := cache.SplitMetaNamespaceKey(key); err == nil {
			if len(p.dirty) == 0 {
				p.since = time.Now()
			}
			p.dirty[types.NamespacedName{Namespace: namespace, Name: name}] = true
		}
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// handler marks the Service that an event concerns, on an update also the one that it concerned before.
func (p *Proxy) handler(key func(obj any) (types.NamespacedName, bool)) cache.ResourceEventHandler {
	mark := func(objs ...any) {
		p.mu.Lock()
		for _, obj := range objs {
			if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = gone.Obj
			}
			if k, ok := key(obj); ok {
				if len(p.dirty) == 0 {
					p.since = time.Now()
				}
				p.dirty[k] = true
			}
		}
		p.mu.Unlock()
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { mark(obj) },
		UpdateFunc: func(old, obj any) { mark(old, obj) },
		DeleteFunc: func(obj any) { mark(obj) },
	}
}

// sync brings what changed since the last call to the kernel.
func (p *Proxy) sync(ctx context.Context) error {
	p.mu.Lock()
	keys := slices.Collect(maps.Keys(p.dirty))
	p.dirty = map[types.NamespacedName]bool{}
	since := p.since
	node := rules.Node{Name: p.cfg.NodeName, Zone: p.zone}
	p.mu.Unlock()

	for i, key := range keys {
		svc, list, err := p.observe(key)
		if err != nil {
			p.mu.Lock()
			for _, left := range keys[i:] {
				p.dirty[left] = true
			}
			p.mu.Unlock()
			return err
		}
		port, local := rules.Health(node.Name, svc, list)
		p.health.set(key, port, local)
		for _, f := range p.families {
			balancers := rules.Build(node, f.name, svc, list)
			old := f.program.services[key]
			f.stale = append(f.stale, staleFlows(old, balancers)...)
			f.change.add(old, -1)
			f.change.add(balancers, 1)
			f.set(key, balancers)
		}
	}
	var errs []error
	for _, f := range p.families {
		began := time.Now()
		if err := f.writer.Update(ctx, f.changes()); err != nil {
			errs = append(errs, err) // the writer knows that it is behind
			continue
		}
		p.metrics.seconds.WithLabelValues(string(f.name)).Observe(time.Since(began).Seconds())
		if err := f.forget(f.stale); err != nil {
			errs = append(errs, err)
			continue
		}
		f.stale = nil
		p.kernel.wrote(f.change, since)
		clear(f.change)
	}
	return errors.Join(errs...)
}

// observe reads one Service, nil when it is gone, and its EndpointSlices.
func (p *Proxy) observe(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice, error) {
	obj, exists, err := p.services.GetStore().GetByKey(key.String())
	if err != nil {
		return nil, nil, fmt.Errorf("read Service %s: %w", key, err)
	}
	if !exists {
		return nil, nil, nil
	}
	objs, err := p.slices.GetIndexer().ByIndex(byService, key.String())
	if err != nil {
		return nil, nil, fmt.Errorf("read the EndpointSlices of Service %s: %w", key, err)
	}
	list := make([]*discoveryv1.EndpointSlice, 0, len(objs))
	for _, o := range objs {
		if s, ok := o.(*discoveryv1.EndpointSlice); ok {
			list = append(list, s)
		}
	}
	return obj.(*corev1.Service), list, nil
}

func (p *Proxy) heal(ctx context.Context) {
	for _, f := range p.families {
		repaired, err := f.writer.Heal(ctx)
		if err != nil {
			p.log.Error("Service rules could not be verified", "err", err)
		} else if len(repaired) > 0 {
			p.log.Warn("Service rules were changed from outside and have been put back", "chains", repaired)
		}
	}
}

// Cleanup removes every chain of this package and the jumps to them, for a node that leaves the cluster. Run must have ended.
func Cleanup(ctx context.Context) error {
	var errs []error
	for _, f := range families {
		w, err := iptables.NewWriter(f.Family, chainPrefix, f.jumps())
		if err == nil {
			err = w.Cleanup(ctx)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

package serve

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"

	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authentication"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authorization"
	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ingresscertificate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/loadbalancer"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodelifecycle"
	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/profile"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/gitops"
	"github.com/gitopsd/gitopsd/internal/network"
	"github.com/gitopsd/gitopsd/internal/resident"
)

// Options are what `gitopsd serve` is told.
type Options struct {
	DataDir     string
	BindAddress string
	Port        int
	// Advertise is the address under which nodes reach the API server; empty: the bind address, or this host's first one.
	Advertise string
	// Names are further names and addresses in the API server's certificate.
	Names []string
	// ClusterCIDRs are where Pod addresses come from, ServiceCIDRs where cluster IPs do at first: a range of one family, or one of each. The first is the family
	// of those who ask for none.
	ClusterCIDRs, ServiceCIDRs []netip.Prefix
	// ClusterDNS is the address in the first of ServiceCIDRs at which nodes answer DNS questions; invalid: none is kept for that. ClusterDomain is the domain
	// of the cluster's names.
	ClusterDNS    netip.Addr
	ClusterDomain string
	// NodeMonitorGracePeriod is how long a node's Lease may be overdue before the node counts as lost.
	NodeMonitorGracePeriod time.Duration
	// NodeRates bound how fast Pods are taken off lost nodes; zero for the defaults.
	NodeRates nodelifecycle.Rates
	// LoadBalancers says who gives Services of type LoadBalancer which addresses.
	LoadBalancers loadbalancer.Config
	// ACME says from whom certificates of Ingresses are had.
	ACME ingresscertificate.Config
	// EncryptionConfig says how stored objects are encrypted; empty: Secrets are, with a key made at the first start.
	EncryptionConfig string
	// Audit is the log of requests; by default there is none.
	Audit server.Audit
	// Authentication and Authorization are whose tokens are believed, and who decides, besides the cluster itself.
	Authentication authentication.Options
	Authorization  authorization.Options
	// TracingConfig says where spans of requests are sent; empty: nowhere.
	TracingConfig string
	// SchedulerConfig says which plugins schedule the Pods of which schedulerName; empty: all plugins, those of default-scheduler.
	SchedulerConfig string
	scheduling      profile.Config // what is in it
	// Repo, Branch, Path and Interval describe the first Application; without a Repo there is none.
	Repo, Branch, Path string
	Interval           time.Duration
}

// Run runs the control plane until ctx ends. Started, unless nil, is called when the API answers and nodes can join: the token is in its file.
func Run(ctx context.Context, o Options, started func()) error {
	begin := time.Now()
	var err error
	if o.scheduling, err = profile.Load(o.SchedulerConfig); err != nil {
		return err
	}
	unlock, err := Lock(o.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	listener, err := server.Listen(o.BindAddress, o.Port)
	if err != nil {
		return err
	}
	defer listener.Close()
	advertise, err := o.advertise()
	if err != nil {
		return err
	}
	if err := noteLoss(o.DataDir); err != nil {
		return err
	}
	keys, err := pki.Open(filepath.Join(o.DataDir, "pki"))
	if err != nil {
		return err
	}
	port := listener.Addr().(*net.TCPAddr).Port
	if err := writeKubeconfig(filepath.Join(o.DataDir, "admin.kubeconfig"), keys, fmt.Sprintf("https://%s", netip.AddrPortFrom(advertise, uint16(port)))); err != nil {
		return err
	}
	webhooks, engine := &lateHandler{}, &atomic.Pointer[gitops.Engine]{}
	api, err := server.New(ctx, server.Config{
		EtcdDir: etcdDir(o.DataDir), PKI: keys, Listener: listener, Advertise: []netip.Addr{advertise}, Names: o.Names,
		ServiceCIDRs: o.ServiceCIDRs, ClusterDNS: o.ClusterDNS, EncryptionConfig: o.EncryptionConfig, Audit: o.Audit,
		Authentication: o.Authentication, Authorization: o.Authorization, TracingConfig: o.TracingConfig, Handlers: map[string]http.Handler{"/webhook/": webhooks},
		Where: func(namespace, application string, ref v1alpha1.ObjectRef, field string) (string, int) {
			if e := engine.Load(); e != nil {
				return e.Where(namespace, application, ref, field)
			}
			return "", 0
		},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var components sync.WaitGroup
	components.Go(func() {
		select {
		case <-api.Ready():
			slog.Info("the API is ready", "address", listener.Addr().String(), "after", time.Since(begin).Round(time.Millisecond))
		case <-ctx.Done():
		}
	})
	components.Go(func() {
		if err := runComponents(ctx, api, webhooks, engine, keys, o, netip.AddrPortFrom(advertise, uint16(port)), started); err != nil && ctx.Err() == nil {
			cancel(err)
		}
	})
	if os.Getenv("GOGC") == "" {
		resident.Pace(heapBudget)
	}
	release := time.AfterFunc(settled, resident.ReleaseProgram)
	defer release.Stop()
	err = api.Run(ctx)
	cancel(nil)
	components.Wait()
	if err == nil {
		err = failure(ctx)
	}
	return err
}

// heapBudget is what the heap may grow to under load as long as less of it is live.
const heapBudget = 256 << 20

// settled is when starting is over, and with it the need for most of the program's text that starting touched.
const settled = 20 * time.Second

// runComponents runs everything that is a client of the API, and returns when ctx has ended and all have stopped, or when one cannot start.
func runComponents(ctx context.Context, api *server.Server, webhooks *lateHandler, known *atomic.Pointer[gitops.Engine], keys *pki.PKI, o Options, endpoint netip.AddrPort, started func()) error {
	config := rest.CopyConfig(api.ClientConfig())
	config.ContentType = runtime.ContentTypeProtobuf
	config.UserAgent = "gitopsd-controllers"
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	meta, err := metadata.NewForConfig(config)
	if err != nil {
		return err
	}
	factory := api.Informers()
	events := record.NewBroadcaster(record.WithContext(ctx))
	defer events.Shutdown()
	events.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: client.CoreV1().Events("")})
	recorder := events.NewRecorder(registry.ExternalScheme, corev1.EventSource{Component: "gitopsd"})

	engine, err := gitops.New(gitops.Config{RESTConfig: api.ClientConfig(), DataDir: o.DataDir, Events: recorder, DeletedBy: api.Deletions().Who})
	if err != nil {
		return fmt.Errorf("start the GitOps engine: %w", err)
	}
	webhooks.set(engine.WebhookHandler())
	known.Store(engine)

	settled, err := afterLoss(ctx, api, client, etcdDir(o.DataDir))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	sched := scheduler.New(client, factory, recorder, o.scheduling)
	wg.Go(func() {
		err := controllers.Run(ctx, controllers.Config{
			Client: client, Metadata: meta, Discovery: client.Discovery(), REST: api.ClientConfig(), Informers: factory, Events: recorder,
			CACertificate: keys.CA, CAKey: keys.CAKey, SignToken: api.SignLegacyToken, ClusterCIDRs: o.ClusterCIDRs, ServiceCIDRs: o.ServiceCIDRs,
			KubernetesIP: clusterip.At(o.ServiceCIDRs[0], 1), Advertise: []netip.Addr{endpoint.Addr()}, AdvertisePort: int32(endpoint.Port()),
			ClusterDNS: o.ClusterDNS, ClusterDomain: o.ClusterDomain, Settled: settled,
			NodeMonitorGracePeriod: o.NodeMonitorGracePeriod, NodeRates: o.NodeRates, LoadBalancers: o.LoadBalancers, ACME: o.ACME, Scheduling: o.scheduling,
		})
		if err != nil {
			cancel(fmt.Errorf("start the controllers: %w", err))
		}
	})
	wg.Go(func() { sched.Run(ctx) })
	wg.Go(func() { engine.Run(ctx) })
	// Webhooks, API servers in Pods and proxied requests are gone to directly: this host runs no Service proxy, and may be no node.
	wg.Go(func() {
		if err := network.KeepRoutes(ctx, factory.Core().V1().Nodes()); err != nil {
			slog.Warn("the API server cannot reach Pods: webhooks and API servers in them, and proxied requests, will fail; it needs CAP_NET_ADMIN to set routes", "err", err)
		}
	})

	select {
	case <-api.Ready():
	case <-ctx.Done():
		return failure(ctx)
	}
	if err := ensureNodeToken(ctx, client, keys, filepath.Join(o.DataDir, "node-token")); err != nil {
		return err
	}
	if started != nil {
		started()
	}
	if o.Repo != "" {
		if err := gitops.EnsureRoot(ctx, api.ClientConfig(), o.root()); err != nil {
			return fmt.Errorf("create the first Application: %w", err)
		}
	}
	<-ctx.Done()
	return failure(ctx)
}

// failure is why ctx ended, if not because somebody asked for it.
func failure(ctx context.Context) error {
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func (o Options) root() *v1alpha1.Application {
	return &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "root", Namespace: v1alpha1.SystemNamespace},
		Spec: v1alpha1.ApplicationSpec{
			Source:   v1alpha1.Source{RepoURL: repoURL(o.Repo), Ref: v1alpha1.Ref{Branch: o.Branch}, Path: o.Path},
			Interval: &metav1.Duration{Duration: o.Interval},
		},
	}
}

// repoURL is the URL of a repository that may be given as a folder on this host.
func repoURL(repo string) string {
	if filepath.IsAbs(repo) {
		return (&url.URL{Scheme: "file", Path: repo}).String()
	}
	return repo
}

// advertise is the address that nodes are told.
func (o Options) advertise() (netip.Addr, error) {
	for _, text := range []string{o.Advertise, o.BindAddress} {
		if text == "" {
			continue
		}
		a, err := netip.ParseAddr(text)
		if err != nil {
			return a, fmt.Errorf("address %q: %w", text, err)
		}
		if !a.IsUnspecified() {
			return a, nil
		}
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this host's address: %w", err)
	}
	loopback := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err == nil && p.Addr().Is4() && !p.Addr().IsLoopback() && !p.Addr().IsLinkLocalUnicast() {
			return p.Addr(), nil
		}
	}
	return loopback, nil
}

// lateHandler serves once its handler is set, and says "try again" before.
type lateHandler struct {
	mu sync.RWMutex
	h  http.Handler
}

func (l *lateHandler) set(h http.Handler) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.h = h
}

func (l *lateHandler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	l.mu.RLock()
	h := l.h
	l.mu.RUnlock()
	if h == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "gitopsd is starting", http.StatusServiceUnavailable)
		return
	}
	h.ServeHTTP(w, r)
}

package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"

	"github.com/gitopsd/gitopsd/internal/controlplane/admission"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authentication"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authorization"
	"github.com/gitopsd/gitopsd/internal/controlplane/deletions"
	"github.com/gitopsd/gitopsd/internal/controlplane/encryption"
	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
	"github.com/gitopsd/gitopsd/internal/dns/records"
)

// Config says where the API server keeps its state and where it serves.
type Config struct {
	// EtcdDir is the data directory of the embedded etcd.
	EtcdDir string
	// PKI holds the cluster's keys.
	PKI *pki.PKI
	// Listener is where the API is served; it is closed when the server stops.
	Listener net.Listener
	// Advertise are the addresses under which nodes and Pods reach the API server.
	Advertise []netip.Addr
	// Names are further names and addresses for the server's certificate.
	Names []string
	// ServiceCIDRs is where cluster IPs come from at first: a range of one family, or one of each. The first is that of Services which ask for no family.
	ServiceCIDRs []netip.Prefix
	// ClusterDNS is one of them that is kept for the Service kube-system/kube-dns; invalid: none is.
	ClusterDNS netip.Addr
	// EncryptionConfig is the file that says how stored objects are encrypted (Kubernetes' EncryptionConfiguration); empty: Secrets are, with a key of their own.
	EncryptionConfig string
	// Audit is the log of requests.
	Audit Audit
	// Authentication says whose tokens are believed besides the cluster's own, Authorization who decides what a user may do.
	Authentication authentication.Options
	Authorization  authorization.Options
	// TracingConfig is the file that says where spans of requests are sent (Kubernetes' TracingConfiguration); empty: nowhere.
	TracingConfig string
	// Where says where in Git a field is set, for the refusals of Applications that deny drift; nil knows of none.
	Where admission.Where
	// Handlers are served besides the API, by path prefix, without authentication: each must check its requests itself.
	Handlers map[string]http.Handler
}

// Server is an API server with its storage.
type Server struct {
	front     *aggregatorapiserver.APIAggregator
	informers informers.SharedInformerFactory
	member    *etcd.Member
	storage   *registry.Storage
	registry  *registry.Registry
	keys      *encryption.Keys
	tokens    *auth.Tokens
	transport *inProcess
	deletions *deletions.Memory
	token     string
	ready     chan struct{}
	// known is closed when all paths are served that will be, custom resources included.
	known  chan struct{}
	access *access
}

// New starts the storage and assembles the server. Nothing is served before Run.
func New(ctx context.Context, cfg Config) (_ *Server, err error) {
	s := &Server{transport: newInProcess(), deletions: deletions.New(), ready: make(chan struct{}), known: make(chan struct{})}
	if s.member, err = etcd.Start(ctx, cfg.EtcdDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.member.Close()
		}
	}()
	tracer, err := newTracer(ctx, cfg.TracingConfig, cfg.Listener.Addr().String(), s.member)
	if err != nil {
		return nil, err
	}
	if s.keys, err = openKeys(cfg); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.keys.Close()
		}
	}()
	s.storage = registry.NewStorage(s.member.Client(), s.keys.Transformer)
	if s.token, err = randomToken(); err != nil {
		return nil, err
	}
	if s.tokens, err = auth.NewTokens(cfg.PKI.ServiceAccountKey); err != nil {
		return nil, err
	}
	nodeCert, err := cfg.PKI.ClientTLS("system:gitopsd:apiserver", user.SystemPrivilegedGroup)
	if err != nil {
		return nil, err
	}
	client, err := s.client()
	if err != nil {
		return nil, err
	}
	s.informers = registry.NewInformers(client, func() *registry.Registry { return s.registry })
	access := newAccess(s.informers)
	s.access = access
	allocator := registry.NewAllocator(s.member.Client(), cfg.ServiceCIDRs)
	if cfg.ClusterDNS.IsValid() {
		allocator.Reserve(cfg.ClusterDNS, records.ServiceNamespace, records.ServiceName)
	}
	nodes := registry.NewNodeClient(nodeCert, cfg.PKI.Pool())
	reg, err := registry.New(registry.Deps{
		Storage: s.storage, Nodes: nodes, Services: allocator, Tokens: s.tokens,
		Grants: access.grants, Access: access.reviews,
	})
	if err != nil {
		return nil, err
	}
	s.registry = reg
	reg.AddProxies(nodes)
	addUsage(reg, nodes)
	objects := objects{reg}
	s.tokens.Lookup(objects)

	generic, err := s.config(cfg)
	if err != nil {
		return nil, err
	}
	if err := cfg.Audit.apply(generic); err != nil {
		return nil, err
	}
	traceRequests(generic, tracer)
	generic.RESTOptionsGetter = s.storage
	generic.AddHealthChecks(healthz.NamedCheck("etcd", func(r *http.Request) error { return s.storage.Healthy(r.Context()) }))
	webhooks, err := newWebhooks(s.informers, &rest.Config{
		Host: "https://" + generic.ExternalAddress, BearerToken: generic.LoopbackClientConfig.BearerToken,
		TLSClientConfig: rest.TLSClientConfig{CAData: cfg.PKI.CAPEM()},
	}, generic.TracerProvider)
	if err != nil {
		return nil, err
	}
	if err := access.complete(ctx, s, cfg, generic.APIServerID, objects); err != nil {
		return nil, err
	}
	if err := access.install(generic, client, s.ClientConfig(), webhooks); err != nil {
		return nil, err
	}
	if err := installFairness(generic, client, s.informers); err != nil {
		return nil, err
	}
	if err := publishServiceCIDR(generic, client, cfg.ServiceCIDRs); err != nil {
		return nil, err
	}
	if s.front, err = s.chain(cfg, generic, reg, webhooks); err != nil {
		return nil, err
	}
	verifiers, err := s.tokens.Discovery(generic.ExternalAddress)
	if err != nil {
		return nil, err
	}
	for path, h := range verifiers {
		s.front.GenericAPIServer.Handler.NonGoRestfulMux.Handle(path, h)
	}
	// Nothing can be written before the server runs, so the claims cannot change between being read and being repaired.
	if err := reg.WaitReady(ctx); err != nil {
		return nil, err
	}
	if err := repairClaims(ctx, allocator, objects); err != nil {
		return nil, err
	}
	return s, nil
}

// ClientConfig is for components of this process: they are the system user, and their requests take no network.
func (s *Server) ClientConfig() *rest.Config { return s.clientConfig(s.token) }

func (s *Server) clientConfig(token string) *rest.Config {
	return &rest.Config{Host: "http://in-process", BearerToken: token, Transport: s.transport, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
}

// Informers are shared by everything in this process. The server starts them when it runs; who adds one later starts it again.
func (s *Server) Informers() informers.SharedInformerFactory { return s.informers }

// client is the typed client of the server's own informers.
func (s *Server) client() (kubernetes.Interface, error) {
	config := s.ClientConfig()
	config.ContentType, config.UserAgent = runtime.ContentTypeProtobuf, "gitopsd"
	return kubernetes.NewForConfig(config)
}

// SignLegacyToken makes the token of a Secret, which is good as long as the Secret holds it.
func (s *Server) SignLegacyToken(account *corev1.ServiceAccount, secret string) (string, error) {
	return s.tokens.Legacy(account, secret)
}

// Deletions says who deleted what lately.
func (s *Server) Deletions() *deletions.Memory { return s.deletions }

// Ready is closed when the API answers, and /readyz says so.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends or storage fails, and closes the storage.
func (s *Server) Run(ctx context.Context) error {
	defer s.member.Close()
	defer s.keys.Close()
	defer s.storage.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.member.Done():
			cancel(errors.New("the embedded etcd stopped; see its messages above"))
		case <-ctx.Done():
		}
	}()
	client, err := s.client()
	if err != nil {
		return err
	}
	s.front.GenericAPIServer.AddPostStartHookOrDie("ready", func(hook genericapiserver.PostStartHookContext) error {
		// Until then, requests for custom resources are told to try again.
		for _, complete := range s.front.GenericAPIServer.MuxAndDiscoveryCompleteSignals() {
			select {
			case <-complete:
			case <-hook.Done():
				return nil
			}
		}
		close(s.known)
		// Until then, nobody but administrators and nodes has rights.
		select {
		case <-s.access.ready:
		case <-hook.Done():
			return nil
		}
		go s.announce(hook, client.Discovery().RESTClient())
		return nil
	})
	s.front.GenericAPIServer.ShutdownTimeout = shutdownTimeout
	prepared, err := s.front.PrepareRun()
	if err != nil {
		return fmt.Errorf("prepare the API server: %w", err)
	}
	s.transport.serve(s.front.GenericAPIServer.Handler)
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	go s.stopWhenStarted(ctx, serving, stop)
	err = prepared.Run(serving)
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// announce closes ready once /readyz answers ok, which it does not before every hook has returned.
func (s *Server) announce(ctx context.Context, client rest.Interface) {
	if err := wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		_, err := client.Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	}); err == nil {
		close(s.ready)
	}
}

// stopWhenStarted calls stop when ctx has ended, but not before the definitions of custom resources are known: the library takes it for a
// failure to start when it is told to stop while it waits for them, and ends the process on the spot.
func (s *Server) stopWhenStarted(ctx, serving context.Context, stop func()) {
	defer stop()
	select {
	case <-ctx.Done():
	case <-serving.Done():
		return
	}
	for _, complete := range s.front.GenericAPIServer.MuxAndDiscoveryCompleteSignals() {
		select {
		case <-complete:
		case <-serving.Done():
			return
		case <-s.member.Done(): // then they never will be
			return
		case <-time.After(shutdownTimeout):
			return
		}
	}
}

func randomToken() (string, error) {
	b := make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return "", err
	}
	return hex.EncodeToString(b), nil
}

// Listen opens the API's port; the error names the address and says what to do when somebody else has it.
func Listen(address string, port int) (net.Listener, error) {
	at := net.JoinHostPort(address, strconv.Itoa(port))
	l, err := net.Listen("tcp", at)
	if err != nil {
		return nil, fmt.Errorf("cannot serve the API on %s: %w; stop the process that uses it or choose another with --https-port or --bind-address", at, err)
	}
	return l, nil
}

func repairClaims(ctx context.Context, a *registry.Allocator, o objects) error {
	services, err := o.Services(ctx)
	if err != nil {
		return err
	}
	freed, restored, err := a.Repair(ctx, services)
	if err != nil {
		return err
	}
	if freed+restored > 0 {
		slog.Info("repaired the claims of cluster IPs and node ports", "freed", freed, "restored", restored)
	}
	return nil
}

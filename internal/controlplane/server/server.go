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
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/server/healthz"
	"k8s.io/apiserver/pkg/util/compatibility"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/admission"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth"
	"github.com/gitopsd/gitopsd/internal/controlplane/deletions"
	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
	"github.com/gitopsd/gitopsd/internal/controlplane/openapi"
	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
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
	// ServiceCIDR is where cluster IPs come from.
	ServiceCIDR netip.Prefix
	// Handlers are served besides the API, by path prefix, without authentication: each must check its requests itself.
	Handlers map[string]http.Handler
}

// Server is an API server with its storage.
type Server struct {
	generic   *genericapiserver.GenericAPIServer
	member    *etcd.Member
	storage   *registry.Storage
	transport *inProcess
	deletions *deletions.Memory
	token     string
	ready     chan struct{}
}

const (
	// Requests of clients are bounded together; Kubernetes' own defaults.
	maxReads, maxWrites = 400, 200
	shutdownTimeout     = 5 * time.Second
)

// New starts the storage and assembles the server. Nothing is served before Run.
func New(ctx context.Context, cfg Config) (_ *Server, err error) {
	s := &Server{transport: newInProcess(), deletions: deletions.New(), ready: make(chan struct{})}
	if s.member, err = etcd.Start(ctx, cfg.EtcdDir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.member.Close()
		}
	}()
	s.storage = registry.NewStorage(s.member.Client())
	if s.token, err = randomToken(); err != nil {
		return nil, err
	}
	tokens, err := auth.NewTokens(cfg.PKI.ServiceAccountKey)
	if err != nil {
		return nil, err
	}
	nodeCert, err := cfg.PKI.ClientTLS("system:gitopsd:apiserver", user.SystemPrivilegedGroup)
	if err != nil {
		return nil, err
	}
	allocator := registry.NewAllocator(s.member.Client(), cfg.ServiceCIDR)
	reg, err := registry.New(registry.Deps{
		Storage: s.storage, Nodes: registry.NewNodeClient(nodeCert, cfg.PKI.Pool()), Services: allocator, Tokens: tokens,
	})
	if err != nil {
		return nil, err
	}
	objects := objects{reg}
	tokens.Lookup(objects.ServiceAccount, objects.Pod)

	generic, err := s.config(cfg)
	if err != nil {
		return nil, err
	}
	generic.Authentication.Authenticator = auth.Authenticators{
		ClientCA: cfg.PKI.Pool(), InProcess: s.token,
		User:    &user.DefaultInfo{Name: registry.SystemUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
		Secrets: objects.SystemSecret, Tokens: tokens,
	}.Request()
	generic.Authorization.Authorizer = (&auth.Authorizer{Nodes: objects}).Authorizer()
	generic.AdmissionControl = admission.Chain(objects)
	generic.RESTOptionsGetter = s.storage
	generic.AddReadyzChecks(healthz.NamedCheck("etcd", func(r *http.Request) error { return s.storage.Healthy(r.Context()) }))
	if s.generic, err = generic.Complete(nil).New("gitopsd", genericapiserver.NewEmptyDelegate()); err != nil {
		return nil, fmt.Errorf("assemble the API server: %w", err)
	}
	if err := reg.Install(s.generic); err != nil {
		return nil, fmt.Errorf("install the API: %w", err)
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

// config is the library's configuration apart from who may do what.
func (s *Server) config(cfg Config) (*genericapiserver.Config, error) {
	c := genericapiserver.NewConfig(registry.Codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	c.LegacyAPIGroupPrefixes = sets.NewString(genericapiserver.DefaultLegacyAPIPrefix)
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch"),
		sets.NewString("attach", "exec", "log", "portforward", "proxy"))
	c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight = maxReads, maxWrites
	c.EnableProfiling = false
	c.ShutdownDelayDuration = 0
	c.RequestTimeout = time.Minute
	c.StorageObjectCountTracker = nil
	build := c.BuildHandlerChainFunc
	c.BuildHandlerChainFunc = func(h http.Handler, gc *genericapiserver.Config) http.Handler {
		return unauthenticated(cfg.Handlers, build(s.deletions.Record(h), gc))
	}

	namer := openapinamer.NewDefinitionNamer(registry.ExternalScheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIConfig.Info.Title = "gitopsd"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	c.OpenAPIV3Config.Info.Title = "gitopsd"

	names := append([]string{"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", cfg.ServiceCIDR.Masked().Addr().Next().String()}, cfg.Names...)
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for _, a := range cfg.Advertise {
		names = append(names, a.String())
	}
	cert, key, err := cfg.PKI.Server(names)
	if err != nil {
		return nil, err
	}
	// The authority's certificate is sent along: a joining node knows only the hash of its key.
	serving, err := dynamiccertificates.NewStaticCertKeyContent("serving", append(cert, cfg.PKI.CAPEM()...), key)
	if err != nil {
		return nil, err
	}
	clients, err := dynamiccertificates.NewStaticCAContent("client-ca", cfg.PKI.CAPEM())
	if err != nil {
		return nil, err
	}
	c.SecureServing = &genericapiserver.SecureServingInfo{Listener: cfg.Listener, Cert: serving, ClientCA: clients, HTTP2MaxStreamsPerConnection: 1000}
	_, port, err := net.SplitHostPort(cfg.Listener.Addr().String())
	if err != nil {
		return nil, err
	}
	host := "localhost"
	if len(cfg.Advertise) > 0 {
		host = cfg.Advertise[0].String()
		c.PublicAddress = net.IP(cfg.Advertise[0].AsSlice())
	}
	c.ExternalAddress = net.JoinHostPort(host, port)
	// The library insists on a loopback client; its token is one that nobody knows.
	unused, err := randomToken()
	if err != nil {
		return nil, err
	}
	c.LoopbackClientConfig = s.clientConfig(unused)
	return c, nil
}

// ClientConfig is for components of this process: they are the system user, and their requests take no network.
func (s *Server) ClientConfig() *rest.Config { return s.clientConfig(s.token) }

func (s *Server) clientConfig(token string) *rest.Config {
	return &rest.Config{Host: "http://in-process", BearerToken: token, Transport: s.transport, QPS: -1,
		ContentConfig: rest.ContentConfig{ContentType: runtime.ContentTypeJSON}}
}

// Deletions says who deleted what lately.
func (s *Server) Deletions() *deletions.Memory { return s.deletions }

// Ready is closed when the API answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends or storage fails, and closes the storage.
func (s *Server) Run(ctx context.Context) error {
	defer s.member.Close()
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
	s.generic.AddPostStartHookOrDie("ready", func(genericapiserver.PostStartHookContext) error {
		close(s.ready)
		return nil
	})
	s.generic.ShutdownTimeout = shutdownTimeout
	prepared := s.generic.PrepareRun()
	s.transport.serve(s.generic.Handler)
	err := prepared.RunWithContext(ctx)
	if cause := context.Cause(ctx); err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// unauthenticated serves handlers that check their requests themselves, such as webhooks, before the chain that asks for a user.
func unauthenticated(handlers map[string]http.Handler, next http.Handler) http.Handler {
	if len(handlers) == 0 {
		return next
	}
	mux := http.NewServeMux()
	for prefix, h := range handlers {
		mux.Handle(prefix, h)
	}
	mux.Handle("/", next)
	return mux
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
	freed, restored, err := a.Repair(ctx, registry.Held(services))
	if err != nil {
		return err
	}
	if freed+restored > 0 {
		slog.Info("repaired the claims of cluster IPs and node ports", "freed", freed, "restored", restored)
	}
	return nil
}

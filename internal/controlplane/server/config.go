package server

import (
	"net"
	"net/http"
	"os"
	"time"

	apiextensionsscheme "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset/scheme"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	discovery "k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/apiserver/pkg/util/compatibility"
	apiregistrationscheme "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/scheme"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/controlplane/openapi"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

const (
	// Requests of clients are bounded together; Kubernetes' own defaults.
	maxReads, maxWrites = 400, 200
	shutdownTimeout     = 5 * time.Second
	readyPoll           = 5 * time.Millisecond // how often the server asks itself whether it is ready
)

// config is the library's configuration apart from who may do what.
func (s *Server) config(cfg Config) (*genericapiserver.Config, error) {
	c := genericapiserver.NewConfig(registry.Codecs)
	c.EffectiveVersion = compatibility.DefaultBuildEffectiveVersion()
	c.LegacyAPIGroupPrefixes = sets.NewString(genericapiserver.DefaultLegacyAPIPrefix)
	c.LongRunningFunc = genericfilters.BasicLongRunningRequestCheck(sets.NewString("watch"),
		sets.NewString("attach", "exec", "log", "portforward", "proxy"))
	c.MaxRequestsInFlight, c.MaxMutatingRequestsInFlight = maxReads, maxWrites
	c.EnableProfiling = true
	memberMetrics()
	c.ShutdownDelayDuration = 0
	c.RequestTimeout = time.Minute
	build := func(h http.Handler, gc *genericapiserver.Config) http.Handler { return filters(h, gc, s.known) }
	if cfg.TracingConfig != "" {
		build = c.BuildHandlerChainFunc
	}
	c.BuildHandlerChainFunc = func(h http.Handler, gc *genericapiserver.Config) http.Handler {
		return unauthenticated(cfg.Handlers, build(s.deletions.Record(s.registry.Note(h)), gc))
	}

	namer := openapinamer.NewDefinitionNamer(registry.ExternalScheme, apiextensionsscheme.Scheme, apiregistrationscheme.Scheme)
	c.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.Definitions, namer)
	c.OpenAPIConfig.Info.Title = "gitopsd"
	c.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.Definitions, namer)
	c.OpenAPIV3Config.Info.Title = "gitopsd"

	names := append([]string{"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local"}, cfg.Names...)
	for _, c := range cfg.ServiceCIDRs {
		names = append(names, clusterip.At(c, 1).String())
	}
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
	// The servers of the chain use this client for their own controllers; the library gives its token every right.
	loopback, err := randomToken()
	if err != nil {
		return nil, err
	}
	c.LoopbackClientConfig = s.clientConfig(loopback)
	c.LoopbackClientConfig.ContentType = runtime.ContentTypeProtobuf
	// One list of groups for the whole chain.
	c.AggregatedDiscoveryGroupManager = discovery.NewResourceManager("apis")
	return c, nil
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

package server

import (
	"fmt"

	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/util/notfoundhandler"
	"k8s.io/client-go/kubernetes"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"

	"github.com/gitopsd/gitopsd/internal/controlplane/aggregation"
	"github.com/gitopsd/gitopsd/internal/controlplane/extensions"
	"github.com/gitopsd/gitopsd/internal/controlplane/openapi"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
	"github.com/gitopsd/gitopsd/internal/controlplane/routing"
)

// chain builds the servers that a request passes until one knows its path: the aggregator, the built-in resources, custom resources, and one that
// knows nothing. Only the first authenticates, authorizes and limits.
func (s *Server) chain(cfg Config, generic *genericapiserver.Config, reg *registry.Registry, webhooks Webhooks) (*aggregatorapiserver.APIAggregator, error) {
	nothing := genericapiserver.NewEmptyDelegateWithCustomHandler(notfoundhandler.New(generic.Serializer, genericapifilters.NoMuxAndDiscoveryIncompleteKey))
	custom, err := extensions.New(extensions.Config{
		Generic: *generic, Informers: s.informers, Storage: s.storage, Services: webhooks.Services, Authentication: webhooks.Authentication,
	}, nothing)
	if err != nil {
		return nil, err
	}
	front := *generic
	generic.SkipOpenAPIInstallation = true
	core, err := generic.Complete(s.informers).New("gitopsd", custom.GenericAPIServer)
	if err != nil {
		return nil, fmt.Errorf("assemble the API server: %w", err)
	}
	core.Handler.GoRestfulContainer.Router(&routing.Memo{})
	if err := reg.Install(core); err != nil {
		return nil, fmt.Errorf("install the API: %w", err)
	}
	openapi.Publish(core.Handler.NonGoRestfulMux, core.Handler.GoRestfulContainer, front.OpenAPIConfig, front.OpenAPIV3Config)
	identity, err := cfg.PKI.FrontProxy()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(front.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	return aggregation.New(aggregation.Config{
		Generic: front, Informers: s.informers, Storage: s.storage, Services: webhooks.Services,
		ClientCA: cfg.PKI.CAPEM(), FrontProxy: identity, Client: client,
		Definitions: custom.Informers.Apiextensions().V1().CustomResourceDefinitions(),
	}, core)
}

package extensions

import (
	"fmt"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// replicas is how many API servers share the storage. With more than one, a CustomResourceDefinition is established five seconds late, so that
// all have heard of it.
const replicas = 1

// Config is what the server is made from.
type Config struct {
	// Generic is the configuration of the chain; it is copied.
	Generic   genericapiserver.Config
	Informers informers.SharedInformerFactory
	Storage   *registry.Storage
	// Services and Authentication lead to conversion webhooks.
	Services       webhook.ServiceResolver
	Authentication webhook.AuthenticationInfoResolverWrapper
}

// New makes the server; next answers what it does not know.
func New(c Config, next genericapiserver.DelegationTarget) (*apiextensionsapiserver.CustomResourceDefinitions, error) {
	generic := c.Generic
	generic.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	generic.RESTOptionsGetter = c.Storage.Foreign(v1.SchemeGroupVersion, apiextensionsapiserver.Codecs)
	generic.MergedResourceConfig = serverstorage.NewResourceConfig()
	generic.MergedResourceConfig.EnableVersions(v1.SchemeGroupVersion)
	config := apiextensionsapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: generic, SharedInformerFactory: c.Informers},
		ExtraConfig: apiextensionsapiserver.ExtraConfig{
			CRDRESTOptionsGetter: c.Storage.CustomResources(),
			MasterCount:          replicas,
			ServiceResolver:      c.Services,
			AuthResolverWrapper:  c.Authentication,
		},
	}
	s, err := config.Complete().New(next)
	if err != nil {
		return nil, fmt.Errorf("assemble the server of custom resources: %w", err)
	}
	return s, nil
}

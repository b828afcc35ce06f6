package aggregation

import (
	"fmt"

	apiextensionsinformers "k8s.io/apiextensions-apiserver/pkg/client/informers/externalversions/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	genericapiserver "k8s.io/apiserver/pkg/server"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	aggregatorapiserver "k8s.io/kube-aggregator/pkg/apiserver"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	apiregistrationclient "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/controllers/autoregister"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// Config is what the aggregator is made from.
type Config struct {
	// Generic is the configuration of the chain; it is copied.
	Generic   genericapiserver.Config
	Informers informers.SharedInformerFactory
	Storage   *registry.Storage
	// Services leads to API servers in Pods.
	Services webhook.ServiceResolver
	// ClientCA signs clients' certificates, FrontProxy is how API servers in Pods know this one; both are published to them through Client.
	ClientCA   []byte
	FrontProxy pki.FrontProxy
	Client     kubernetes.Interface
	// Definitions are watched for groups and versions to register.
	Definitions apiextensionsinformers.CustomResourceDefinitionInformer
}

// registrationWorkers write the APIServices of local groups, at the first start more than twenty of them.
const registrationWorkers = 5

// New makes the aggregator in front of next.
func New(c Config, next genericapiserver.DelegationTarget) (*aggregatorapiserver.APIAggregator, error) {
	generic := c.Generic
	generic.PostStartHooks = map[string]genericapiserver.PostStartHookConfigEntry{}
	generic.RESTOptionsGetter = c.Storage.Foreign(apiregistrationv1.SchemeGroupVersion, aggregatorscheme.Codecs)
	generic.MergedResourceConfig = serverstorage.NewResourceConfig()
	generic.MergedResourceConfig.EnableVersions(apiregistrationv1.SchemeGroupVersion)
	// The aggregator merges what the servers behind it publish and installs its own handler for it.
	generic.SkipOpenAPIInstallation = true
	config := aggregatorapiserver.Config{
		GenericConfig: &genericapiserver.RecommendedConfig{Config: generic, SharedInformerFactory: c.Informers},
		ExtraConfig: aggregatorapiserver.ExtraConfig{
			ProxyClientCertFile: c.FrontProxy.CertFile, ProxyClientKeyFile: c.FrontProxy.KeyFile,
			ServiceResolver: c.Services, RejectForwardingRedirects: true,
		},
	}
	s, err := config.Complete().NewWithDelegate(next)
	if err != nil {
		return nil, fmt.Errorf("assemble the aggregator: %w", err)
	}
	client, err := apiregistrationclient.NewForConfig(generic.LoopbackClientConfig)
	if err != nil {
		return nil, err
	}
	registration := autoregister.NewAutoRegisterController(s.APIRegistrationInformers.Apiregistration().V1().APIServices(), client)
	for _, gv := range localGroupVersions(next.ListedPaths()) {
		registration.AddAPIServiceToSyncOnStart(localAPIService(gv))
		p := priorityOf(gv)
		s.GenericAPIServer.AggregatedDiscoveryGroupManager.SetGroupVersionPriority(metav1.GroupVersion(gv), int(p.group), int(p.version))
	}
	published := newTrust(c.Client, c.Informers.Core().V1().ConfigMaps(), trustData(c.ClientCA, c.FrontProxy.CA))
	custom := newDefinitions(c.Definitions, registration)
	err = s.GenericAPIServer.AddPostStartHook("register-apiservices", func(ctx genericapiserver.PostStartHookContext) error {
		go published.run(ctx)
		// What is left over from an earlier run is judged once all definitions are known, and not before: their APIServices would be deleted.
		if !custom.first(ctx) {
			return nil
		}
		go custom.loop.Run(ctx, 1)
		go registration.Run(registrationWorkers, ctx.Done())
		return nil
	})
	return s, err
}

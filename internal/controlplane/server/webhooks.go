package server

import (
	"net/url"

	"go.opentelemetry.io/otel/trace"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/aggregation"
)

// Webhooks is how this process calls HTTPS servers that users name in API objects: admission webhooks, conversion webhooks, API servers in Pods.
// Whoever builds an admission plugin that calls out takes both parts from here.
type Webhooks struct {
	// Services finds the address of one of a Service's ready endpoints.
	Services webhook.ServiceResolver
	// Authentication says with which credentials a webhook is called: none, but for webhooks that this API server itself serves.
	Authentication webhook.AuthenticationInfoResolverWrapper
}

// newWebhooks reads Services and EndpointSlices from f. Self is the configuration by which this API server reaches itself over TLS.
func newWebhooks(f informers.SharedInformerFactory, self *rest.Config, tracer trace.TracerProvider) (Webhooks, error) {
	at, err := url.Parse(self.Host)
	if err != nil {
		return Webhooks{}, err
	}
	services, err := aggregation.NewServiceResolver(f, at)
	if err != nil {
		return Webhooks{}, err
	}
	return Webhooks{
		Services:       services,
		Authentication: webhook.NewDefaultAuthenticationInfoResolverWrapper(nil, nil, self, tracer),
	}, nil
}

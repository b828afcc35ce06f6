package authorization

import (
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	webhookutil "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/apiserver/plugin/pkg/authorizer/webhook"
	webhookmetrics "k8s.io/apiserver/plugin/pkg/authorizer/webhook/metrics"
	"k8s.io/client-go/rest"
)

// measured is what the API server counts of its webhooks: their answers and conditions, but not each HTTP request.
type measured struct {
	webhookmetrics.NoopRequestMetrics
	webhookmetrics.WebhookMetrics
	authorizationcel.MatcherMetrics
}

func (z *Authorization) webhook(a apiserver.AuthorizerConfiguration) (*webhook.WebhookAuthorizer, error) {
	w := a.Webhook
	client, err := connect(w.ConnectionInfo)
	if err != nil {
		return nil, err
	}
	client.Timeout = w.Timeout.Duration
	authorized, unauthorized := w.AuthorizedTTL.Duration, w.UnauthorizedTTL.Duration
	if !w.CacheAuthorizedRequests {
		authorized = 0
	}
	if !w.CacheUnauthorizedRequests {
		unauthorized = 0
	}
	onError := authorizer.DecisionNoOpinion
	if w.FailurePolicy == apiserver.FailurePolicyDeny {
		onError = authorizer.DecisionDeny
	}
	return webhook.New(client, w.SubjectAccessReviewVersion, authorized, unauthorized, *webhook.DefaultRetryBackoff(), onError, w.MatchConditions, a.Name,
		measured{WebhookMetrics: webhookmetrics.NewWebhookMetrics(), MatcherMetrics: authorizationcel.NewMatcherMetrics()}, z.compiler())
}

// connect reads how the webhook is reached. InClusterConfig is for API servers that run in Pods of the cluster that they ask.
func connect(c apiserver.WebhookConnectionInfo) (*rest.Config, error) {
	if c.Type == apiserver.AuthorizationWebhookConnectionInfoTypeInCluster {
		return rest.InClusterConfig()
	}
	return webhookutil.LoadKubeconfig(*c.KubeConfigFile, nil)
}

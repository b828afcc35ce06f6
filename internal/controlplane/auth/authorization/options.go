package authorization

import (
	"errors"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/apis/apiserver"
)

// Options say who decides besides the administrators' own right. By default nodes' rights and roles do.
type Options struct {
	// ConfigFile is an AuthorizationConfiguration (apiserver.config.k8s.io); it excludes Webhook.
	ConfigFile string
	Webhook    Webhook
}

// Webhook is a server that is asked about what nodes' rights and roles have no opinion of.
type Webhook struct {
	// ConfigFile is a kubeconfig whose cluster is the server.
	ConfigFile string
	// Version is that of the SubjectAccessReview it is sent: v1 or v1beta1.
	Version string
	// AuthorizedTTL and UnauthorizedTTL are how long an answer is believed; zero: not at all.
	AuthorizedTTL, UnauthorizedTTL time.Duration
}

// The defaults of the flags, as clients of kube-apiserver know them.
const (
	DefaultWebhookVersion  = "v1beta1"
	DefaultAuthorizedTTL   = 5 * time.Minute
	DefaultUnauthorizedTTL = 30 * time.Second
)

// The deciders that a configuration can name.
const (
	typeNode        apiserver.AuthorizerType = "Node"
	typeRBAC        apiserver.AuthorizerType = "RBAC"
	typeAlwaysAllow apiserver.AuthorizerType = "AlwaysAllow"
	typeAlwaysDeny  apiserver.AuthorizerType = "AlwaysDeny"
)

// webhookTimeout bounds a question to the webhook of the flags; a configuration file sets its own.
const webhookTimeout = 30 * time.Second

// Validate finds what is wrong with the options by themselves, without looking into any file.
func (o Options) Validate() error {
	w := o.Webhook
	if w.ConfigFile == "" {
		return nil
	}
	var errs []error
	if o.ConfigFile != "" {
		errs = append(errs, fmt.Errorf("--authorization-webhook-config-file %s and --authorization-config %s exclude each other; describe the webhook in the latter", w.ConfigFile, o.ConfigFile))
	}
	if w.Version != "v1" && w.Version != "v1beta1" {
		errs = append(errs, fmt.Errorf("--authorization-webhook-version: %q is no version of SubjectAccessReview; choose v1 or v1beta1", w.Version))
	}
	if w.AuthorizedTTL < 0 {
		errs = append(errs, fmt.Errorf("--authorization-webhook-cache-authorized-ttl: %s is negative", w.AuthorizedTTL))
	}
	if w.UnauthorizedTTL < 0 {
		errs = append(errs, fmt.Errorf("--authorization-webhook-cache-unauthorized-ttl: %s is negative", w.UnauthorizedTTL))
	}
	return errors.Join(errs...)
}

// configuration is what the flags mean.
func (o Options) configuration() *apiserver.AuthorizationConfiguration {
	c := &apiserver.AuthorizationConfiguration{Authorizers: []apiserver.AuthorizerConfiguration{{Type: typeNode, Name: "node"}, {Type: typeRBAC, Name: "rbac"}}}
	if w := o.Webhook; w.ConfigFile != "" {
		c.Authorizers = append(c.Authorizers, apiserver.AuthorizerConfiguration{Type: apiserver.TypeWebhook, Name: "default", Webhook: &apiserver.WebhookConfiguration{
			AuthorizedTTL: metav1.Duration{Duration: w.AuthorizedTTL}, CacheAuthorizedRequests: w.AuthorizedTTL > 0,
			UnauthorizedTTL: metav1.Duration{Duration: w.UnauthorizedTTL}, CacheUnauthorizedRequests: w.UnauthorizedTTL > 0,
			Timeout: metav1.Duration{Duration: webhookTimeout}, SubjectAccessReviewVersion: w.Version, FailurePolicy: apiserver.FailurePolicyNoOpinion,
			ConnectionInfo: apiserver.WebhookConnectionInfo{Type: apiserver.AuthorizationWebhookConnectionInfoTypeKubeConfigFile, KubeConfigFile: &w.ConfigFile},
		}})
	}
	return c
}

package main

import (
	"github.com/spf13/pflag"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authentication"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authorization"
	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

// registerAccess adds the flags that say whose tokens are believed and who decides what they may; names and defaults are those of kube-apiserver.
func registerAccess(flags *pflag.FlagSet, o *serve.Options) {
	flags.StringVar(&o.Authentication.ConfigFile, "authentication-config", "", "AuthenticationConfiguration file: issuers of tokens, and what is open to everybody; followed while running")
	oidc := &o.Authentication.OIDC
	flags.StringVar(&oidc.IssuerURL, "oidc-issuer-url", "", "OpenID Connect issuer whose tokens are believed (https)")
	flags.StringVar(&oidc.ClientID, "oidc-client-id", "", "audience that tokens of the issuer must have")
	flags.StringVar(&oidc.UsernameClaim, "oidc-username-claim", authentication.DefaultUsernameClaim, "claim that names the user")
	flags.StringVar(&oidc.UsernamePrefix, "oidc-username-prefix", "", "what comes before the user's name; - for nothing (default: the issuer's URL and #, unless the claim is email)")
	flags.StringVar(&oidc.GroupsClaim, "oidc-groups-claim", "", "claim that names the user's groups")
	flags.StringVar(&oidc.GroupsPrefix, "oidc-groups-prefix", "", "what comes before the names of groups")
	flags.StringVar(&oidc.CAFile, "oidc-ca-file", "", "certificates by which the issuer's is verified (default: those of this host)")
	flags.StringToStringVar(&oidc.RequiredClaims, "oidc-required-claim", nil, "claim=value that a token must have; may be repeated")
	flags.StringSliceVar(&oidc.SigningAlgs, "oidc-signing-algs", []string{authentication.DefaultSigningAlg}, "algorithms that the issuer may sign with")

	tokens := &o.Authentication.Webhook
	flags.StringVar(&tokens.ConfigFile, "authentication-token-webhook-config-file", "", "kubeconfig of a server that is asked about tokens that nobody else knows")
	flags.StringVar(&tokens.Version, "authentication-token-webhook-version", authentication.DefaultWebhookVersion, "version of the TokenReview it is sent: v1 or v1beta1")
	flags.DurationVar(&tokens.CacheTTL, "authentication-token-webhook-cache-ttl", authentication.DefaultWebhookTTL, "how long its answers are believed")

	flags.StringVar(&o.Authorization.ConfigFile, "authorization-config", "", "AuthorizationConfiguration file: who decides, in order; followed while running (default: Node, RBAC)")
	decider := &o.Authorization.Webhook
	flags.StringVar(&decider.ConfigFile, "authorization-webhook-config-file", "", "kubeconfig of a server that is asked when neither a node's rights nor roles decide")
	flags.StringVar(&decider.Version, "authorization-webhook-version", authorization.DefaultWebhookVersion, "version of the SubjectAccessReview it is sent: v1 or v1beta1")
	flags.DurationVar(&decider.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", authorization.DefaultAuthorizedTTL, "how long it is believed that something is allowed")
	flags.DurationVar(&decider.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", authorization.DefaultUnauthorizedTTL, "how long it is believed that something is not allowed")
}

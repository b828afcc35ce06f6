package authentication

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"
	"k8s.io/utils/ptr"
)

// Options say whose tokens are believed besides the cluster's own.
type Options struct {
	// ConfigFile is an AuthenticationConfiguration (apiserver.config.k8s.io); it excludes OIDC.
	ConfigFile string
	OIDC       OIDC
	Webhook    Webhook
}

// OIDC describes one issuer by flags.
type OIDC struct {
	IssuerURL, ClientID string
	// UsernameClaim is the claim that names the user. UsernamePrefix comes before it: by default the issuer's URL and "#", unless the claim is email; "-" is
	// none.
	UsernameClaim, UsernamePrefix string
	GroupsClaim, GroupsPrefix     string
	// CAFile holds the certificates that the issuer's is verified by; empty: those of this host.
	CAFile         string
	RequiredClaims map[string]string
	SigningAlgs    []string
}

// Webhook is a server that is asked about tokens that nobody else knows.
type Webhook struct {
	// ConfigFile is a kubeconfig whose cluster is the server.
	ConfigFile string
	// Version is that of the TokenReview it is sent: v1 or v1beta1.
	Version string
	// CacheTTL is how long an answer is believed.
	CacheTTL time.Duration
}

// The defaults of the flags, as clients of kube-apiserver know them.
const (
	DefaultUsernameClaim  = "sub"
	DefaultSigningAlg     = "RS256"
	DefaultWebhookVersion = "v1beta1"
	DefaultWebhookTTL     = 2 * time.Minute
)

// Validate finds what is wrong with the options by themselves, without looking into any file.
func (o Options) Validate() error {
	return errors.Join(o.OIDC.validate(o.ConfigFile), o.Webhook.validate())
}

func (o OIDC) validate(configFile string) error {
	if o.IssuerURL == "" && o.ClientID == "" {
		if o.CAFile != "" || o.GroupsClaim != "" || o.UsernamePrefix != "" || o.GroupsPrefix != "" || len(o.RequiredClaims) > 0 {
			return errors.New("the --oidc-… flags describe an issuer, but --oidc-issuer-url and --oidc-client-id are missing")
		}
		return nil
	}
	switch {
	case configFile != "":
		return fmt.Errorf("--oidc-issuer-url %s and --authentication-config %s exclude each other; describe the issuer in the file, under jwt", o.IssuerURL, configFile)
	case o.IssuerURL == "":
		return fmt.Errorf("--oidc-client-id %s needs --oidc-issuer-url: whose tokens are for this client", o.ClientID)
	case o.ClientID == "":
		return fmt.Errorf("--oidc-issuer-url %s needs --oidc-client-id: the audience that tokens for this cluster have", o.IssuerURL)
	}
	for _, alg := range o.SigningAlgs {
		if known := oidc.AllValidSigningAlgorithms(); !slices.Contains(known, alg) {
			return fmt.Errorf("--oidc-signing-algs: %q is not known; choose from %v", alg, known)
		}
	}
	return nil
}

func (w Webhook) validate() error {
	if w.ConfigFile == "" {
		return nil
	}
	if w.Version != "v1" && w.Version != "v1beta1" {
		return fmt.Errorf("--authentication-token-webhook-version: %q is no version of TokenReview; choose v1 or v1beta1", w.Version)
	}
	if w.CacheTTL < 0 {
		return fmt.Errorf("--authentication-token-webhook-cache-ttl: %s is negative", w.CacheTTL)
	}
	return nil
}

// configuration is what the flags mean.
func (o OIDC) configuration() (*apiserver.AuthenticationConfiguration, error) {
	if o.IssuerURL == "" {
		return &apiserver.AuthenticationConfiguration{}, nil
	}
	prefix := o.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && o.UsernameClaim != "email":
		prefix = o.IssuerURL + "#"
	}
	jwt := apiserver.JWTAuthenticator{
		Issuer: apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{
			Username: apiserver.PrefixedClaimOrExpression{Claim: o.UsernameClaim, Prefix: &prefix},
		},
	}
	if o.GroupsClaim != "" {
		jwt.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Claim: o.GroupsClaim, Prefix: ptr.To(o.GroupsPrefix)}
	}
	for claim, value := range o.RequiredClaims {
		jwt.ClaimValidationRules = append(jwt.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("--oidc-ca-file: %w", err)
		}
		jwt.Issuer.CertificateAuthority = string(ca)
	}
	return &apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{jwt}}, nil
}

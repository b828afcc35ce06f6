package authentication

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/server/options/authenticationconfig/metrics"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/reload"
)

const (
	// A changed configuration is in force when all of its issuers have shown their keys; it is tried again when they have not after this long.
	issuersAnswer = time.Minute
	issuersAsked  = 100 * time.Millisecond
	// Requests that began under the old configuration may still need its keys.
	oldKeysStay = time.Minute
)

// Cluster is what must be known of the cluster that the tokens are for.
type Cluster struct {
	// Issuer is who signs the cluster's own tokens; it is also the audience of a token that names none.
	Issuer string
	// ServerID is the API server's name in metrics.
	ServerID string
	// Anonymous are the paths that are open to everybody unless the configuration says otherwise.
	Anonymous []apiserver.AnonymousAuthCondition
}

// Authentication judges tokens, and requests that carry no credential, by the configuration in force.
type Authentication struct {
	cluster Cluster
	algs    []string
	webhook authenticator.Token
	inForce atomic.Pointer[issuers]
}

// issuers are the parts of one configuration.
type issuers struct {
	tokens    authenticator.Token
	healthy   func() error
	anonymous authenticator.Request
	cancel    context.CancelFunc
}

// New reads the configuration and begins to fetch the issuers' keys, and to follow the file; both end with ctx. A configuration that is wrong is an error, an issuer
// that does not answer is not.
func New(ctx context.Context, o Options, c Cluster) (*Authentication, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	a := &Authentication{cluster: c, algs: o.OIDC.SigningAlgs}
	var content []byte
	config, err := o.OIDC.configuration()
	if err != nil {
		return nil, err
	}
	if o.ConfigFile != "" {
		// Whichever algorithm an issuer signs with, the key that it publishes must fit it.
		a.algs = oidc.AllValidSigningAlgorithms()
		if content, err = os.ReadFile(o.ConfigFile); err != nil {
			return nil, fmt.Errorf("--authentication-config: %w", err)
		}
		if config, err = load(content, []string{c.Issuer}); err != nil {
			return nil, fmt.Errorf("--authentication-config %s: %w", o.ConfigFile, err)
		}
	} else if len(config.JWT) > 0 {
		if err := validate(config, []string{c.Issuer}); err != nil {
			return nil, fmt.Errorf("the --oidc-… flags: %w", err)
		}
	}
	first, err := a.issuers(ctx, config)
	if err != nil {
		return nil, err
	}
	a.inForce.Store(first)
	if a.webhook, err = o.Webhook.token(c); err != nil {
		first.cancel()
		return nil, err
	}
	if o.ConfigFile != "" {
		metrics.RegisterMetrics()
		metrics.RecordAuthenticationConfigLastConfigInfo(c.ServerID, string(content))
		file := reload.File{
			Path: o.ConfigFile, Flag: "--authentication-config", Content: content, Apply: a.apply,
			Applied: func(content []byte) {
				metrics.RecordAuthenticationConfigAutomaticReloadSuccess(c.ServerID, string(content))
			},
			Refused: func() { metrics.RecordAuthenticationConfigAutomaticReloadFailure(c.ServerID) },
		}
		go file.Follow(ctx)
	}
	return a, nil
}

// issuers makes the authenticators of a configuration that is valid. They end with ctx.
func (a *Authentication) issuers(ctx context.Context, config *apiserver.AuthenticationConfiguration) (*issuers, error) {
	ctx, cancel := context.WithCancel(ctx)
	var tokens []authenticator.Token
	var checks []func() error
	for _, jwt := range config.JWT {
		o := oidc.Options{
			JWTAuthenticator: jwt, SupportedSigningAlgs: a.algs, DisallowedIssuers: []string{a.cluster.Issuer}, APIServerID: a.cluster.ServerID,
		}
		if jwt.Issuer.CertificateAuthority != "" {
			o.CAContentProvider = bundle(jwt.Issuer.CertificateAuthority)
		}
		t, err := oidc.New(ctx, o)
		if err != nil {
			cancel()
			return nil, fmt.Errorf("issuer %s: %w", jwt.Issuer.URL, err)
		}
		tokens, checks = append(tokens, t), append(checks, t.HealthCheck)
	}
	conditions, open := a.cluster.Anonymous, true
	if config.Anonymous != nil {
		conditions, open = config.Anonymous.Conditions, config.Anonymous.Enabled
	}
	out := &issuers{
		tokens: authenticator.WrapAudienceAgnosticToken(authenticator.Audiences{a.cluster.Issuer}, tokenunion.NewFailOnError(tokens...)),
		cancel: cancel,
		healthy: func() error {
			var errs []error
			for _, check := range checks {
				errs = append(errs, check())
			}
			return errors.Join(errs...)
		},
	}
	if open {
		out.anonymous = anonymous.NewAuthenticator(conditions)
	}
	return out, nil
}

// bundle is a set of certificates that does not change; a change of the configuration makes another.
type bundle string

func (b bundle) CurrentCABundleContent() []byte { return []byte(b) }

// apply puts a changed configuration in force once its issuers answer: those that it shares with the old one would otherwise be unknown for a while.
func (a *Authentication) apply(ctx context.Context, content []byte) error {
	config, err := load(content, []string{a.cluster.Issuer})
	if err != nil {
		return err
	}
	next, err := a.issuers(ctx, config)
	if err != nil {
		return err
	}
	err = wait.PollUntilContextTimeout(ctx, issuersAsked, issuersAnswer, true, func(context.Context) (bool, error) { return next.healthy() == nil, nil })
	if err != nil {
		next.cancel()
		return errors.Join(err, next.healthy())
	}
	time.AfterFunc(oldKeysStay, a.inForce.Swap(next).cancel)
	return nil
}

// AuthenticateToken implements authenticator.Token. A token of none of the issuers, or one that its issuer would not have signed, goes to the webhook, if
// there is one.
func (a *Authentication) AuthenticateToken(ctx context.Context, token string) (*authenticator.Response, bool, error) {
	response, ok, err := a.inForce.Load().tokens.AuthenticateToken(ctx, token)
	if ok || a.webhook == nil {
		return response, ok, err
	}
	response, ok, asked := a.webhook.AuthenticateToken(ctx, token)
	if ok {
		return response, true, nil
	}
	return nil, false, errors.Join(err, asked)
}

// AuthenticateRequest implements authenticator.Request for requests without any credential.
func (a *Authentication) AuthenticateRequest(req *http.Request) (*authenticator.Response, bool, error) {
	open := a.inForce.Load().anonymous
	if open == nil {
		return nil, false, nil
	}
	return open.AuthenticateRequest(req)
}

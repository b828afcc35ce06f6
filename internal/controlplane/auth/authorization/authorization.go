package authorization

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	authorizationmetrics "k8s.io/apiserver/pkg/authorization/metrics"
	"k8s.io/apiserver/pkg/authorization/union"
	"k8s.io/apiserver/pkg/server/options/authorizationconfig/metrics"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/reload"
)

// Deciders are those that the API server brings.
type Deciders struct {
	// First is asked before anything that a configuration names.
	First authorizer.AuthorizerFunc
	// Node and RBAC are what a configuration means by these types; Rules are the rules that RBAC goes by.
	Node, RBAC authorizer.AuthorizerFunc
	Rules      authorizer.RuleResolver
	// ServerID is the API server's name in metrics.
	ServerID string
}

// Authorization asks the deciders of the configuration in force.
type Authorization struct {
	deciders Deciders
	// compiler is made when the first condition has to be compiled: it takes megabytes.
	compiler func() authorizationcel.Compiler
	inForce  atomic.Pointer[chain]
}

var _ authorizer.RuleResolver = (*Authorization)(nil)

// chain is one configuration: deciders in order, and the rules that they know.
type chain struct {
	links []link
	rules authorizer.RuleResolver
}

type link struct {
	name string
	authorizer.Authorizer
}

// New reads the configuration, and follows its file until ctx ends. A configuration that is wrong is an error, a webhook that does not answer is not.
func New(ctx context.Context, o Options, d Deciders) (*Authorization, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	z := &Authorization{deciders: d, compiler: sync.OnceValue(authorizationcel.NewDefaultCompiler)}
	if o.ConfigFile == "" {
		first, err := z.chain(o.configuration())
		if err != nil {
			return nil, fmt.Errorf("--authorization-webhook-config-file %s: %w", o.Webhook.ConfigFile, err)
		}
		z.inForce.Store(first)
		return z, nil
	}
	content, err := os.ReadFile(o.ConfigFile)
	if err != nil {
		return nil, fmt.Errorf("--authorization-config: %w", err)
	}
	if err := z.apply(ctx, content); err != nil {
		return nil, fmt.Errorf("--authorization-config %s: %w", o.ConfigFile, err)
	}
	metrics.RegisterMetrics()
	metrics.RecordAuthorizationConfigLastConfigInfo(d.ServerID, string(content))
	file := reload.File{
		Path: o.ConfigFile, Flag: "--authorization-config", Content: content, Apply: z.apply,
		Applied: func(content []byte) {
			metrics.RecordAuthorizationConfigAutomaticReloadSuccess(d.ServerID, string(content))
		},
		Refused: func() { metrics.RecordAuthorizationConfigAutomaticReloadFailure(d.ServerID) },
	}
	go file.Follow(ctx)
	return z, nil
}

func (z *Authorization) apply(_ context.Context, content []byte) error {
	config, err := read(content, z.compiler())
	if err != nil {
		return err
	}
	next, err := z.chain(config)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(config.Authorizers, func(a apiserver.AuthorizerConfiguration) bool { return a.Type == typeNode }) {
		slog.Warn("the authorization configuration has no authorizer of type Node: nodes can join and work only where another one allows it")
	}
	z.inForce.Store(next)
	return nil
}

// chain makes the deciders of a configuration.
func (z *Authorization) chain(config *apiserver.AuthorizationConfiguration) (*chain, error) {
	c := &chain{links: []link{{"privileged", z.deciders.First}}}
	var rules []authorizer.RuleResolver
	for _, a := range config.Authorizers {
		var decider authorizer.Authorizer
		switch a.Type {
		case typeNode:
			decider = z.deciders.Node
		case typeRBAC:
			decider = z.deciders.RBAC
			rules = append(rules, z.deciders.Rules)
		case typeAlwaysAllow:
			always := authorizerfactory.NewAlwaysAllowAuthorizer()
			decider, rules = always, append(rules, always)
		case typeAlwaysDeny:
			always := authorizerfactory.NewAlwaysDenyAuthorizer()
			decider, rules = always, append(rules, always)
		case apiserver.TypeWebhook:
			w, err := z.webhook(a)
			if err != nil {
				return nil, fmt.Errorf("authorizer %s: %w", a.Name, err)
			}
			decider, rules = w, append(rules, w)
		}
		c.links = append(c.links, link{a.Name, authorizationmetrics.InstrumentedAuthorizer(string(a.Type), a.Name, decider)})
	}
	c.rules = union.NewRuleResolvers(rules...)
	return c, nil
}

// Authorizer returns z in the form that the library takes.
func (z *Authorization) Authorizer() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(z.Authorize)
}

// Authorize asks the deciders in order. The first that allows or denies has decided; when none does, the answer carries the reasons of all.
func (z *Authorization) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	var reasons []string
	var errs []error
	for _, l := range z.inForce.Load().links {
		decision, reason, err := l.Authorizer.Authorize(ctx, a)
		if err != nil {
			errs = append(errs, fmt.Errorf("authorizer %s: %w", l.name, err))
			if reason == "" {
				reason = fmt.Sprintf("the authorizer %s could not be asked", l.name)
			}
		}
		if decision != authorizer.DecisionNoOpinion {
			return decision, reason, err
		}
		if reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return authorizer.DecisionNoOpinion, strings.Join(reasons, "; "), errors.Join(errs...)
}

// ForRequests is z for the chain that requests pass. There an error would become a bare text with code 500; whoever asks gets a refusal with its reason instead,
// and the log gets the error.
func (z *Authorization) ForRequests() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(func(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		decision, reason, err := z.Authorize(ctx, a)
		if err != nil && ctx.Err() == nil {
			slog.Error("a request was judged without an authorizer that could not be asked", "user", a.GetUser().GetName(), "verb", a.GetVerb(),
				"resource", a.GetResource(), "path", a.GetPath(), "err", err)
		}
		return decision, reason, nil
	})
}

// RulesFor implements authorizer.RuleResolver; a webhook's rules are not known, so that the answer is then incomplete.
func (z *Authorization) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return z.inForce.Load().rules.RulesFor(ctx, u, namespace)
}

package server

import (
	"context"
	"log/slog"
	"time"

	"k8s.io/apiserver/pkg/authentication/user"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/gitopsd/gitopsd/internal/controlplane/admission"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authentication"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authorization"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/defaultroles"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/rbac"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// access is who may do what. Its parts ask each other (a review asks the authorizer, which asks for Pods in the registry, which holds the reviews), so they are
// made first and connected when all are there.
type access struct {
	rules   *rbac.Resolver
	grants  *rbac.Grants
	reviews *registry.Access
	// deciders are the rules and whoever else the configuration names.
	deciders *authorization.Authorization
	objects  objects
	where    admission.Where
	// informers are shared with the rest of the process.
	informers informers.SharedInformerFactory
	// ready is closed when the default roles count.
	ready chan struct{}
}

func newAccess(f informers.SharedInformerFactory) *access {
	rules := rbac.NewResolver(f)
	return &access{informers: f, ready: make(chan struct{}), rules: rules, grants: &rbac.Grants{Resolver: rules}, reviews: &registry.Access{}}
}

// complete connects the parts; nothing asks them before the server runs. What it starts ends with ctx.
func (a *access) complete(ctx context.Context, s *Server, cfg Config, serverID string, o objects) error {
	a.objects, a.where = o, cfg.Where
	foreign, err := authentication.New(ctx, cfg.Authentication, authentication.Cluster{Issuer: auth.Issuer, ServerID: serverID, Anonymous: auth.OpenPaths})
	if err != nil {
		return err
	}
	a.reviews.Authenticator = auth.Authenticators{
		ClientCA: cfg.PKI.Pool(), InProcess: s.token,
		User:    &user.DefaultInfo{Name: registry.SystemUser, Groups: []string{user.SystemPrivilegedGroup, user.AllAuthenticated}},
		Secrets: o.SystemSecret, Tokens: s.tokens, Foreign: foreign, Open: foreign,
	}.Request()
	nodes := &auth.Nodes{Graph: o}
	a.deciders, err = authorization.New(ctx, cfg.Authorization, authorization.Deciders{
		First: auth.Privileged, Node: nodes.Authorize, RBAC: a.rules.Authorize, Rules: a.rules, ServerID: serverID,
	})
	if err != nil {
		return err
	}
	a.reviews.Authorizer, a.reviews.Rules = a.deciders.Authorizer(), a.deciders
	a.grants.Authorizer = a.reviews.Authorizer
	return nil
}

// install puts authentication, authorization and admission into the server's configuration.
func (a *access) install(c *genericapiserver.Config, client kubernetes.Interface, self *rest.Config, webhooks Webhooks) error {
	c.Authentication.Authenticator = a.reviews.Authenticator
	c.Authorization.Authorizer = a.deciders.ForRequests()
	c.RuleResolver = a.deciders
	objects, err := dynamic.NewForConfig(self)
	if err != nil {
		return err
	}
	// It finds the kinds that policies take parameters from, and asks again about one that it does not know.
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(client.Discovery()))
	chain, err := admission.Chain(admission.Config{
		Objects: a.objects, Applications: a.objects, Where: a.where, Informers: a.informers, Client: client, Dynamic: objects, Mapper: mapper, Authorizer: a.reviews.Authorizer,
		Version: c.EffectiveVersion, Services: webhooks.Services, Authentication: webhooks.Authentication, Drained: c.DrainedNotify(),
	})
	if err != nil {
		return err
	}
	c.AdmissionControl = registry.WholeObjects(chain)
	for name, ensure := range map[string]func(context.Context) error{
		"scheduling/bootstrap-system-priority-classes": func(ctx context.Context) error { return ensurePriorityClasses(ctx, client) },
		"rbac/bootstrap-roles": func(ctx context.Context) error {
			if err := defaultroles.Ensure(client.CoreV1(), client.RbacV1()); err != nil {
				return err
			}
			// They count when the informers have seen them.
			if err := a.rules.Await(ctx, defaultroles.ClusterRoleBindings()); err != nil {
				return err
			}
			close(a.ready)
			return nil
		},
	} {
		if err := c.AddPostStartHook(name, untilDone(name, ensure)); err != nil {
			return err
		}
	}
	return nil
}

// again is the time between two attempts to make what every cluster has.
const again = time.Second

// untilDone repeats f until it succeeds or the server stops. The library ends the process when a hook fails.
func untilDone(name string, f func(context.Context) error) genericapiserver.PostStartHookFunc {
	return func(hook genericapiserver.PostStartHookContext) error {
		for {
			err := f(hook)
			if err == nil || hook.Err() != nil {
				return nil
			}
			slog.Error("the cluster lacks what it starts with; trying again", "step", name, "err", err)
			select {
			case <-time.After(again):
			case <-hook.Done():
				return nil
			}
		}
	}
}

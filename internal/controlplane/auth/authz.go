package auth

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Authorizer decides by what kind of user asks:
// the cluster's administrators may do everything, nodes what their Pods need, joining nodes may ask for a certificate, everybody who is
// known may look at what the API offers, and anonymous requests get the health checks.
type Authorizer struct {
	// Nodes tells what a node's Pods use.
	Nodes NodeGraph
}

// Authorizer returns z in the form that the library takes.
func (z *Authorizer) Authorizer() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(z.Authorize)
}

var (
	healthPaths    = []string{"/healthz", "/livez", "/readyz"}
	discoveryPaths = []string{"/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/version"}
)

// Authorize decides about one request and says why.
func (z *Authorizer) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionDeny, "there is no user", nil
	}
	groups := u.GetGroups()
	if slices.Contains(groups, user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	if !a.IsResourceRequest() {
		return authorizePath(groups, a)
	}
	switch {
	case slices.Contains(groups, GroupNodes):
		node, ok := nodeName(u.GetName())
		if !ok {
			return authorizer.DecisionDeny, fmt.Sprintf("%q is not the name of a node's user", u.GetName()), nil
		}
		if reason := judgeNode(ctx, z.Nodes, node, a); reason != "" {
			return authorizer.DecisionDeny, reason, nil
		}
		return authorizer.DecisionAllow, "", nil
	case slices.Contains(groups, GroupBootstrappers):
		if a.GetAPIGroup() == "certificates.k8s.io" && a.GetResource() == "certificatesigningrequests" && a.GetSubresource() == "" &&
			slices.Contains([]string{"create", "get", "list", "watch"}, a.GetVerb()) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionDeny, "a join token can only ask for a node's certificate", nil
	}
	return authorizer.DecisionDeny, "no rule allows it", nil
}

func authorizePath(groups []string, a authorizer.Attributes) (authorizer.Decision, string, error) {
	if !slices.Contains([]string{"get", "head"}, a.GetVerb()) {
		return authorizer.DecisionDeny, "only reading is allowed", nil
	}
	if matchPath(healthPaths, a.GetPath()) || matchPath([]string{"/healthz/*", "/livez/*", "/readyz/*"}, a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	if slices.Contains(groups, user.AllAuthenticated) && matchPath(discoveryPaths, a.GetPath()) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionDeny, "no rule allows it", nil
}

func matchPath(patterns []string, path string) bool {
	for _, p := range patterns {
		if n := len(p) - 1; p[n] == '*' {
			if len(path) >= n && path[:n] == p[:n] {
				return true
			}
		} else if p == path {
			return true
		}
	}
	return false
}

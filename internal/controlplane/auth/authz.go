package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Authorizer decides about those whose rights are not written in roles, and leaves everybody else to Rules: the cluster's administrators may do everything, nodes what
// their Pods need, joining nodes may ask for a certificate, and whoever asks may hear whether the server is healthy.
type Authorizer struct {
	// Nodes tells what a node's Pods use.
	Nodes NodeGraph
	// Rules decides about everybody else, and about what a node asks for beyond its own needs; nil: nobody else may do anything.
	Rules authorizer.Authorizer
}

// Authorizer returns z in the form that the library takes.
func (z *Authorizer) Authorizer() authorizer.Authorizer {
	return authorizer.AuthorizerFunc(z.Authorize)
}

var healthPaths = []string{"/healthz", "/livez", "/readyz"}

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
	if !a.IsResourceRequest() && slices.Contains([]string{"get", "head"}, a.GetVerb()) && slices.ContainsFunc(healthPaths, func(p string) bool {
		return a.GetPath() == p || strings.HasPrefix(a.GetPath(), p+"/")
	}) {
		return authorizer.DecisionAllow, "", nil
	}
	var reasons []string
	switch {
	case !a.IsResourceRequest():
	case slices.Contains(groups, GroupNodes):
		node, ok := nodeName(u.GetName())
		if !ok {
			return authorizer.DecisionDeny, fmt.Sprintf("%q is not the name of a node's user", u.GetName()), nil
		}
		reason := judgeNode(ctx, z.Nodes, node, a)
		if reason == "" {
			return authorizer.DecisionAllow, "", nil
		}
		reasons = append(reasons, reason)
	case slices.Contains(groups, GroupBootstrappers):
		if a.GetAPIGroup() == "certificates.k8s.io" && a.GetResource() == "certificatesigningrequests" && a.GetSubresource() == "" &&
			slices.Contains([]string{"create", "get", "list", "watch"}, a.GetVerb()) {
			return authorizer.DecisionAllow, "", nil
		}
		reasons = append(reasons, "a join token can only ask for a node's certificate")
	}
	if z.Rules == nil {
		return authorizer.DecisionNoOpinion, strings.Join(reasons, "; "), nil
	}
	decision, reason, err := z.Rules.Authorize(ctx, a)
	if decision == authorizer.DecisionAllow {
		return decision, reason, err
	}
	if reason != "" {
		reasons = append(reasons, reason)
	}
	return decision, strings.Join(reasons, "; "), err
}

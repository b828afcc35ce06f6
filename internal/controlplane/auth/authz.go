package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

var healthPaths = []string{"/healthz", "/livez", "/readyz"}

// Privileged decides about what no role and no webhook may take away: the cluster's administrators may do everything, and whoever asks may hear whether the
// server is healthy. It has no opinion about anything else.
func Privileged(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionDeny, "there is no user", nil
	}
	if slices.Contains(u.GetGroups(), user.SystemPrivilegedGroup) {
		return authorizer.DecisionAllow, "", nil
	}
	if !a.IsResourceRequest() && slices.Contains([]string{"get", "head"}, a.GetVerb()) && slices.ContainsFunc(healthPaths, func(p string) bool {
		return a.GetPath() == p || strings.HasPrefix(a.GetPath(), p+"/")
	}) {
		return authorizer.DecisionAllow, "", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

// Nodes decides about machines: nodes may do what their Pods need, joining ones may ask for a certificate. It has no opinion about anybody else.
type Nodes struct {
	// Graph tells what a node's Pods use.
	Graph NodeGraph
}

// Authorize decides about one request and says why not.
func (z *Nodes) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	switch {
	case !a.IsResourceRequest():
	case slices.Contains(u.GetGroups(), GroupNodes):
		node, ok := nodeName(u.GetName())
		if !ok {
			return authorizer.DecisionDeny, fmt.Sprintf("%q is not the name of a node's user", u.GetName()), nil
		}
		reason := judgeNode(ctx, z.Graph, node, a)
		if reason == "" {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, reason, nil
	case slices.Contains(u.GetGroups(), GroupBootstrappers):
		if a.GetAPIGroup() == "certificates.k8s.io" && a.GetResource() == "certificatesigningrequests" && a.GetSubresource() == "" &&
			slices.Contains([]string{"create", "get", "list", "watch"}, a.GetVerb()) {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "a join token can only ask for a node's certificate", nil
	}
	return authorizer.DecisionNoOpinion, "", nil
}

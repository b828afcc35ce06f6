package auth

import (
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestAJoiningMachineMayAskForACertificateAndWhoIsNoMachineIsLeftToOthers(t *testing.T) {
	const allow, deny, none = authorizer.DecisionAllow, authorizer.DecisionDeny, authorizer.DecisionNoOpinion
	joining, node := "system:bootstrap:abcdef "+GroupBootstrappers, "system:node:n1 "+GroupNodes
	const csrs = "certificates.k8s.io/certificatesigningrequests"
	for _, test := range []struct {
		who, verb, resource, sub string
		want                     authorizer.Decision
		reason                   string
	}{
		{joining, "create", csrs, "", allow, ""},
		{joining, "get", csrs, "", allow, ""},
		{joining, "list", csrs, "", allow, ""},
		{joining, "watch", csrs, "", allow, ""},
		{joining, "update", csrs, "", none, "a join token can only ask for a node's certificate"},
		{joining, "delete", csrs, "", none, "a join token can only ask for a node's certificate"},
		{joining, "update", csrs, "approval", none, "a join token can only ask for a node's certificate"},
		{joining, "get", csrs, "status", none, "a join token can only ask for a node's certificate"},
		{joining, "get", "/secrets", "", none, "a join token can only ask for a node's certificate"},
		{joining, "create", "/nodes", "", none, "a join token can only ask for a node's certificate"},
		{node, "get", "/nodes", "", allow, ""},
		{node, "create", "/secrets", "", none, "node n1 may not create secrets"},
		// A name by which nobody can tell which node it is may do nothing, whatever roles say.
		{"n1 " + GroupNodes, "get", "/nodes", "", deny, `"n1" is not the name of a node's user`},
		{"system:node: " + GroupNodes, "get", "/nodes", "", deny, `"system:node:" is not the name of a node's user`},
		// The name alone makes no node, and the group of everybody no machine.
		{"system:node:n1 system:authenticated", "get", "/nodes", "", none, ""},
		{"system:bootstrap:abcdef system:authenticated", "create", csrs, "", none, ""},
		{"alice dev", "get", "/secrets", "", none, ""},
	} {
		name, group, _ := strings.Cut(test.who, " ")
		a := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name, Groups: []string{group}}, Verb: test.verb, Subresource: test.sub, ResourceRequest: true}
		a.APIGroup, a.Resource, _ = strings.Cut(test.resource, "/")
		got, reason, err := (&Nodes{Graph: graph{}}).Authorize(t.Context(), a)
		if err != nil || got != test.want || reason != test.reason {
			t.Errorf("%s: %s %s/%s gave %v, %q, %v; want %v, %q", test.who, test.verb, test.resource, test.sub, got, reason, err, test.want, test.reason)
		}
	}
	for _, who := range []string{joining, node} {
		name, group, _ := strings.Cut(who, " ")
		got, _, _ := (&Nodes{Graph: graph{}}).Authorize(t.Context(), authorizer.AttributesRecord{User: &user.DefaultInfo{Name: name, Groups: []string{group}}, Verb: "get", Path: "/metrics"})
		if got != none {
			t.Errorf("%s gets a path: %v, want no opinion", who, got)
		}
	}
}

func TestARequestOfNobodyIsDenied(t *testing.T) {
	if got, reason, err := Privileged(t.Context(), authorizer.AttributesRecord{Verb: "get", Path: "/readyz"}); got != authorizer.DecisionDeny || reason == "" || err != nil {
		t.Errorf("got %v, %q, %v, want it denied with a reason", got, reason, err)
	}
}

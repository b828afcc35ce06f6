package auth

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

type graph struct{}

func (graph) PodOnNode(_ context.Context, node, namespace, pod string) bool {
	return node == "n1" && namespace == "shop" && pod == "mine"
}

func (graph) Uses(_ context.Context, node, resource, namespace, name string) bool {
	return node == "n1" && map[string]bool{"shop/secrets/s1": true, "shop/configmaps/c1": true, "shop/serviceaccounts/web": true, "shop/persistentvolumeclaims/data": true,
		"/persistentvolumes/pv1": true, "shop/resourceclaims/gpu": true}[namespace+"/"+resource+"/"+name]
}

func (graph) Serves(_ context.Context, namespace, secret string) bool {
	return namespace == "shop" && secret == "tls"
}

func (graph) Concerns(_ context.Context, node, resource, namespace, name string) bool {
	return node == "n1" && map[string]bool{"shop/podcertificaterequests/req-1": true, "/volumeattachments/va1": true, "/resourceslices/n1-gpu": true,
		"/persistentvolumes/ours": true}[namespace+"/"+resource+"/"+name]
}

func TestANodeMayDoWhatItsOwnPodsNeed(t *testing.T) {
	datadriven.RunTest(t, "testdata/node", func(t *testing.T, d *datadriven.TestData) string {
		var out strings.Builder
		for _, line := range strings.Split(d.Input, "\n") {
			f := strings.Fields(strings.ReplaceAll(line, " -", " \x00"))
			for i := range f {
				f[i] = strings.TrimPrefix(f[i], "\x00")
			}
			a := authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "system:node:n1", Groups: []string{GroupNodes}}, Verb: f[0], ResourceRequest: true, Namespace: f[2], Name: f[3]}
			var rest string
			a.APIGroup, rest, _ = strings.Cut(f[1], "/")
			a.Resource, a.Subresource, _ = strings.Cut(rest, "/")
			if len(f) > 4 && strings.HasPrefix(f[4], "label:") {
				s, err := labels.Parse(strings.TrimPrefix(f[4], "label:"))
				if err != nil {
					t.Fatal(err)
				}
				a.LabelSelectorRequirements, _ = s.Requirements()
			} else if len(f) > 4 {
				s, err := fields.ParseSelector(f[4])
				if err != nil {
					t.Fatal(err)
				}
				a.FieldSelectorRequirements = s.Requirements()
			}
			decision, reason, err := (&Nodes{Graph: graph{}}).Authorize(t.Context(), a)
			if err != nil {
				t.Fatal(err)
			}
			if decision == authorizer.DecisionAllow {
				reason = "allowed"
			}
			fmt.Fprintf(&out, "%s %s: %s\n", f[0], f[1], reason)
		}
		return out.String()
	})
}

func TestOnlyHealthIsForEverybodyWithoutAnyRole(t *testing.T) {
	for _, test := range []struct {
		user, groups, verb, path string
		want                     authorizer.Decision
	}{
		{"system:anonymous", "system:unauthenticated", "get", "/readyz", authorizer.DecisionAllow},
		{"system:anonymous", "system:unauthenticated", "post", "/readyz", authorizer.DecisionNoOpinion},
		{"system:anonymous", "system:unauthenticated", "get", "/apis", authorizer.DecisionNoOpinion},
		{"system:anonymous", "system:unauthenticated", "get", "/metrics", authorizer.DecisionNoOpinion},
		{"alice", "system:authenticated", "get", "/apis/apps/v1", authorizer.DecisionNoOpinion},
		{"alice", "system:authenticated", "get", "/metrics", authorizer.DecisionNoOpinion},
		{"admin", "system:masters", "get", "/metrics", authorizer.DecisionAllow},
	} {
		got, _, err := Privileged(t.Context(), authorizer.AttributesRecord{
			User: &user.DefaultInfo{Name: test.user, Groups: []string{test.groups}}, Verb: test.verb, Path: test.path,
		})
		if err != nil || got != test.want {
			t.Errorf("%s: %s %s gave %v, %v; want %v", test.user, test.verb, test.path, got, err, test.want)
		}
	}
}

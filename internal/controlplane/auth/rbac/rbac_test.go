package rbac

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/yaml"
)

// cluster is what a test file has set up so far.
type cluster struct {
	t        *testing.T
	factory  informers.SharedInformerFactory
	resolver *Resolver
}

func newCluster(t *testing.T) *cluster {
	f := informers.NewSharedInformerFactory(fake.NewClientset(), 0)
	r := NewResolver(f)
	// The test fills the stores itself; nothing is ever synced.
	r.synced = nil
	return &cluster{t, f, r}
}

func (c *cluster) add(text string) {
	r := c.factory.Rbac().V1()
	for doc := range strings.SplitSeq(text, "---") {
		var kind struct{ Kind string }
		must(c.t, yaml.Unmarshal([]byte(doc), &kind))
		switch kind.Kind {
		case "Role":
			must(c.t, r.Roles().Informer().GetStore().Add(decode[rbacv1.Role](c.t, doc)))
		case "ClusterRole":
			must(c.t, r.ClusterRoles().Informer().GetStore().Add(decode[rbacv1.ClusterRole](c.t, doc)))
		case "RoleBinding":
			must(c.t, r.RoleBindings().Informer().GetStore().Add(decode[rbacv1.RoleBinding](c.t, doc)))
		case "ClusterRoleBinding":
			must(c.t, r.ClusterRoleBindings().Informer().GetStore().Add(decode[rbacv1.ClusterRoleBinding](c.t, doc)))
		default:
			c.t.Fatalf("unknown kind %q", kind.Kind)
		}
	}
}

func decode[T any](t *testing.T, text string) *T {
	out := new(T)
	must(t, yaml.UnmarshalStrict([]byte(text), out))
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// who reads user[/group,group].
func who(text string) user.Info {
	name, groups, _ := strings.Cut(text, "/")
	u := &user.DefaultInfo{Name: name}
	if groups != "" {
		u.Groups = strings.Split(groups, ",")
	}
	return u
}

// what reads "VERB core|GROUP/RESOURCE[/SUBRESOURCE][=NAME] NAMESPACE" or "VERB /path".
func what(u user.Info, f []string) authorizer.AttributesRecord {
	if strings.HasPrefix(f[1], "/") {
		return authorizer.AttributesRecord{User: u, Verb: f[0], Path: f[1]}
	}
	a := authorizer.AttributesRecord{User: u, Verb: f[0], ResourceRequest: true}
	text, name, _ := strings.Cut(f[1], "=")
	a.Name = name
	var rest string
	a.APIGroup, rest, _ = strings.Cut(text, "/")
	a.Resource, a.Subresource, _ = strings.Cut(rest, "/")
	if a.APIGroup == "core" {
		a.APIGroup = ""
	}
	if len(f) > 2 {
		a.Namespace = f[2]
	}
	return a
}

// TestRolesGiveWhatTheySayAndNobodyGivesMoreThanTheyHave reads testdata: "objects" adds YAML; "may" asks of each line USER VERB WHAT [NAMESPACE] whether it is
// allowed; "grant" asks whether user may write a role of these rules in the namespace; "bind" whether user may bind the role.
func TestRolesGiveWhatTheySayAndNobodyGivesMoreThanTheyHave(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		c := newCluster(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			grants := &Grants{Resolver: c.resolver, Authorizer: c.resolver.Authorizer()}
			arg := func(key string) string {
				var v string
				if d.HasArg(key) {
					d.ScanArgs(t, key, &v)
				}
				return v
			}
			ctx := func() context.Context { return genericapirequest.WithUser(t.Context(), who(arg("user"))) }
			switch d.Cmd {
			case "objects":
				c.add(d.Input)
				return ""
			case "may":
				var out strings.Builder
				for line := range strings.SplitSeq(d.Input, "\n") {
					f := strings.Fields(line)
					decision, reason, err := c.resolver.Authorize(t.Context(), what(who(f[0]), f[1:]))
					must(t, err)
					verdict := "no"
					if decision == authorizer.DecisionAllow {
						verdict = "yes"
					}
					fmt.Fprintf(&out, "%s: %s\n", line, strings.TrimSpace(verdict+" "+reason))
				}
				return out.String()
			case "grant":
				var rules []rbacv1.PolicyRule
				must(t, yaml.UnmarshalStrict([]byte(d.Input), &rules))
				return verdict(grants.Role(ctx(), "roles", arg("namespace"), "new", rules, d.HasArg("aggregated")))
			case "bind":
				return verdict(grants.Binding(ctx(), arg("namespace"), rbacv1.RoleRef{Kind: arg("kind"), Name: arg("role")}))
			}
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		})
	})
}

func verdict(err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	return "ok\n"
}

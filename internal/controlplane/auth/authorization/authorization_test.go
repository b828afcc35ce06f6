package authorization

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/webhooktest"
)

// by decides by the user's name.
func by(name string) authorizer.AuthorizerFunc {
	return func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetUser().GetName() == name {
			return authorizer.DecisionAllow, name + "'s own", nil
		}
		return authorizer.DecisionNoOpinion, "not " + name, nil
	}
}

type noRules struct{}

func (noRules) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return nil, nil, false, nil
}

var deciders = Deciders{First: by("admin"), Node: by("node"), RBAC: by("rbac"), Rules: noRules{}, ServerID: "test"}

// answer knows three users.
func answer(r *authorizationv1.SubjectAccessReview) {
	switch r.Spec.User {
	case "friend":
		r.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Reason: "a friend"}
	case "foe", "node", "rbac", "admin":
		r.Status = authorizationv1.SubjectAccessReviewStatus{Denied: true, Reason: "a foe"}
	case "both":
		r.Status = authorizationv1.SubjectAccessReviewStatus{Allowed: true, Denied: true}
	default:
		r.Status = authorizationv1.SubjectAccessReviewStatus{Reason: "a stranger"}
	}
}

func judge(z *Authorization, name, verb, namespace string) string {
	decision, reason, err := z.Authorize(context.Background(), authorizer.AttributesRecord{
		User: &user.DefaultInfo{Name: name}, Verb: verb, Namespace: namespace, Resource: "pods", APIVersion: "v1", ResourceRequest: true,
	})
	out := map[authorizer.Decision]string{authorizer.DecisionAllow: "allowed", authorizer.DecisionDeny: "denied", authorizer.DecisionNoOpinion: "no opinion"}[decision]
	if reason != "" {
		out += ": " + reason
	}
	if err != nil {
		out += " (error)"
	}
	return out
}

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	return file
}

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nauthorizers:\n"

// hook is the configuration of a webhook; more are further fields of it.
func hook(kubeconfig string, more ...string) string {
	text := fmt.Sprintf(`- type: Webhook
  name: hook
  webhook:
    timeout: 200ms
    subjectAccessReviewVersion: v1
    matchConditionSubjectAccessReviewVersion: v1
    cacheAuthorizedRequests: false
    cacheUnauthorizedRequests: false
    connectionInfo: {type: KubeConfigFile, kubeConfigFile: %q}
`, kubeconfig)
	for _, line := range more {
		text += "    " + line + "\n"
	}
	return text
}

const (
	node, rbac = "- {type: Node, name: node}\n", "- {type: RBAC, name: rbac}\n"
	deny, pass = "failurePolicy: Deny", "failurePolicy: NoOpinion"
)

func TestTheFirstThatAllowsOrDeniesHasDecided(t *testing.T) {
	t.Parallel()
	s := webhooktest.New(t, answer)
	for name, test := range map[string]struct {
		config string
		want   map[string]string
	}{
		"the webhook last": {head + node + rbac + hook(s.Kubeconfig, deny), map[string]string{
			"admin": "allowed: admin's own", "node": "allowed: node's own", "rbac": "allowed: rbac's own", "friend": "allowed: a friend",
			"foe": "denied: a foe", "eve": "no opinion: not admin; not node; not rbac; a stranger", "both": "denied: the authorizer hook could not be asked (error)",
		}},
		"the webhook first": {head + hook(s.Kubeconfig, deny) + node + rbac, map[string]string{
			"admin": "allowed: admin's own", "node": "denied: a foe", "rbac": "denied: a foe", "friend": "allowed: a friend",
		}},
		"no nodes": {head + rbac, map[string]string{"node": "no opinion: not admin; not rbac", "rbac": "allowed: rbac's own"}},
		"conditions": {head + hook(s.Kubeconfig, deny, "matchConditions:", "- expression: has(request.resourceAttributes)", "- expression: request.resourceAttributes.namespace == 'shop'", "- expression: \"!request.user.startsWith('f')\"") + rbac,
			map[string]string{"friend": "no opinion: not admin; not rbac", "rbac": "denied: a foe"}},
		"everything allowed": {head + node + "- {type: AlwaysAllow, name: alwaysallow}\n", map[string]string{"eve": "allowed"}},
		"nothing allowed":    {head + "- {type: AlwaysDeny, name: alwaysdeny}\n", map[string]string{"admin": "allowed: admin's own", "rbac": "no opinion: not admin; Everything is forbidden."}},
		"an older version":   {strings.Replace(head, "/v1", "/v1beta1", 1) + rbac, map[string]string{"rbac": "allowed: rbac's own"}},
	} {
		t.Run(name, func(t *testing.T) {
			z, err := New(t.Context(), Options{ConfigFile: write(t, filepath.Join(t.TempDir(), "config"), test.config)}, deciders)
			if err != nil {
				t.Fatal(err)
			}
			for who, want := range test.want {
				if got := judge(z, who, "get", "shop"); got != want {
					t.Errorf("%s (-want +got)\n%s", who, cmp.Diff(want, got))
				}
			}
		})
	}
}

func TestAWebhookThatCannotBeAskedCountsByItsFailurePolicy(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]func(*webhooktest.Server[authorizationv1.SubjectAccessReview]){
		"hangs": func(s *webhooktest.Server[authorizationv1.SubjectAccessReview]) { s.Hang() },
		"fails": func(s *webhooktest.Server[authorizationv1.SubjectAccessReview]) { s.Fail(http.StatusTeapot) },
	} {
		for policy, want := range map[string]map[string]string{
			deny: {"rbac": "denied: the authorizer hook could not be asked (error)", "eve": "denied: the authorizer hook could not be asked (error)"},
			pass: {"rbac": "allowed: rbac's own", "eve": "no opinion: not admin; the authorizer hook could not be asked; not rbac (error)"},
		} {
			t.Run(name+", "+policy, func(t *testing.T) {
				t.Parallel()
				s := webhooktest.New(t, answer)
				broken(s)
				z, err := New(t.Context(), Options{ConfigFile: write(t, filepath.Join(t.TempDir(), "config"), head+hook(s.Kubeconfig, policy)+rbac)}, deciders)
				if err != nil {
					t.Fatal(err)
				}
				for who, want := range want {
					begin := time.Now()
					if got := judge(z, who, "get", "shop"); got != want {
						t.Errorf("%s (-want +got)\n%s", who, cmp.Diff(want, got))
					}
					if took := time.Since(begin); took > 10*time.Second {
						t.Errorf("%s: decided after %s; the webhook's timeout is 200 ms", who, took)
					}
				}
				// In the chain of requests the same decision is no error: there it would become a text that is no Status.
				decision, reason, err := z.ForRequests().Authorize(t.Context(), authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "eve"}, Verb: "get", Path: "/x"})
				if err != nil || decision == authorizer.DecisionAllow || !strings.Contains(reason, "the authorizer hook could not be asked") {
					t.Errorf("for a request: %v, %q, %v", decision, reason, err)
				}
			})
		}
	}
}

func TestAConditionThatCannotBeEvaluatedCountsByTheFailurePolicy(t *testing.T) {
	t.Parallel()
	s := webhooktest.New(t, answer)
	condition := []string{"matchConditions:", "- expression: request.nonResourceAttributes.path == '/x'"}
	for policy, want := range map[string]string{deny: "denied: the authorizer hook could not be asked (error)", pass: "allowed: rbac's own"} {
		z, err := New(t.Context(), Options{ConfigFile: write(t, filepath.Join(t.TempDir(), "config"), head+hook(s.Kubeconfig, append(condition, policy)...)+rbac)}, deciders)
		if err != nil {
			t.Fatal(err)
		}
		if got := judge(z, "rbac", "get", "shop"); got != want {
			t.Errorf("%s (-want +got)\n%s", policy, cmp.Diff(want, got))
		}
	}
	if n := len(s.Asked()); n != 0 {
		t.Errorf("the webhook was asked %d times although no request matches", n)
	}
}

func TestTheWebhookOfTheFlagsIsAskedLastAndItsAnswersAreKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		version                  string
		authorized, unauthorized time.Duration
		friend, eve              int
	}{{"v1", time.Hour, time.Hour, 1, 1}, {"v1beta1", time.Hour, 0, 1, 2}, {"v1", 0, time.Hour, 2, 1}} {
		s := webhooktest.New(t, answer)
		z, err := New(t.Context(), Options{Webhook: Webhook{s.Kubeconfig, test.version, test.authorized, test.unauthorized}}, deciders)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for who, want := range map[string]string{"node": "allowed: node's own", "rbac": "allowed: rbac's own", "friend": "allowed: a friend", "eve": "no opinion: not admin; not node; not rbac; a stranger"} {
				if got := judge(z, who, "get", "shop"); got != want {
					t.Errorf("%s (-want +got)\n%s", who, cmp.Diff(want, got))
				}
			}
		}
		times := map[string]int{}
		for _, r := range s.Asked() {
			times[r.Spec.User]++
			if want := "authorization.k8s.io/" + test.version; r.APIVersion != want {
				t.Errorf("asked by a review of %s, want %s", r.APIVersion, want)
			}
		}
		if diff := cmp.Diff(map[string]int{"friend": test.friend, "eve": test.eve}, times); diff != "" {
			t.Errorf("kept for %s and %s, asked twice (-want +got)\n%s", test.authorized, test.unauthorized, diff)
		}
	}
}

func TestAChangedFileCountsWhenItIsRightAndNotBefore(t *testing.T) {
	t.Parallel()
	s := webhooktest.New(t, answer)
	file := write(t, filepath.Join(t.TempDir(), "config"), head+rbac)
	z, err := New(t.Context(), Options{ConfigFile: file}, deciders)
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]string{
		"empty": "", "no YAML": "{", "another kind": "apiVersion: v1\nkind: Pod\n", "nobody decides": head + "[]",
		"an unknown type": head + "- {type: ABAC, name: abac}\n", "another name": head + "- {type: RBAC, name: roles}\n", "twice the same": head + rbac + rbac,
		"an unknown field": head + rbac + "surprise: 1\n", "no failure policy": head + hook(s.Kubeconfig),
		"a wrong condition":          head + hook(s.Kubeconfig, deny, "matchConditions:", "- expression: request.", ""),
		"a webhook that is not said": head + hook(filepath.Join(t.TempDir(), "no"), deny),
		"not reachable from here":    head + strings.Replace(hook(s.Kubeconfig, deny), fmt.Sprintf("{type: KubeConfigFile, kubeConfigFile: %q}", s.Kubeconfig), "{type: InClusterConfig}", 1),
	} {
		if err := z.apply(t.Context(), []byte(wrong)); err == nil {
			t.Errorf("%s was put in force", name)
		}
	}
	if got := judge(z, "foe", "get", "shop"); got != "no opinion: not admin; not rbac" {
		t.Errorf("before the change: %s", got)
	}
	write(t, file, head+rbac+hook(s.Kubeconfig, deny))
	for end := time.Now().Add(20 * time.Second); judge(z, "foe", "get", "shop") != "denied: a foe"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the changed file is not in force after 20 s")
		}
	}
}

func TestWhatAWebhookWouldAllowIsNotListedAndTheListSaysSo(t *testing.T) {
	t.Parallel()
	s := webhooktest.New(t, answer)
	for config, want := range map[string]bool{head + rbac: false, head + rbac + hook(s.Kubeconfig, deny): true} {
		z, err := New(t.Context(), Options{ConfigFile: write(t, filepath.Join(t.TempDir(), "config"), config)}, deciders)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, incomplete, _ := z.RulesFor(t.Context(), &user.DefaultInfo{Name: "eve"}, "shop"); incomplete != want {
			t.Errorf("the list of rules is incomplete: %v, want %v with\n%s", incomplete, want, config)
		}
	}
}

func TestOptionsThatCannotBeMeantAreRefusedWithTheFlagToChange(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		o    Options
		want string
	}{
		"a file and a webhook":        {Options{ConfigFile: "f", Webhook: Webhook{ConfigFile: "w", Version: "v1"}}, "exclude each other"},
		"a version that is not there": {Options{Webhook: Webhook{ConfigFile: "w", Version: "v2"}}, "--authorization-webhook-version"},
		"a negative time":             {Options{Webhook: Webhook{ConfigFile: "w", Version: "v1", AuthorizedTTL: -1}}, "--authorization-webhook-cache-authorized-ttl"},
		"another negative time":       {Options{Webhook: Webhook{ConfigFile: "w", Version: "v1", UnauthorizedTTL: -1}}, "--authorization-webhook-cache-unauthorized-ttl"},
		"no such webhook":             {Options{Webhook: Webhook{ConfigFile: "/no/such/file", Version: "v1"}}, "--authorization-webhook-config-file"},
		"no such file":                {Options{ConfigFile: "/no/such/file"}, "--authorization-config"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(t.Context(), test.o, deciders); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error about %s", err, test.want)
			}
		})
	}
	if _, err := New(t.Context(), Options{ConfigFile: "/no/such/file"}, deciders); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v does not say that the file is not there", err)
	}
}

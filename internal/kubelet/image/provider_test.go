package image

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// plugins writes a configuration and the programs in it, by name.
func plugins(t *testing.T, config string, programs map[string]string) (*Providers, error) {
	t.Helper()
	dir := t.TempDir()
	for name, text := range programs {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(dir, "config.yaml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(config, "$DIR", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	return LoadProviders(file, dir)
}

const header = "apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\nproviders:\n"

func provider(name, match, more string) string {
	return fmt.Sprintf("- {name: %s, matchImages: [%q], defaultCacheDuration: 1h, apiVersion: credentialprovider.kubelet.k8s.io/v1%s}\n", name, match, more)
}

func TestCredentialProviderPluginsAreAsked(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	answer := func(cache string) string {
		return fmt.Sprintf(`cat >>%s; echo " $1 $SECRET" >>%s; echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"%s","auth":{"*.example.com":{"username":"u","password":"p"}}}'`, log, log, cache)
	}
	p, err := plugins(t, header+
		provider("byregistry", "*.example.com", ", args: [get], env: [{name: SECRET, value: s}]")+
		provider("byimage", "*.io/team", "")+
		provider("fails", "fails.org", "")+provider("babbles", "babbles.org", ""),
		map[string]string{"byregistry": answer("Registry"), "byimage": strings.ReplaceAll(answer("Image"), "*.example.com", "quay.io"), "fails": "echo 'no metadata server' >&2; exit 3", "babbles": "echo secret-token"})
	if err != nil {
		t.Fatal(err)
	}
	asked := func() int {
		b, _ := os.ReadFile(log)
		return strings.Count(string(b), "CredentialProviderRequest")
	}
	for _, tt := range []struct {
		ref   string
		creds int
		asked int
		err   string
	}{
		{"other.org/x:1", 0, 0, ""},
		{"r.example.com/a:1", 1, 1, ""},
		{"r.example.com/b:1", 1, 1, ""},
		{"s.example.com/a:1", 1, 2, ""},
		{"quay.io/team/a:1", 1, 3, ""},
		{"quay.io/team/a:1", 1, 3, ""},
		{"quay.io/team/b:1", 1, 4, ""},
		{"quay.io/teams/b:1", 0, 4, ""},
		{"fails.org/x:1", 0, 4, "plugin fails: exit status 3: no metadata server"},
		{"babbles.org/x:1", 0, 4, "its answer is no CredentialProviderResponse of credentialprovider.kubelet.k8s.io/v1"},
	} {
		ring, err := p.For(t.Context(), tt.ref, nil)
		if (err == nil) != (tt.err == "") || err != nil && (!strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret-token")) {
			t.Errorf("%s: %v, want %q", tt.ref, err, tt.err)
		}
		creds := ring.For(tt.ref)
		if len(creds) != tt.creds || len(creds) > 0 && creds[0] != (Credential{"u", "p"}) {
			t.Errorf("%s: credentials %v, want %d", tt.ref, creds, tt.creds)
		}
		if got := asked(); got != tt.asked {
			t.Errorf("%s: %d questions so far, want %d", tt.ref, got, tt.asked)
		}
	}
	b, _ := os.ReadFile(log)
	if first, _, _ := strings.Cut(string(b), "\n"); first != `{"kind":"CredentialProviderRequest","apiVersion":"credentialprovider.kubelet.k8s.io/v1","image":"r.example.com/a"} get s` {
		t.Errorf("the first question was %s", first)
	}
}

func TestAConfigurationOfPluginsThatMakesNoSenseIsRefused(t *testing.T) {
	for config, want := range map[string]string{
		"kind: Pod":                                              "must be a CredentialProviderConfig",
		header + "- {nam: x}":                                    `unknown field "nam"`,
		header + provider("absent", "x.io", ""):                  "put the program there",
		header + provider("../p", "x.io", ""):                    "must be the name of a program",
		header + "- {name: p, matchImages: [x], apiVersion: v2}": "must be credentialprovider.kubelet.k8s.io/v1",
		header + "- {name: p, apiVersion: credentialprovider.kubelet.k8s.io/v1}":                                                                                                         "names no images",
		header + provider("p", "x.io", ", tokenAttributes: {serviceAccountTokenAudience: a, requireServiceAccount: true}"):                                                               "tokenAttributes.cacheType",
		header + provider("p", "x.io", ", tokenAttributes: {serviceAccountTokenAudience: a, cacheType: Token}"):                                                                          "requireServiceAccount: must be",
		header + provider("p", "x.io", ", tokenAttributes: {serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: false, requiredServiceAccountAnnotationKeys: [k]}"): "take requireServiceAccount: true",
	} {
		if _, err := plugins(t, config, map[string]string{"p": "true"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %q", config, err, want)
		}
	}
	if p, err := LoadProviders("", ""); p != nil || err != nil {
		t.Errorf("without a file: %v, %v", p, err)
	}
}

func TestAPluginIsToldOfTheServiceAccount(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	answer := fmt.Sprintf(`cat >>%s; echo >>%s; echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Registry","auth":{"*.io":{"username":"u","password":"p"}}}'`, log, log)
	const account = ", tokenAttributes: {serviceAccountTokenAudience: registry, cacheType: ServiceAccount, requireServiceAccount: true, requiredServiceAccountAnnotationKeys: [role], optionalServiceAccountAnnotationKeys: [team]}"
	p, err := plugins(t, header+provider("byaccount", "a.io", account)+provider("bytoken", "t.io", ", tokenAttributes: {serviceAccountTokenAudience: registry, cacheType: Token, requireServiceAccount: false}"),
		map[string]string{"byaccount": answer, "bytoken": answer})
	if err != nil {
		t.Fatal(err)
	}
	tokens := 0
	as := func(name string, annotations map[string]string) *Account {
		return &Account{
			Get: func() (*v1.ServiceAccount, error) {
				return &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name), Annotations: annotations}}, nil
			},
			Token: func(audience string) (string, error) {
				tokens++
				return fmt.Sprintf("%s-for-%s-%d", name, audience, tokens), nil
			},
		}
	}
	role := map[string]string{"role": "puller", "other": "x"}
	for _, tt := range []struct {
		ref   string
		who   *Account
		creds int
		asked string // the last question
		err   string
	}{
		{"a.io/x:1", nil, 0, "", ""}, // it wants an account
		{"a.io/x:1", as("plain", nil), 0, "", "lacks the annotation role"},
		{"a.io/x:1", as("a", role), 1, `"image":"a.io/x","serviceAccountToken":"a-for-registry-1","serviceAccountAnnotations":{"role":"puller"}}`, ""},
		{"a.io/y:1", as("a", role), 1, `"serviceAccountToken":"a-for-registry-1"`, ""}, // known of the account
		{"a.io/x:1", as("b", role), 1, `"serviceAccountToken":"b-for-registry-2"`, ""}, // not of another
		{"t.io/x:1", as("a", nil), 1, `"serviceAccountToken":"a-for-registry-3"}`, ""},
		{"t.io/x:1", as("a", nil), 1, `"serviceAccountToken":"a-for-registry-4"}`, ""}, // each token for itself
		{"t.io/x:1", nil, 1, `"image":"t.io/x"}`, ""},
	} {
		ring, err := p.For(t.Context(), tt.ref, tt.who)
		if (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: %v, want %q", tt.ref, err, tt.err)
		}
		if got := len(ring.For(tt.ref)); got != tt.creds {
			t.Errorf("%s: %d credentials, want %d", tt.ref, got, tt.creds)
		}
		b, _ := os.ReadFile(log)
		lines := strings.Split(strings.TrimSpace(string(b)), "\n")
		if last := lines[len(lines)-1]; !strings.Contains(last, tt.asked) {
			t.Errorf("%s: the last question was %s, want %s", tt.ref, last, tt.asked)
		}
	}
}

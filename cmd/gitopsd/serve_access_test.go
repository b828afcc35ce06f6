package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authentication"
	"github.com/gitopsd/gitopsd/internal/controlplane/auth/authorization"
	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
)

func TestTheFlagsOfAccessAreThoseOfTheAPIServerOfKubernetes(t *testing.T) {
	parse := func(args ...string) serve.Options {
		t.Helper()
		var o serve.Options
		flags := pflag.NewFlagSet("serve", pflag.ContinueOnError)
		registerAccess(flags, &o)
		if err := flags.Parse(args); err != nil {
			t.Fatal(err)
		}
		return o
	}
	plain := parse()
	if diff := cmp.Diff(authentication.Options{
		OIDC:    authentication.OIDC{UsernameClaim: "sub", SigningAlgs: []string{"RS256"}},
		Webhook: authentication.Webhook{Version: "v1beta1", CacheTTL: 2 * time.Minute},
	}, plain.Authentication); diff != "" {
		t.Errorf("authentication by default (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(authorization.Options{
		Webhook: authorization.Webhook{Version: "v1beta1", AuthorizedTTL: 5 * time.Minute, UnauthorizedTTL: 30 * time.Second},
	}, plain.Authorization); diff != "" {
		t.Errorf("authorization by default (-want +got)\n%s", diff)
	}
	got := parse("--oidc-issuer-url=https://i", "--oidc-client-id=c", "--oidc-username-claim=email", "--oidc-username-prefix=-", "--oidc-groups-claim=groups",
		"--oidc-groups-prefix=g:", "--oidc-ca-file=ca", "--oidc-required-claim=a=b", "--oidc-required-claim=c=d", "--oidc-signing-algs=RS256,ES256",
		"--authentication-token-webhook-config-file=w", "--authentication-token-webhook-version=v1", "--authentication-token-webhook-cache-ttl=0s")
	if diff := cmp.Diff(authentication.Options{
		OIDC: authentication.OIDC{
			IssuerURL: "https://i", ClientID: "c", UsernameClaim: "email", UsernamePrefix: "-", GroupsClaim: "groups", GroupsPrefix: "g:", CAFile: "ca",
			RequiredClaims: map[string]string{"a": "b", "c": "d"}, SigningAlgs: []string{"RS256", "ES256"},
		},
		Webhook: authentication.Webhook{ConfigFile: "w", Version: "v1"},
	}, got.Authentication); diff != "" {
		t.Errorf("authentication (-want +got)\n%s", diff)
	}
}

func TestAccessThatCannotBeMeantIsRefusedBeforeAnythingStarts(t *testing.T) {
	for args, want := range map[string]string{
		"--oidc-issuer-url=https://i": "--oidc-client-id",
		"--authentication-config=f --oidc-issuer-url=https://i --oidc-client-id=c":               "exclude each other",
		"--authorization-config=f --authorization-webhook-config-file=w":                         "exclude each other",
		"--authentication-token-webhook-config-file=w --authentication-token-webhook-version=v3": "--authentication-token-webhook-version",
	} {
		c := newServeCommand()
		c.SilenceErrors, c.SilenceUsage = true, true
		c.SetArgs(append(strings.Fields(args), "--data-dir="+t.TempDir()))
		if err := c.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want an error about %s", args, err, want)
		}
	}
}

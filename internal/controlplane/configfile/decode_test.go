package configfile_test

import (
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/apis/apiserver"

	"github.com/gitopsd/gitopsd/internal/controlplane/configfile"
)

func TestAConfigurationIsReadInAnyVersionAndNothingElseIs(t *testing.T) {
	for name, c := range map[string]struct{ content, want string }{
		"v1":               {"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsamplingRatePerMillion: 7\n", ""},
		"v1beta1":          {"apiVersion: apiserver.config.k8s.io/v1beta1\nkind: TracingConfiguration\nsamplingRatePerMillion: 7\n", ""},
		"JSON":             {`{"apiVersion":"apiserver.config.k8s.io/v1","kind":"TracingConfiguration","samplingRatePerMillion":7}`, ""},
		"another kind":     {"apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n", "it holds *apiserver.AuthenticationConfiguration; a TracingConfiguration of apiserver.config.k8s.io/v1 is expected"},
		"an unknown kind":  {"apiVersion: v1\nkind: Pod\n", `no kind "Pod" is registered`},
		"an unknown field": {"apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nsampling: 7\n", `unknown field "sampling"`},
		"no YAML":          {"a: [", "yaml"},
		"nothing":          {"", "Kind"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := configfile.Decode[*apiserver.TracingConfiguration]([]byte(c.content), "a TracingConfiguration")
			switch {
			case c.want == "" && err != nil:
				t.Fatal(err)
			case c.want == "":
				if n := got.SamplingRatePerMillion; n == nil || *n != 7 {
					t.Errorf("samplingRatePerMillion is %v, want 7", n)
				}
			case err == nil || !strings.Contains(err.Error(), c.want):
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

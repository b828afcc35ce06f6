package corefile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"sigs.k8s.io/yaml"
)

// testdata/configmaps shows what is read from a ConfigMap's data, and what is refused.
func TestConfigMaps(t *testing.T) {
	datadriven.RunTest(t, "testdata/configmaps", func(t *testing.T, d *datadriven.TestData) string {
		data := map[string]string{}
		if err := yaml.UnmarshalStrict([]byte(d.Input), &data); err != nil {
			d.Fatalf(t, "%v", err)
		}
		cfg, err := Parse(data, "cluster.local.")
		if err != nil {
			return "error: " + err.Error() + "\n"
		}
		var b strings.Builder
		for _, s := range cfg.Stubs {
			fmt.Fprintln(&b, s.Domain, strings.Join(s.Forward, " "))
		}
		fmt.Fprintln(&b, "others:", strings.Join(cfg.Forward, " "))
		return b.String()
	})
}

func FuzzAnyTextIsReadOrRefused(f *testing.F) {
	f.Add("a.example:53 {\n forward . 192.0.2.1 {\n policy random\n }\n}\n", "forward . 192.0.2.1")
	f.Add("{", "}")
	f.Add("a {\n{", "forward . [::1]:53 # x")
	f.Fuzz(func(t *testing.T, server, override string) {
		cfg, err := Parse(map[string]string{"a.server": server, "b.override": override}, "cluster.local.")
		if err != nil && (len(cfg.Stubs) > 0 || len(cfg.Forward) > 0) {
			t.Error("an error, and servers all the same")
		}
		for _, s := range cfg.Stubs {
			if s.Domain == "" || len(s.Forward) == 0 {
				t.Errorf("stub %+v", s)
			}
		}
	})
}

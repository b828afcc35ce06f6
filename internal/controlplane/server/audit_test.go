package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	genericapiserver "k8s.io/apiserver/pkg/server"
)

func TestAnAuditLogNeedsAPolicyThatCanBeReadAndAFileThatCanBeWritten(t *testing.T) {
	dir := t.TempDir()
	good, bad, log := filepath.Join(dir, "good"), filepath.Join(dir, "bad"), filepath.Join(dir, "log")
	for file, text := range map[string]string{good: "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n", bad: "kind: Pod\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		audit   Audit
		on      bool
		refused string
	}{
		"nothing":          {},
		"policy and file":  {audit: Audit{good, log}, on: true},
		"no file":          {audit: Audit{PolicyFile: good}, refused: "--audit-log-path"},
		"no policy":        {audit: Audit{LogPath: log}, refused: "--audit-policy-file"},
		"something else":   {audit: Audit{bad, log}, refused: "--audit-policy-file"},
		"a missing folder": {audit: Audit{good, filepath.Join(dir, "no", "log")}, refused: "--audit-log-path"},
		"a missing policy": {audit: Audit{filepath.Join(dir, "no"), log}, refused: "--audit-policy-file"},
		"standard output":  {audit: Audit{good, "-"}, on: true},
	} {
		t.Run(name, func(t *testing.T) {
			c := &genericapiserver.Config{}
			err := test.audit.apply(c)
			if test.refused == "" && err != nil || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("got %v, want an error about %q", err, test.refused)
			}
			if on := c.AuditBackend != nil; on != test.on {
				t.Errorf("audit is on: %v, want %v", on, test.on)
			}
		})
	}
}

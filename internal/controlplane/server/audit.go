package server

import (
	"fmt"
	"io"
	"os"

	"gopkg.in/natefinch/lumberjack.v2"
	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"k8s.io/apiserver/pkg/audit/policy"
	genericapiserver "k8s.io/apiserver/pkg/server"
	auditlog "k8s.io/apiserver/plugin/pkg/audit/log"
)

// Audit says which requests are written down, and where. Without a policy none are.
type Audit struct {
	// PolicyFile is an audit.k8s.io/v1 Policy.
	PolicyFile string
	// LogPath is the file that gets a line of JSON for each event; "-" is the standard output.
	LogPath string
}

const (
	// A log file is put aside at this size, and this many old ones are kept.
	auditMegabytes = 100
	auditBackups   = 10
)

// apply puts the audit log into the server's configuration.
func (a Audit) apply(c *genericapiserver.Config) error {
	if a.PolicyFile == "" && a.LogPath == "" {
		return nil
	}
	if a.PolicyFile == "" || a.LogPath == "" {
		return fmt.Errorf("the audit log needs both a policy (--audit-policy-file, got %q) and a file to write to (--audit-log-path, got %q)", a.PolicyFile, a.LogPath)
	}
	p, err := policy.LoadPolicyFromFile(a.PolicyFile)
	if err != nil {
		return fmt.Errorf("--audit-policy-file: %w", err)
	}
	out := io.Writer(os.Stdout)
	if a.LogPath != "-" {
		f, err := os.OpenFile(a.LogPath, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return fmt.Errorf("--audit-log-path: %w", err)
		}
		if err := f.Close(); err != nil {
			return fmt.Errorf("--audit-log-path: %w", err)
		}
		out = &lumberjack.Logger{Filename: a.LogPath, MaxSize: auditMegabytes, MaxBackups: auditBackups}
	}
	c.AuditPolicyRuleEvaluator = policy.NewPolicyRuleEvaluator(p)
	c.AuditBackend = auditlog.NewBackend(out, auditlog.FormatJson, auditv1.SchemeGroupVersion)
	return nil
}

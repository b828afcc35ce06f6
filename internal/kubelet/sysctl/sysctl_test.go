package sysctl

import (
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestPodsMaySetWhatIsSafeOrAllowedAndTheirOwn(t *testing.T) {
	for _, tt := range []struct{ allowed, spec, want string }{
		{"", `{}`, ""},
		{"", `{securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}, {name: kernel/shm_rmid_forced, value: "1"}]}}`, ""},
		{"", `{securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}}`, `"kernel.msgmax" not allowlisted`},
		{"kernel.msgmax", `{securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}}`, ""},
		{"kernel.msg*", `{securityContext: {sysctls: [{name: kernel.msgmnb, value: "1"}]}}`, ""},
		{"net.core.*", `{securityContext: {sysctls: [{name: net.core.somaxconn, value: "1"}]}}`, ""},
		{"net.core.*", `{securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: "1"}]}}`, `"net.ipv4.ip_forward" not allowlisted`},
		{"net/ipv4/*", `{securityContext: {sysctls: [{name: net.ipv4.ip_forward, value: "1"}]}}`, ""},
		{"", `{securityContext: {sysctls: [{name: vm.swappiness, value: "1"}]}}`, `"vm.swappiness" not allowlisted`},
		{"", `{hostNetwork: true, securityContext: {sysctls: [{name: net.ipv4.tcp_syncookies, value: "1"}]}}`, "host Net enabled"},
		{"kernel.msgmax", `{hostIPC: true, securityContext: {sysctls: [{name: kernel.msgmax, value: "1"}]}}`, "host IPC enabled"},
		{"user.*", `{securityContext: {sysctls: [{name: user.max_net_namespaces, value: "1"}]}}`, "host User enabled"},
		{"user.*", `{hostUsers: false, securityContext: {sysctls: [{name: user.max_net_namespaces, value: "1"}]}}`, ""},
	} {
		var list []string
		if tt.allowed != "" {
			list = strings.Split(tt.allowed, ",")
		}
		a, err := Parse(list)
		if err != nil {
			t.Fatal(err)
		}
		pod := &v1.Pod{}
		if err := yaml.UnmarshalStrict([]byte(tt.spec), &pod.Spec); err != nil {
			t.Fatal(err)
		}
		if got := a.Refuse(pod); (got == "") != (tt.want == "") || !strings.Contains(got, tt.want) {
			t.Errorf("allowed %q, %s: %q, want %q", tt.allowed, tt.spec, got, tt.want)
		}
	}
}

func TestOnlyParametersOfNamespacesCanBeAllowed(t *testing.T) {
	for s, want := range map[string]string{"vm.swappiness": "whole node", "*": "whole node", "kernel.*": "whole node", "Kernel": "must be the name", "a..b": "must be the name", "net.*.b": "must be the name"} {
		if _, err := Parse([]string{s}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", s, err, want)
		}
	}
}

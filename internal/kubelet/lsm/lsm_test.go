package lsm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// hostWith is one whose kernel says that it has AppArmor with these profiles, and SELinux or not.
func hostWith(t *testing.T, profiles string, selinux bool) Host {
	t.Helper()
	root := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if profiles != "" {
		put("sys/module/apparmor/parameters/enabled", "Y\n")
		put("sys/kernel/security/apparmor/profiles", profiles)
	}
	if selinux {
		put("sys/fs/selinux/enforce", "1")
	}
	return Detect(root)
}

func TestWhatConfinesAContainer(t *testing.T) {
	none := hostWith(t, "", false)
	apparmor := hostWith(t, "docker-default (enforce)\nmine (complain)\ngitopsd-default (enforce)\n", false)
	bare := hostWith(t, "mine (enforce)\n", false)
	selinux := hostWith(t, "", true)
	for _, tt := range []struct {
		name    string
		host    Host
		spec    string
		refuse  string
		profile string
		err     string
		labels  string
	}{
		{name: "nothing asked, nothing there", host: none, spec: `{containers: [{name: c}]}`},
		{name: "asked by the Pod, not there", host: none, spec: `{securityContext: {appArmorProfile: {type: RuntimeDefault}}, containers: [{name: c}]}`, refuse: "not enabled on the host"},
		{name: "asked by the container, not there", host: none, spec: `{containers: [{name: c, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: mine}}}]}`, refuse: "not enabled on the host"},
		{name: "unconfined is had anywhere", host: none, spec: `{securityContext: {appArmorProfile: {type: Unconfined}}, containers: [{name: c}]}`},
		{name: "default", host: apparmor, spec: `{containers: [{name: c}]}`, profile: "gitopsd-default"},
		{name: "privileged has none", host: apparmor, spec: `{containers: [{name: c, securityContext: {privileged: true}}]}`},
		{name: "unless it asks", host: apparmor, spec: `{containers: [{name: c, securityContext: {privileged: true, appArmorProfile: {type: RuntimeDefault}}}]}`, profile: "gitopsd-default"},
		{name: "the container's own wins", host: apparmor,
			spec: `{securityContext: {appArmorProfile: {type: Unconfined}}, containers: [{name: c, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: mine}}}]}`, profile: "mine"},
		{name: "unconfined", host: apparmor, spec: `{securityContext: {appArmorProfile: {type: Unconfined}}, containers: [{name: c}]}`},
		{name: "not loaded", host: apparmor, spec: `{containers: [{name: c, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: other}}}]}`, err: `"other" is not loaded`},
		{name: "a default that could not be loaded is none", host: bare, spec: `{containers: [{name: c}]}`},
		{name: "but is not what was asked for", host: bare, spec: `{securityContext: {appArmorProfile: {type: RuntimeDefault}}, containers: [{name: c}]}`, err: "install apparmor_parser"},
		{name: "SELinux options where there is none", host: none, spec: `{securityContext: {seLinuxOptions: {level: "s0:c1,c2"}}, containers: [{name: c}]}`},
		{name: "SELinux options are passed on", host: selinux, spec: `{securityContext: {seLinuxOptions: {level: "s0:c1,c2"}}, containers: [{name: c}]}`,
			labels: "system_u:system_r:container_t:s0:c1,c2 system_u:object_r:container_file_t:s0:c1,c2"},
		{name: "the container's own", host: selinux,
			spec:   `{securityContext: {seLinuxOptions: {level: s1}}, containers: [{name: c, securityContext: {seLinuxOptions: {user: u, role: r, type: spc_t}}}]}`,
			labels: "u:r:spc_t:s0 u:object_r:container_file_t:s0"},
		{name: "SELinux without options is the policy's", host: selinux, spec: `{containers: [{name: c}]}`},
	} {
		pod := &v1.Pod{}
		if err := yaml.UnmarshalStrict([]byte(tt.spec), &pod.Spec); err != nil {
			t.Fatal(err)
		}
		if got := tt.host.Refuse(pod); (got == "") != (tt.refuse == "") || !strings.Contains(got, tt.refuse) {
			t.Errorf("%s: refused with %q, want %q", tt.name, got, tt.refuse)
		}
		sc := pod.Spec.Containers[0].SecurityContext
		got, err := tt.host.AppArmorProfile(pod, sc)
		if got != tt.profile || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%s: profile %q, error %v; want %q and %q", tt.name, got, err, tt.profile, tt.err)
		}
		process, files := tt.host.Labels(pod, sc)
		if got := strings.TrimSpace(process + " " + files); got != tt.labels {
			t.Errorf("%s: labels %q, want %q", tt.name, got, tt.labels)
		}
	}
}

package grant

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func empty() *specs.Spec {
	return &specs.Spec{Process: &specs.Process{Env: []string{"OWN=1"}}, Annotations: map[string]string{"own": "1"}, Linux: &specs.Linux{Resources: &specs.LinuxResources{}}}
}

func TestAContainerHasWhatItIsGivenAndKeepsItsOwn(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "vendor.json"), []byte(`{"cdiVersion": "0.6.0", "kind": "example.com/card", "devices": [{"name": "one", "containerEdits": {"env": ["CARD=one"]}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var g Grant
	g.Add(Grant{Env: map[string]string{"OWN": "2", "GIVEN": "1"}, Annotations: map[string]string{"own": "2", "given": "1"}, Devices: []Device{{"/dev/mine", "/dev/null", "rw"}}})
	g.Add(Grant{Env: map[string]string{"GIVEN": "2"}, Devices: []Device{{"/dev/mine", "/dev/zero", "rw"}}, CDI: []string{"example.com/card=one"}})
	s := empty()
	if err := g.Into(s, []string{dir}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"OWN=1", "GIVEN=1", "CARD=one"}; !slices.Equal(s.Process.Env, want) {
		t.Errorf("its variables are %v, want %v", s.Process.Env, want)
	}
	if s.Annotations["own"] != "1" || s.Annotations["given"] != "1" {
		t.Errorf("its annotations are %v", s.Annotations)
	}
	if len(s.Linux.Devices) != 1 || s.Linux.Devices[0].Path != "/dev/mine" || s.Linux.Devices[0].Major != 1 || s.Linux.Devices[0].Minor != 3 || s.Linux.Resources.Devices[0].Access != "rw" {
		t.Errorf("its devices are %+v, of which it may use %+v", s.Linux.Devices, s.Linux.Resources.Devices)
	}
	// In a user namespace no device can be made.
	s = empty()
	s.Linux.UIDMappings = []specs.LinuxIDMapping{{Size: 1}}
	if err := g.Into(s, []string{dir}); err != nil || len(s.Linux.Devices) != 0 || len(s.Mounts) != 1 || s.Mounts[0].Source != "/dev/null" {
		t.Errorf("with a user namespace its mounts are %+v, %v", s.Mounts, err)
	}
}

func TestWhatIsNotThereIsNamed(t *testing.T) {
	for want, g := range map[string]Grant{
		"/nowhere": {Devices: []Device{{"/dev/x", "/nowhere", ""}}}, "is no device": {Devices: []Device{{"/dev/x", "/etc/passwd", ""}}}, "example.com/card=two": {CDI: []string{"example.com/card=two"}},
	} {
		if err := g.Into(empty(), []string{t.TempDir()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v gives %v, want that it names %s", g, err, want)
		}
	}
}

package iscsi

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// TestPlan reads the iscsi source of a PersistentVolume, and as arguments the keys of its Secret:
//
//	login [KEY=VALUE ...]
//	logout
func TestPlan(t *testing.T) {
	datadriven.RunTest(t, "testdata/plan.txt", func(t *testing.T, d *datadriven.TestData) string {
		var s corev1.ISCSIPersistentVolumeSource
		if err := yaml.UnmarshalStrict([]byte(d.Input), &s); err != nil {
			d.Fatalf(t, "%v", err)
		}
		target, secret := OfVolume(&s), map[string]string{}
		for _, a := range d.CmdArgs {
			secret["node.session.auth."+a.Key] = a.Vals[0]
		}
		if err := target.check(secret); err != nil {
			return err.Error() + "\n"
		}
		var out strings.Builder
		say := func(commands []command) {
			for _, c := range commands {
				fmt.Fprintln(&out, c)
			}
		}
		if d.Cmd == "login" {
			say(target.prepare())
		}
		for _, w := range target.Ways {
			switch d.Cmd {
			case "login":
				say(target.login(w, secret))
			case "logout":
				say(target.logout(w))
			default:
				d.Fatalf(t, "no command %q", d.Cmd)
			}
		}
		return out.String()
	})
}

func TestADiskIsFoundByItsTargetAndLUN(t *testing.T) {
	sys := t.TempDir()
	add := func(path, content string) {
		t.Helper()
		at := filepath.Join(sys, path)
		if err := os.MkdirAll(filepath.Dir(at), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(at, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want := func(lun int32, devices ...string) {
		t.Helper()
		if got := disks(sys, Target{IQN: "iqn.a", LUN: lun}); !slices.Equal(got, devices) {
			t.Errorf("lun %d is at %q, want %q", lun, got, devices)
		}
	}
	want(1)
	add("class/iscsi_session/session1/targetname", "iqn.other\n")
	add("class/iscsi_session/session1/device/target2:0:0/2:0:0:1/block/sda/dev", "8:0")
	want(1)
	add("class/iscsi_session/session2/targetname", "iqn.a\n")
	add("class/iscsi_session/session2/device/target3:0:0/3:0:0:1/block/sdb/dev", "8:16")
	add("class/iscsi_session/session2/device/target3:0:0/3:0:0:11/block/sdc/dev", "8:32")
	want(1, "/dev/sdb")
	want(11, "/dev/sdc")
	want(2)
	// By a second way, of which the host's multipathd knows.
	add("class/iscsi_session/session10/targetname", "iqn.a\n")
	add("class/iscsi_session/session10/device/target4:0:0/4:0:0:1/block/sdd/dev", "8:48")
	want(1, "/dev/sdb", "/dev/sdd")
	add("class/iscsi_session/session2/device/target3:0:0/3:0:0:1/block/sdb/holders/dm-1/dm/uuid", "mpath-360000000000000000e00000000010001\n")
	want(1, "/dev/dm-1")
	// The host's LVM has found a volume group on it: what is in that is not the disk.
	add("class/iscsi_session/session2/device/target3:0:0/3:0:0:11/block/sdc/holders/dm-0/dm/uuid", "LVM-x4mkW1dKCvZy5Xn2hT0qYv3eUuYb1r9o\n")
	want(11, "/dev/sdc")
}

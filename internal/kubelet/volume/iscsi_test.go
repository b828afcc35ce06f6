package volume

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/test/vm"
)

func TestMain(m *testing.M) {
	vm.Main(m)
	os.Exit(m.Run())
}

const (
	targetIQN = "iqn.2026-01.example:disks"
	nodeIQN   = "iqn.2026-01.example:node"
	otherIQN  = "iqn.2026-01.example:other-name"
)

// iscsiSource is what an iSCSI volume asks of the API, and how often the node asked to have a volume alone.
type iscsiSource struct {
	Source
	claims  map[string]*v1.PersistentVolumeClaim
	volumes map[string]*v1.PersistentVolume
	secret  map[string]string
	held    int
	refuse  error
}

func (s *iscsiSource) Claim(name string) (*v1.PersistentVolumeClaim, error) {
	return s.claims[name], nil
}
func (s *iscsiSource) PersistentVolume(name string) (*v1.PersistentVolume, error) {
	return s.volumes[name], nil
}
func (s *iscsiSource) NodeLabels() map[string]string    { return map[string]string{} }
func (s *iscsiSource) OtherUser(*v1.Pod, string) string { return "" }
func (s *iscsiSource) Away(error) bool                  { return false }
func (s *iscsiSource) SecretOf(_ context.Context, ref *v1.SecretReference) (map[string]string, error) {
	if ref.Namespace != "shop" || ref.Name != "chap" {
		return nil, fmt.Errorf("Secret %s/%s is not that of the volume", ref.Namespace, ref.Name)
	}
	return s.secret, nil
}

func (s *iscsiSource) Hold(context.Context, *v1.Pod, *v1.PersistentVolume) error {
	s.held++
	return s.refuse
}

// volume makes a claim with a volume of the target's disk.
func (s *iscsiSource) volume(name string, change func(*v1.PersistentVolumeSpec)) {
	v := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1.PersistentVolumeSpec{
		AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}, ClaimRef: &v1.ObjectReference{Namespace: "shop", Name: name, UID: "u"},
		PersistentVolumeSource: v1.PersistentVolumeSource{ISCSI: &v1.ISCSIPersistentVolumeSource{
			TargetPortal: "127.0.0.1", IQN: targetIQN, Lun: 0, SessionCHAPAuth: true, SecretRef: &v1.SecretReference{Name: "chap"},
		}},
	}}
	change(&v.Spec)
	s.volumes[name] = v
	s.claims[name] = &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "u"}, Spec: v1.PersistentVolumeClaimSpec{VolumeName: name}, Status: v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound},
	}
}

func podOf(claim string) *v1.Pod {
	return &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p"}, Spec: v1.PodSpec{
		SecurityContext: &v1.PodSecurityContext{FSGroup: ptr.To(int64(2000))},
		Volumes:         []v1.Volume{{Name: "data", VolumeSource: v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: claim}}}},
	}}
}

// TestAnISCSIDiskIsAVolume takes a kernel with an initiator and a target.
func TestAnISCSIDiskIsAVolume(t *testing.T) {
	if !vm.Only(t, vm.Machine{
		Modules:  []string{"configfs", "target_core_mod", "target_core_file", "iscsi_target_mod", "iscsi_tcp", "sd_mod", "ext4"},
		Programs: []string{"iscsiadm", "iscsid", "mkfs.ext4", "mkfs.xfs", "mount", "blkid"},
	}) {
		return
	}
	startTarget(t)
	startInitiator(t)
	src := &iscsiSource{claims: map[string]*v1.PersistentVolumeClaim{}, volumes: map[string]*v1.PersistentVolume{}, secret: map[string]string{
		"node.session.auth.username": "pods", "node.session.auth.password": "wrong-wrong-wrong",
	}}
	src.volume("data", func(s *v1.PersistentVolumeSpec) { s.ISCSI.Portals = []string{"127.0.0.2:3260"} })                     // by two ways
	src.volume("again", func(s *v1.PersistentVolumeSpec) { s.ISCSI.ReadOnly, s.ISCSI.Portals = true, []string{"127.0.0.3"} }) // one of them is dead
	src.volume("raw", func(s *v1.PersistentVolumeSpec) {
		s.ISCSI.Lun, s.VolumeMode = 1, ptr.To(v1.PersistentVolumeBlock)
	})
	src.volume("none", func(s *v1.PersistentVolumeSpec) { s.ISCSI.Lun = 7 })
	src.volume("xfs", func(s *v1.PersistentVolumeSpec) { s.ISCSI.FSType = "xfs" })
	src.volume("named", func(s *v1.PersistentVolumeSpec) { s.ISCSI.InitiatorName = ptr.To(otherIQN) })
	pods := t.TempDir()
	up := func(claim string) (Volume, error) {
		made, err := Setup(t.Context(), filepath.Join(pods, claim, "volumes"), podOf(claim), env.Facts{}, src)
		return made["data"], err
	}
	down := func(claim string) {
		t.Helper()
		if err := Teardown(filepath.Join(pods, claim, "volumes")); err != nil {
			t.Errorf("%s: %v", claim, err)
		}
	}

	src.refuse = fmt.Errorf("another node may still be writing to it")
	if _, err := up("data"); err == nil || !strings.Contains(err.Error(), "another node") || sessionsThere() != 0 {
		t.Errorf("while another node has it: %v, with %d sessions", err, sessionsThere())
	}
	src.refuse = nil
	if _, err := up("data"); err == nil || !strings.Contains(err.Error(), "--login") || strings.Contains(err.Error(), "wrong-wrong") {
		t.Errorf("with another password than the target's: %v", err)
	}
	down("data")
	src.secret["node.session.auth.password"] = "open-sesame-now"
	data, err := up("data")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(data.Path, "f")
	if err := os.WriteFile(file, []byte("kept"), 0o644); err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(data.Path, &st); err != nil || st.Gid != 2000 {
		t.Errorf("it is of the group %d (%v), want the Pod's", st.Gid, err)
	}
	if same, err := up("data"); err != nil || same.Path != data.Path || sessionsThere() != 2 {
		t.Errorf("set up again it is %+v (%v), by %d sessions", same, err, sessionsThere())
	}
	raw, err := up("raw")
	if err != nil || !raw.Block || sessionsThere() != 2 {
		t.Fatalf("the disk itself: %+v (%v), by %d sessions", raw, err, sessionsThere())
	}
	if f, err := os.OpenFile(raw.Path, os.O_RDWR, 0); err != nil {
		t.Error(err)
	} else {
		if _, err := f.WriteAt([]byte("raw"), 4096); err != nil {
			t.Error(err)
		}
		f.Close()
	}
	if _, err := up("none"); err == nil || !strings.Contains(err.Error(), "no disk with the lun 7") {
		t.Errorf("a disk that is not there: %v", err)
	}
	down("none")
	down("data")
	if sessionsThere() != 2 {
		t.Errorf("%d sessions while another disk of the target is in use", sessionsThere())
	}
	down("raw")
	if n := sessionsThere(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}
	if left, _ := filepath.Glob("/etc/iscsi/nodes/*/*"); len(left) > 0 {
		t.Errorf("records with passwords are left: %q", left)
	}

	// Another Pod, which may only read.
	again, err := up("again")
	if err != nil || !again.ReadOnly {
		t.Fatalf("to be read: %+v, %v", again, err)
	}
	if b, err := os.ReadFile(filepath.Join(again.Path, "f")); string(b) != "kept" {
		t.Errorf("it holds %q (%v)", b, err)
	}
	if err := os.WriteFile(filepath.Join(again.Path, "g"), nil, 0o644); err == nil {
		t.Error("it can be written to")
	}
	down("again")
	if _, err := up("xfs"); err == nil || !strings.Contains(err.Error(), "has ext4, and fsType is xfs") {
		t.Errorf("as of another file system: %v", err)
	}
	down("xfs")
	if _, err := up("named"); err != nil {
		t.Errorf("under another name of this node: %v", err)
	}
	down("named")

	// A mount that somebody else has kept: the session stays until that is gone.
	kept := t.TempDir()
	if data, err = up("data"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(data.Path, kept, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	if err := Teardown(filepath.Join(pods, "data", "volumes")); err == nil || !strings.Contains(err.Error(), "still in use") || sessionsThere() != 2 {
		t.Errorf("let go while it is mounted elsewhere: %v, with %d sessions", err, sessionsThere())
	}
	if err := unix.Unmount(kept, 0); err != nil {
		t.Fatal(err)
	}
	down("data")
	if n := sessionsThere(); n != 0 {
		t.Errorf("%d sessions are left", n)
	}

	t.Setenv("PATH", "")
	if _, err := up("data"); err == nil || !strings.Contains(err.Error(), "install the package open-iscsi") {
		t.Errorf("on a host without an initiator: %v", err)
	}
}

func sessionsThere() int {
	found, _ := filepath.Glob("/sys/class/iscsi_session/session*")
	return len(found)
}

// startTarget has the kernel offer two disks to this node, by both of its names, which have to say who they are. See the kernel's Documentation/target/scripts.rst.
func startTarget(t *testing.T) {
	t.Helper()
	const root = "/sys/kernel/config"
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	set := func(path, value string) {
		t.Helper()
		must(os.WriteFile(filepath.Join(root, "target", path), []byte(value), 0o644))
	}
	dir := func(path string) string {
		t.Helper()
		must(os.MkdirAll(filepath.Join(root, "target", path), 0o755))
		return path
	}
	must(unix.Mount("configfs", root, "configfs", 0, ""))
	must(os.MkdirAll("/var/target", 0o700))
	dir("iscsi")
	tpg := dir("iscsi/" + targetIQN + "/tpgt_1")
	for i := range 2 {
		file := fmt.Sprintf("/var/target/disk%d", i)
		disk := dir(fmt.Sprintf("core/fileio_0/disk%d", i))
		must(os.WriteFile(file, nil, 0o600))
		must(os.Truncate(file, 64<<20))
		set(disk+"/control", fmt.Sprintf("fd_dev_name=%s,fd_dev_size=%d", file, 64<<20))
		set(disk+"/wwn/vpd_unit_serial", fmt.Sprintf("serial%d", i))
		set(disk+"/enable", "1")
		lun := dir(fmt.Sprintf("%s/lun/lun_%d", tpg, i))
		must(os.Symlink(filepath.Join(root, "target", disk), filepath.Join(root, "target", lun, "disk")))
	}
	dir(tpg + "/np/127.0.0.1:3260")
	dir(tpg + "/np/127.0.0.2:3260")
	set(tpg+"/attrib/authentication", "1")
	for _, initiator := range []string{nodeIQN, otherIQN} {
		acl := dir(tpg + "/acls/" + initiator)
		set(acl+"/auth/userid", "pods")
		set(acl+"/auth/password", "open-sesame-now")
		for i := range 2 {
			lun := dir(fmt.Sprintf("%s/lun_%d", acl, i))
			must(os.Symlink(filepath.Join(root, "target", tpg, fmt.Sprintf("lun/lun_%d", i)), filepath.Join(root, "target", lun, "lun")))
		}
	}
	set(tpg+"/enable", "1")
}

// startInitiator starts the host's initiator as its package does.
func startInitiator(t *testing.T) {
	t.Helper()
	for path, content := range map[string]string{"/etc/iscsi/initiatorname.iscsi": "InitiatorName=" + nodeIQN + "\n", "/etc/iscsi/iscsid.conf": "", "/run/lock/iscsi/lock": "", "/etc/passwd": "root:x:0:0:root:/:/bin/sh\n"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command("iscsid").CombinedOutput(); err != nil {
		t.Fatalf("iscsid: %v: %s", err, out)
	}
}

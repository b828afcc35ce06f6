package kubelet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/test/csidriver"
)

// sidecars runs the CSI project's own programs beside a driver, as its users deploy them.
func (h *host) sidecars(d *csidriver.Driver, programs ...string) {
	h.t.Helper()
	for _, program := range programs {
		h.beside(program, "--csi-address", filepath.Join(h.dir, "n", "kubelet", "plugins", d.Name, "csi.sock"))
	}
}

// beside runs one of the project's programs until the test ends.
func (h *host) beside(program string, args ...string) {
	h.t.Helper()
	log := filepath.Join(h.dir, program+".log")
	f, err := os.Create(log)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := exec.Command(program, append(args, "--kubeconfig", filepath.Join(h.dir, "cp", "admin.kubeconfig"), "--v=5")...)
	cmd.Stdout, cmd.Stderr = f, f
	if err := cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	f.Close()
	t := h.t
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if b, _ := os.ReadFile(log); t.Failed() {
			t.Logf("%s:\n%s", program, b[max(0, len(b)-8000):])
		}
	})
}

// installed skips a test without the CSI project's programs.
func installed(t *testing.T, programs ...string) {
	for _, program := range programs {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("SKIPPED: %v; build it from github.com/kubernetes-csi/external-%s", err, strings.NewReplacer("csi-", "", "snapshot-controller", "snapshotter").Replace(program))
		}
	}
}

// class makes a class of a driver, whose volumes can grow.
func (h *host) class(name string, d *csidriver.Driver) {
	h.t.Helper()
	if _, err := h.client.StorageV1().StorageClasses().Create(h.ctx(), &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: d.Name, AllowVolumeExpansion: ptr.To(true), VolumeBindingMode: ptr.To(storagev1.VolumeBindingWaitForFirstConsumer),
	}, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// grows has a claim ask for 32Mi, and waits until its volume has that much. The node's part is done within a minute, or when the next Pod begins to use it.
func (h *host) grows(claim, podName string) {
	h.t.Helper()
	c, _ := h.bound(claim)
	c.Spec.Resources.Requests[v1.ResourceStorage] = resource.MustParse("32Mi")
	if _, err := h.client.CoreV1().PersistentVolumeClaims("default").Update(h.ctx(), c, metav1.UpdateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("the volume to have grown", func() (bool, string) {
		c, v := h.bound(claim)
		return v.Spec.Capacity.Storage().String() == "32Mi", fmt.Sprintf("%s, %+v", v.Spec.Capacity.Storage(), c.Status)
	})
	h.deletePod(podName)
	h.create("again", onClaim(claim, "cat /data/x; exec sleep 1000"))
	h.wait("again", "to be ready", ready)
	h.eventually("the claim to have grown", func() (bool, string) {
		c, _ := h.bound(claim)
		return c.Status.Capacity.Storage().String() == "32Mi" && len(c.Status.Conditions) == 0 && len(c.Status.AllocatedResourceStatuses) == 0, fmt.Sprintf("%+v", c.Status)
	})
}

func TestTheProjectsResizerGrowsAVolumeTogetherWithTheNode(t *testing.T) {
	installed(t, "csi-resizer")
	h := start(t)
	d := &csidriver.Driver{Name: "grow.csi.example", Dir: filepath.Join(h.dir, "csi"), Node: "id-of-n1", Stages: true}
	stop := h.drive(d, `{attachRequired: false}`)
	defer stop()
	h.sidecars(d, "csi-resizer")
	h.class("disk", d)
	h.driven(d, "disk", "{}")
	h.create("db", onClaim("disk", "echo kept > /data/x; exec sleep 1000"))
	h.wait("db", "to be ready", ready)
	h.grows("disk", "db")
	h.deletePod("again")
	h.unmountedAll()
}

// The class of a claim's changeable attributes is carried out by the project's resizer; the cluster keeps what both say.
func TestTheProjectsResizerModifiesAVolume(t *testing.T) {
	installed(t, "csi-resizer")
	h := start(t)
	d := &csidriver.Driver{Name: "modify.csi.example", Dir: filepath.Join(h.dir, "csi"), Node: "id-of-n1", Stages: true}
	stop := h.drive(d, `{attachRequired: false}`)
	defer stop()
	h.sidecars(d, "csi-resizer")
	h.driven(d, "disk", "{}")
	for name, parameters := range map[string]map[string]string{"slow": {"iops": "1"}, "fast": {"iops": "2"}, "absurd": {"impossible": "yes"}} {
		if _, err := h.client.StorageV1().VolumeAttributesClasses().Create(h.ctx(), &storagev1.VolumeAttributesClass{
			ObjectMeta: metav1.ObjectMeta{Name: name}, DriverName: d.Name, Parameters: parameters,
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	h.create("db", onClaim("disk", "exec sleep 1000"))
	h.wait("db", "to be ready", ready)
	ask := func(class string) {
		t.Helper()
		body := fmt.Sprintf(`{"spec": {"volumeAttributesClassName": %q}}`, class)
		if _, err := h.client.CoreV1().PersistentVolumeClaims("default").Patch(h.ctx(), "disk", types.MergePatchType, []byte(body), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	has := func(class, parameters string) {
		t.Helper()
		h.eventually("the volume to be of the class "+class, func() (bool, string) {
			c, v := h.bound("disk")
			b, _ := os.ReadFile(filepath.Join(d.Dir, "volumes", "disk", "modified"))
			return ptr.Deref(c.Status.CurrentVolumeAttributesClassName, "") == class && ptr.Deref(v.Spec.VolumeAttributesClassName, "") == class && c.Status.ModifyVolumeStatus == nil &&
				string(b) == parameters, fmt.Sprintf("%q, %v, %+v", b, ptr.Deref(v.Spec.VolumeAttributesClassName, ""), c.Status)
		})
	}
	stands := func(class string, status v1.PersistentVolumeClaimModifyVolumeStatus) {
		t.Helper()
		h.eventually(fmt.Sprintf("a change to the class %s to be %s", class, status), func() (bool, string) {
			c, _ := h.bound("disk")
			s := c.Status.ModifyVolumeStatus
			return s != nil && s.TargetVolumeAttributesClassName == class && s.Status == status, fmt.Sprintf("%+v", c.Status)
		})
	}
	ask("slow")
	has("slow", "iops=1\n")

	if err := d.Fault("ControllerModifyVolume", "the array is busy"); err != nil {
		t.Fatal(err)
	}
	ask("fast")
	stands("fast", v1.PersistentVolumeClaimModifyVolumeInProgress)
	if err := d.Fault("ControllerModifyVolume", ""); err != nil {
		t.Fatal(err)
	}
	has("fast", "iops=2\n")

	ask("missing")
	stands("", v1.PersistentVolumeClaimModifyVolumePending) // the target is named once it is there
	ask("absurd")
	stands("absurd", v1.PersistentVolumeClaimModifyVolumeInfeasible)
	ask("fast")
	has("fast", "iops=2\n")
	h.wait("db", "to be ready still", ready)
	h.deletePod("db")
	h.unmountedAll()
}

func TestTheProjectsOwnSidecarsRunUnchanged(t *testing.T) {
	programs := []string{"csi-provisioner", "csi-resizer"}
	installed(t, programs...)
	h := start(t)
	d := &csidriver.Driver{Name: "side.csi.example", Dir: filepath.Join(h.dir, "csi"), Node: "id-of-n1", Stages: true}
	if _, err := exec.LookPath("csi-attacher"); err == nil {
		d.Attaches, programs = true, append(programs, "csi-attacher")
	}
	stop := h.drive(d, fmt.Sprintf("{attachRequired: %v}", d.Attaches))
	defer stop()
	h.sidecars(d, programs...)
	h.class("side", d)
	h.claim("data", `{storageClassName: side, resources: {requests: {storage: 16Mi}}}`)
	h.create("db", onClaim("data", "echo kept > /data/x; exec sleep 1000"))
	h.wait("db", "to be ready", ready)
	_, v := h.bound("data")
	h.eventually("it to be written", func() (bool, string) {
		b, err := os.ReadFile(filepath.Join(d.Dir, "volumes", v.Spec.CSI.VolumeHandle, "data", "x"))
		return string(b) == "kept\n", fmt.Sprint(err)
	})
	h.grows("data", "db")
	h.run("it goes with its claim", func(t *testing.T) {
		h.deletePod("again")
		if err := h.client.CoreV1().PersistentVolumeClaims("default").Delete(h.ctx(), "data", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		h.eventually("volume, attachment and data to be gone", func() (bool, string) {
			_, err := h.client.CoreV1().PersistentVolumes().Get(h.ctx(), v.Name, metav1.GetOptions{})
			list, listErr := h.client.StorageV1().VolumeAttachments().List(h.ctx(), metav1.ListOptions{})
			_, statErr := os.Stat(filepath.Join(d.Dir, "volumes", v.Spec.CSI.VolumeHandle))
			claim, _ := h.client.CoreV1().PersistentVolumeClaims("default").Get(h.ctx(), "data", metav1.GetOptions{})
			return apierrors.IsNotFound(err) && listErr == nil && len(list.Items) == 0 && os.IsNotExist(statErr), fmt.Sprint(err, list, statErr, claim)
		})
		h.unmountedAll()
	})
}

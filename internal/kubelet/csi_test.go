package kubelet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/test/csidriver"
)

// drive runs a storage driver on the node, and tells the cluster of it by the YAML of a CSIDriver's spec.
func (h *host) drive(d *csidriver.Driver, spec string) (stop func()) {
	h.t.Helper()
	object := &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: d.Name}}
	if err := yaml.UnmarshalStrict([]byte(spec), &object.Spec); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.client.StorageV1().CSIDrivers().Create(h.ctx(), object, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	root := filepath.Join(h.dir, "n", "kubelet")
	go func() {
		done <- d.Serve(ctx, filepath.Join(root, "plugins", d.Name, "csi.sock"), filepath.Join(root, "plugins_registry"))
	}()
	h.eventually("the driver to be listed", func() (bool, string) {
		n, err := h.client.StorageV1().CSINodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(n.Spec.Drivers, func(o storagev1.CSINodeDriver) bool { return o.Name == d.Name && o.NodeID == d.Node }), fmt.Sprint(n, err)
	})
	return func() {
		cancel()
		<-done
	}
}

// driven makes a volume of a driver, and a claim that is bound to it.
func (h *host) driven(d *csidriver.Driver, name, more string) {
	h.t.Helper()
	if err := d.Make(name, 16<<20); err != nil {
		h.t.Fatal(err)
	}
	v := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "pv-" + name}}
	v.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	v.Spec.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse("16Mi")}
	v.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
	v.Spec.StorageClassName = name
	v.Spec.CSI = &v1.CSIPersistentVolumeSource{Driver: d.Name, VolumeHandle: name}
	if err := yaml.UnmarshalStrict([]byte(more), &v.Spec); err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.client.CoreV1().PersistentVolumes().Create(h.ctx(), v, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	mode := "Filesystem"
	if v.Spec.VolumeMode != nil {
		mode = string(*v.Spec.VolumeMode)
	}
	h.claim(name, fmt.Sprintf("{storageClassName: %s, volumeMode: %s, resources: {requests: {storage: 16Mi}}}", name, mode))
}

// asked waits until the driver was asked for that, in that order, and nothing else about a volume.
func (h *host) asked(d *csidriver.Driver, volume string, want ...string) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("the calls %v", want), func() (bool, string) {
		var got []string
		for _, c := range d.Calls() {
			if call, of, _ := strings.Cut(c, " "); of == volume {
				got = append(got, call)
			}
		}
		return slices.Equal(got, want), fmt.Sprint(got)
	})
}

// unmountedAll checks that nothing of the drivers' volumes is left on the node.
func (h *host) unmountedAll() {
	h.t.Helper()
	for _, pattern := range []string{"pods/*", "plugins/kubernetes.io/csi/*/*/vol_data.json", "plugins/kubernetes.io/csi/volumeDevices/*/data"} {
		if left, _ := filepath.Glob(filepath.Join(h.dir, "n", "kubelet", pattern)); len(left) > 0 {
			h.t.Errorf("left: %v", left)
		}
	}
}

func TestVolumesOfAStorageDriver(t *testing.T) {
	h := start(t)
	d := &csidriver.Driver{Name: "test.csi.example", Dir: filepath.Join(h.dir, "csi"), Node: "id-of-n1", Stages: true, Limit: 5, Topology: map[string]string{"topology.test.csi.example/node": "n1"}}
	stop := h.drive(d, `{attachRequired: false, podInfoOnMount: true, fsGroupPolicy: File, volumeLifecycleModes: [Persistent, Ephemeral]}`)
	defer func() { stop() }()

	h.run("the cluster knows what it says of the node", func(t *testing.T) {
		n, err := h.client.StorageV1().CSINodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if got := n.Spec.Drivers[0]; *got.Allocatable.Count != 5 || got.TopologyKeys[0] != "topology.test.csi.example/node" || n.OwnerReferences[0].Kind != "Node" {
			t.Errorf("%+v", n)
		}
		node, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil || node.Labels["topology.test.csi.example/node"] != "n1" || !strings.Contains(node.Annotations["csi.volume.kubernetes.io/nodeid"], "id-of-n1") {
			t.Errorf("%v %v %v", node.Labels, node.Annotations, err)
		}
	})
	h.run("a volume is staged once and published for each Pod, also by a daemon that was killed", func(t *testing.T) {
		h.driven(d, "shared", `{csi: {driver: test.csi.example, volumeHandle: shared, volumeAttributes: {write-context-to: told}}}`)
		for _, name := range []string{"one", "two"} {
			h.create(name, strings.Replace(onClaim("shared", "echo "+name+" > /data/"+name+"; exec sleep 1000"), "{", "{securityContext: {fsGroup: 4321}, ", 1))
			h.wait(name, "to be ready", ready)
		}
		h.asked(d, "shared", "NodeStageVolume", "NodePublishVolume", "NodePublishVolume")
		h.eventually("the Pods to have written", func() (bool, string) {
			b, err := os.ReadFile(filepath.Join(d.Dir, "volumes", "shared", "data", "two"))
			return string(b) == "two\n", fmt.Sprint(err)
		})
		told, err := os.ReadFile(filepath.Join(d.Dir, "volumes", "shared", "data", "told"))
		if err != nil || !strings.Contains(string(told), "csi.storage.k8s.io/pod.name=two") {
			t.Errorf("the driver was told %s, %v", told, err)
		}
		h.killNode()
		h.delete("one")
		h.startNode()
		h.waitGone("one")
		h.deletePod("two")
		h.asked(d, "shared", "NodeStageVolume", "NodePublishVolume", "NodePublishVolume", "NodeUnpublishVolume", "NodeUnpublishVolume", "NodeUnstageVolume")
		h.unmountedAll()
	})
	h.run("an inline volume", func(t *testing.T) {
		h.create("inline", `{volumes: [{name: v, csi: {driver: test.csi.example}}], containers: [{name: c, command: [sh, -c, 'echo x > /data/x && exec sleep 1000'], volumeMounts: [{name: v, mountPath: /data}]}]}`)
		h.wait("inline", "to be ready", ready)
		h.deletePod("inline")
		h.unmountedAll()
	})
	h.run("a device", func(t *testing.T) {
		h.driven(d, "raw", `{volumeMode: Block}`)
		h.create("raw", `{volumes: [{name: v, persistentVolumeClaim: {claimName: raw}}],
  containers: [{name: c, command: [sh, -c, 'test -b /dev/raw && echo written | dd of=/dev/raw && dd if=/dev/raw bs=8 count=1; exec sleep 1000'], volumeDevices: [{name: v, devicePath: /dev/raw}]}]}`)
		h.wait("raw", "to be ready", ready)
		h.eventually("it to be written and read", func() (bool, string) {
			out := h.logs("raw", v1.PodLogOptions{})
			return strings.Contains(out, "written"), out
		})
		h.deletePod("raw")
		h.unmountedAll()
	})
	for call, c := range map[string]struct{ fault, want string }{
		"NodePublishVolume": {"lie", "nothing is mounted at"},
		"NodeStageVolume":   {"no such disk", "driver test.csi.example: rpc error: code = Internal desc = no such disk"},
	} {
		h.run("a driver that does not do "+call, func(t *testing.T) {
			name := strings.ToLower(call)
			if err := d.Fault(call, c.fault); err != nil {
				t.Fatal(err)
			}
			h.driven(d, name, "{}")
			h.create(name, onClaim(name, "exec sleep 1000"))
			if text := h.sees(name, "FailedMount"); !strings.Contains(text, c.want) {
				t.Errorf("it says %s", text)
			}
			if err := d.Fault(call, ""); err != nil {
				t.Fatal(err)
			}
			h.wait(name, "to be ready once the driver is in order", ready)
			h.deletePod(name)
			h.unmountedAll()
		})
	}
	for _, call := range []string{"NodeUnpublishVolume", "NodeUnstageVolume"} {
		h.run("a driver that says it has done "+call+" and has not", func(t *testing.T) {
			name := strings.ToLower(call)
			h.driven(d, name, "{}")
			h.create(name, onClaim(name, "echo kept > /data/x; exec sleep 1000"))
			h.wait(name, "to be ready", ready)
			data := filepath.Join(d.Dir, "volumes", name, "data", "x")
			h.eventually("the Pod to have written", func() (bool, string) {
				b, err := os.ReadFile(data)
				return string(b) == "kept\n", fmt.Sprint(err)
			})
			if err := d.Fault(call, "lie"); err != nil {
				t.Fatal(err)
			}
			h.delete(name)
			if text := h.sees(name, "FailedMount"); !strings.Contains(text, "still mounted at") {
				t.Errorf("it says %s", text)
			}
			if err := d.Fault(call, ""); err != nil {
				t.Fatal(err)
			}
			h.waitGone(name)
			if b, err := os.ReadFile(data); string(b) != "kept\n" {
				t.Errorf("its data is %q, %v", b, err)
			}
			h.unmountedAll()
		})
	}
	h.run("a driver that hangs holds up only its Pod", func(t *testing.T) {
		if err := d.Fault("NodePublishVolume", "hang"); err != nil {
			t.Fatal(err)
		}
		h.driven(d, "hung", "{}")
		h.create("hung", onClaim("hung", "exec sleep 1000"))
		h.asked(d, "hung", "NodeStageVolume", "NodePublishVolume")
		h.create("other", `{containers: [{name: c, command: [sleep, "1000"]}]}`)
		h.wait("other", "to be ready", ready)
		h.deletePod("hung")
		if err := d.Fault("NodePublishVolume", ""); err != nil {
			t.Fatal(err)
		}
		h.unmountedAll()
	})
	h.run("a driver that is gone", func(t *testing.T) {
		h.driven(d, "late", "{}")
		h.create("late", onClaim("late", "exec sleep 1000"))
		h.wait("late", "to be ready", ready)
		stop()
		h.create("never", strings.Replace(onClaim("late", "exec sleep 1000"), "{", "{nodeName: n1, ", 1))
		if text := h.sees("never", "FailedMount"); !strings.Contains(text, "not found in the list of registered CSI drivers") {
			t.Errorf("it says %s", text)
		}
		h.delete("late")
		if text := h.sees("late", "FailedMount"); !strings.Contains(text, "UnmountVolume.TearDown failed") {
			t.Errorf("it says %s", text)
		}
		stop = h.drive(d, `{}`)
		h.waitGone("late")
		h.wait("never", "to be ready now that the driver is back", ready)
		h.deletePod("never")
		h.unmountedAll()
	})
}

// attach runs a driver's attacher until the test's end.
func (h *host) attach(d *csidriver.Driver) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	h.t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		d.Attach(ctx, h.client)
	}()
}

func TestAVolumeIsAttachedBeforeItIsUsedAndDetachedAfter(t *testing.T) {
	h := start(t)
	d := &csidriver.Driver{Name: "att.csi.example", Dir: filepath.Join(h.dir, "csi"), Node: "id-of-n1", Stages: true, Attaches: true}
	stop := h.drive(d, `{attachRequired: true}`)
	defer stop()
	h.attach(d)
	h.driven(d, "disk", "{}")
	h.create("user", onClaim("disk", "exec sleep 1000"))
	h.wait("user", "to be ready", ready)
	h.sees("user", "SuccessfulAttachVolume")
	node := func() *v1.Node {
		n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := node(); len(n.Status.VolumesAttached) != 1 || len(n.Status.VolumesInUse) != 1 || n.Status.VolumesInUse[0] != "kubernetes.io/csi/att.csi.example^disk" {
		t.Errorf("the Node says %v, %v", n.Status.VolumesAttached, n.Status.VolumesInUse)
	}
	h.run("a daemon that was killed still says that it is in use, and it grows", func(t *testing.T) {
		h.killNode()
		h.startNode()
		v, err := h.client.CoreV1().PersistentVolumes().Get(h.ctx(), "pv-disk", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		v.Spec.Capacity[v1.ResourceStorage] = resource.MustParse("32Mi") // a resizer has made it larger
		if _, err := h.client.CoreV1().PersistentVolumes().Update(h.ctx(), v, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.deletePod("user")
		h.create("again", onClaim("disk", "exec sleep 1000"))
		h.wait("again", "to be ready", ready)
		h.sees("disk", "FileSystemResizeSuccessful")
	})
	h.deletePod("again")
	h.eventually("it to be detached", func() (bool, string) {
		list, err := h.client.StorageV1().VolumeAttachments().List(h.ctx(), metav1.ListOptions{})
		n := node()
		return err == nil && len(list.Items) == 0 && len(n.Status.VolumesAttached)+len(n.Status.VolumesInUse) == 0, fmt.Sprint(list, n.Status.VolumesAttached, n.Status.VolumesInUse)
	})
	h.unmountedAll()
}

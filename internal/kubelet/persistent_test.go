package kubelet_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// claim makes a claim from the YAML of its spec.
func (h *host) claim(name, spec string) {
	h.t.Helper()
	c := &v1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"}}
	if err := yaml.UnmarshalStrict([]byte(spec), &c.Spec); err != nil {
		h.t.Fatal(err)
	}
	if c.Spec.AccessModes == nil {
		c.Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce}
	}
	if _, err := h.client.CoreV1().PersistentVolumeClaims("default").Create(h.ctx(), c, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// bound waits until a claim is bound and gives both.
func (h *host) bound(name string) (*v1.PersistentVolumeClaim, *v1.PersistentVolume) {
	h.t.Helper()
	var c *v1.PersistentVolumeClaim
	h.eventually("claim "+name+" to be bound", func() (bool, string) {
		var err error
		c, err = h.client.CoreV1().PersistentVolumeClaims("default").Get(h.ctx(), name, metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return c.Status.Phase == v1.ClaimBound, fmt.Sprintf("%+v", c.Status)
	})
	v, err := h.client.CoreV1().PersistentVolumes().Get(h.ctx(), c.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	return c, v
}

// sees waits for an Event at an object, and gives its message.
func (h *host) sees(object, reason string) string {
	h.t.Helper()
	var text string
	h.eventually("an Event "+reason+" at "+object, func() (bool, string) {
		list, err := h.client.CoreV1().Events("default").List(h.ctx(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		var all []string
		for i := range list.Items {
			if e := &list.Items[i]; e.InvolvedObject.Name == object {
				if e.Reason == reason {
					text = e.Message
					return true, ""
				}
				all = append(all, e.Reason+": "+e.Message)
			}
		}
		return false, strings.Join(all, "\n")
	})
	return text
}

// gone waits until a Pod is.
func (h *host) gone(podName string) {
	h.t.Helper()
	h.eventually("Pod "+podName+" to be gone", func() (bool, string) {
		_, err := h.client.CoreV1().Pods("default").Get(h.ctx(), podName, metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
}

func (h *host) deletePod(podName string) {
	h.t.Helper()
	if err := h.client.CoreV1().Pods("default").Delete(h.ctx(), podName, metav1.DeleteOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.gone(podName)
}

// onClaim is the spec of a Pod that has a claim at /data and runs a script.
func onClaim(claim, script string) string {
	return fmt.Sprintf(`{volumes: [{name: v, persistentVolumeClaim: {claimName: %s}}], containers: [{name: c, command: [sh, -c, %q], volumeMounts: [{name: v, mountPath: /data}]}]}`, claim, script)
}

func TestAClaimOfTheBuiltInClassFromBeginningToEnd(t *testing.T) {
	h := start(t)
	h.claim("data", `{resources: {requests: {storage: 32Mi}}}`)
	h.create("writer", onClaim("data", "echo kept > /data/x; exec sleep 1000"))
	h.wait("writer", "to be ready", ready)
	_, v := h.bound("data")
	if v.Spec.StorageClassName != "local" || !pv.IsLocal(v) || v.Annotations[pv.AnnMade] == "" {
		t.Errorf("the volume is %+v", v)
	}
	h.eventually("the node to have written it", func() (bool, string) {
		b, err := os.ReadFile(filepath.Join(v.Spec.Local.Path, "x"))
		return string(b) == "kept\n", fmt.Sprint(err)
	})
	if want := filepath.Join(h.dir, "n", "volumes", "default"); !strings.HasPrefix(v.Spec.Local.Path, want) {
		t.Errorf("the data is at %s, want below %s", v.Spec.Local.Path, want)
	}

	h.run("a new Pod finds the data, after a crash of the daemon too", func(t *testing.T) {
		h.killNode()
		h.startNode()
		h.deletePod("writer")
		h.create("reader", onClaim("data", "cat /data/x; exec sleep 1000"))
		h.wait("reader", "to be ready", ready)
		h.eventually("it to read", func() (bool, string) {
			out := h.logs("reader", v1.PodLogOptions{})
			return strings.Contains(out, "kept"), out
		})
	})
	h.run("how full it is can be read", func(t *testing.T) {
		raw, err := h.client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/n1/proxy/metrics").DoRaw(h.ctx())
		if err != nil {
			t.Fatal(err)
		}
		if want := `kubelet_volume_stats_capacity_bytes{namespace="default",persistentvolumeclaim="data"}`; !strings.Contains(string(raw), want) {
			t.Errorf("/metrics lacks %s", want)
		}
		raw, err = h.client.CoreV1().RESTClient().Get().AbsPath("/api/v1/nodes/n1/proxy/stats/summary").DoRaw(h.ctx())
		if err != nil || !strings.Contains(string(raw), `"pvcRef"`) {
			t.Errorf("/stats/summary lacks the volume: %v", err)
		}
	})
	h.run("a claim that asks for more than there is room for is told so", func(t *testing.T) {
		h.claim("huge", `{resources: {requests: {storage: 900Ti}}}`)
		h.create("greedy", onClaim("huge", "true"))
		if text := h.sees("greedy", "FailedScheduling"); !strings.Contains(text, "did not have enough free storage") {
			t.Errorf("it says %s", text)
		}
	})
	h.run("a claim of a class that does not exist is told so, and bound once it does", func(t *testing.T) {
		h.claim("early", `{storageClassName: later, resources: {requests: {storage: 8Mi}}}`)
		h.create("patient", onClaim("early", "exec sleep 1000"))
		if text := h.sees("early", "ProvisioningFailed"); !strings.Contains(text, `"later" not found`) {
			t.Errorf("it says %s", text)
		}
		if text := h.sees("patient", "FailedScheduling"); !strings.Contains(text, "unbound immediate PersistentVolumeClaims") {
			t.Errorf("it says %s", text)
		}
		class, err := h.client.StorageV1().StorageClasses().Get(h.ctx(), "local", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		class.ObjectMeta = metav1.ObjectMeta{Name: "later"}
		if _, err := h.client.StorageV1().StorageClasses().Create(h.ctx(), class, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.wait("patient", "to be ready", ready)
		h.deletePod("patient")
	})
	h.run("a volume that is full is told so, and grows", func(t *testing.T) {
		h.deletePod("reader")
		h.create("filler", onClaim("data", "dd if=/dev/zero of=/data/big bs=1M count=100; exec sleep 1000"))
		h.wait("filler", "to be ready", ready)
		if text := h.sees("filler", "VolumeFull"); !strings.Contains(text, "claim data") {
			t.Errorf("it says %s", text)
		}
		c, _ := h.bound("data")
		c.Spec.Resources.Requests[v1.ResourceStorage] = resource.MustParse("64Mi")
		if _, err := h.client.CoreV1().PersistentVolumeClaims("default").Update(h.ctx(), c, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.sees("data", "Resizing")
		h.eventually("the volume to say that it grows", func() (bool, string) {
			_, v := h.bound("data")
			return v.Spec.Capacity.Storage().String() == "64Mi", v.Spec.Capacity.Storage().String()
		})
		h.deletePod("filler")
		h.create("again", onClaim("data", "exec sleep 1000"))
		h.wait("again", "to be ready", ready)
		h.eventually("the claim to have grown", func() (bool, string) {
			c, _ := h.bound("data")
			return c.Status.Capacity.Storage().String() == "64Mi", fmt.Sprintf("%+v", c.Status)
		})
		var st unix.Statfs_t
		if err := unix.Statfs(v.Spec.Local.Path, &st); err != nil || int64(st.Blocks)*st.Bsize < 48<<20 {
			t.Errorf("the file system has %d bytes, %v", int64(st.Blocks)*st.Bsize, err)
		}
	})
	h.run("a directory that somebody deleted is not made anew", func(t *testing.T) {
		h.deletePod("again")
		dir := filepath.Dir(v.Spec.Local.Path)
		if err := unix.Unmount(v.Spec.Local.Path, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		h.create("lost", onClaim("data", "exec sleep 1000"))
		if text := h.sees("lost", "FailedMount"); !strings.Contains(text, "its data is gone") || !strings.Contains(text, dir) {
			t.Errorf("it says %s", text)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s is there again", dir)
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		h.wait("lost", "to be ready, now that the directory is back", ready)
		h.deletePod("lost")
	})
	h.run("with its claim the data goes, and not before", func(t *testing.T) {
		if err := h.client.CoreV1().PersistentVolumeClaims("default").Delete(h.ctx(), "data", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		h.eventually("the volume to be gone", func() (bool, string) {
			v, err := h.client.CoreV1().PersistentVolumes().Get(h.ctx(), v.Name, metav1.GetOptions{})
			return apierrors.IsNotFound(err), fmt.Sprintf("%+v", v)
		})
		if _, err := os.Stat(filepath.Dir(v.Spec.Local.Path)); !os.IsNotExist(err) {
			t.Errorf("its directory is left: %v", err)
		}
	})
}

func TestAVolumeOfALostClusterIsBroughtBack(t *testing.T) {
	h := start(t)
	h.claim("data", `{resources: {requests: {storage: 16Mi}}}`)
	h.create("writer", onClaim("data", "echo kept > /data/x; exec sleep 1000"))
	h.wait("writer", "to be ready", ready)
	_, v := h.bound("data")
	h.eventually("the data to be there", func() (bool, string) {
		b, err := os.ReadFile(filepath.Join(v.Spec.Local.Path, "x"))
		return string(b) == "kept\n", fmt.Sprint(err)
	})
	// What the loss of the cluster's state leaves of claim and volume: nothing. The finalizers go first, as nobody is asked then.
	h.killNode()
	ctx := context.Background()
	pods, claims, volumes := h.client.CoreV1().Pods("default"), h.client.CoreV1().PersistentVolumeClaims("default"), h.client.CoreV1().PersistentVolumes()
	zero := int64(0)
	if err := pods.Delete(ctx, "writer", metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil {
		t.Fatal(err)
	}
	bare := []byte(`{"metadata":{"finalizers":null}}`)
	if err := volumes.Delete(ctx, v.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := volumes.Patch(ctx, v.Name, "application/merge-patch+json", bare, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := claims.Delete(ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the claim to be gone", func() (bool, string) {
		_, err := claims.Get(ctx, "data", metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	h.startNode()
	h.eventually("the volume to be back", func() (bool, string) {
		back, err := volumes.Get(ctx, v.Name, metav1.GetOptions{})
		return err == nil && back.UID != v.UID, fmt.Sprint(err)
	})
	h.claim("data", `{resources: {requests: {storage: 16Mi}}}`)
	h.create("reader", onClaim("data", "cat /data/x; exec sleep 1000"))
	h.wait("reader", "to be ready", ready)
	h.eventually("it to read", func() (bool, string) {
		out := h.logs("reader", v1.PodLogOptions{})
		return strings.Contains(out, "kept"), out
	})
}

func TestVolumesMadeByHand(t *testing.T) {
	h := start(t)
	volume := func(name, spec string) {
		t.Helper()
		v := &v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := yaml.UnmarshalStrict([]byte(spec), &v.Spec); err != nil {
			t.Fatal(err)
		}
		v.Spec.Capacity = v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}
		v.Spec.StorageClassName = name
		if _, err := h.client.CoreV1().PersistentVolumes().Create(h.ctx(), v, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		modes, err := yaml.Marshal(v.Spec.AccessModes)
		if err != nil {
			t.Fatal(err)
		}
		block := ""
		if v.Spec.VolumeMode != nil {
			block = "volumeMode: " + string(*v.Spec.VolumeMode) + "\n"
		}
		h.claim(name, fmt.Sprintf("storageClassName: %s\naccessModes:\n%s%sresources: {requests: {storage: 1Gi}}\n", name, modes, block))
	}
	dir := filepath.Join(h.dir, "disk")
	if err := os.MkdirAll(filepath.Join(dir, "part"), 0o755); err != nil {
		t.Fatal(err)
	}
	affinity := `nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [%s]}]}]}}`
	volume("disk", fmt.Sprintf(`{accessModes: [ReadWriteOnce], local: {path: %q}, `+affinity+`}`, dir, "n1"))
	volume("elsewhere", fmt.Sprintf(`{accessModes: [ReadWriteOnce], local: {path: %q}, `+affinity+`}`, dir, "n2"))
	volume("missing", fmt.Sprintf(`{accessModes: [ReadWriteOnce], local: {path: %q}, `+affinity+`}`, dir+"/missing", "n1"))
	volume("share", `{accessModes: [ReadWriteMany], nfs: {server: 192.0.2.10, path: /share}}`)
	volume("host", fmt.Sprintf(`{accessModes: [ReadOnlyMany], hostPath: {path: %q}}`, dir))
	volume("single", fmt.Sprintf(`{accessModes: [ReadWriteOncePod], hostPath: {path: %q}}`, dir))

	h.run("part of a local volume, with a group of its own", func(t *testing.T) {
		h.create("disk", `{securityContext: {fsGroup: 4321}, volumes: [{name: v, persistentVolumeClaim: {claimName: disk}}],
  containers: [{name: c, command: [sh, -c, 'echo x > /part/file; stat -c %g /part /part/file; exec sleep 1000'], volumeMounts: [{name: v, mountPath: /part, subPath: part}]}]}`)
		h.wait("disk", "to be ready", ready)
		h.eventually("the file to be there", func() (bool, string) {
			out := h.logs("disk", v1.PodLogOptions{})
			return strings.Contains(out, "4321\n4321\n"), out
		})
		if _, err := os.Stat(filepath.Join(dir, "part", "file")); err != nil {
			t.Error(err)
		}
	})
	h.run("a volume that is only read", func(t *testing.T) {
		h.create("host", onClaim("host", "touch /data/x; exec sleep 1000"))
		h.wait("host", "to be ready", ready)
		h.eventually("it to have tried", func() (bool, string) {
			out := h.logs("host", v1.PodLogOptions{})
			return strings.Contains(out, "Read-only file system"), out
		})
	})
	for name, want := range map[string]string{"missing": "does not exist on this node", "share": "no NFS client"} {
		if name == "share" {
			if _, err := os.Stat("/sbin/mount.nfs"); err == nil {
				continue
			}
		}
		h.run("what cannot be mounted is told: "+name, func(t *testing.T) {
			h.create(name, onClaim(name, "true"))
			if text := h.sees(name, "FailedMount"); !strings.Contains(text, want) {
				t.Errorf("it says %s", text)
			}
		})
	}
	h.run("a volume of another node", func(t *testing.T) {
		h.create("elsewhere", strings.Replace(onClaim("elsewhere", "true"), "{", "{nodeName: n1, ", 1))
		if text := h.sees("elsewhere", "FailedMount"); !strings.Contains(text, "cannot be reached from this node") {
			t.Errorf("it says %s", text)
		}
	})
	h.run("a volume for one Pod at a time", func(t *testing.T) {
		h.create("first", onClaim("single", "exec sleep 1000"))
		h.wait("first", "to be ready", ready)
		h.create("second", strings.Replace(onClaim("single", "exec sleep 1000"), "{", "{nodeName: n1, ", 1))
		if text := h.sees("second", "FailedMount"); !strings.Contains(text, "ReadWriteOncePod") {
			t.Errorf("it says %s", text)
		}
		h.deletePod("first")
		h.wait("second", "to be ready", ready)
	})
}

func TestABlockVolumeIsADeviceInItsContainer(t *testing.T) {
	h := start(t)
	h.claim("raw", `{volumeMode: Block, resources: {requests: {storage: 16Mi}}}`)
	h.create("raw", `{volumes: [{name: v, persistentVolumeClaim: {claimName: raw}}],
  containers: [{name: c, command: [sh, -c, 'test -b /dev/raw && echo written | dd of=/dev/raw && dd if=/dev/raw bs=8 count=1; exec sleep 1000'], volumeDevices: [{name: v, devicePath: /dev/raw}]}]}`)
	h.wait("raw", "to be ready", ready)
	h.eventually("it to be written and read", func() (bool, string) {
		out := h.logs("raw", v1.PodLogOptions{})
		return strings.Contains(out, "written"), out
	})
}

func TestAnEphemeralVolumeGoesWithItsPod(t *testing.T) {
	h := start(t)
	h.create("scratch", `{volumes: [{name: v, ephemeral: {volumeClaimTemplate: {spec: {accessModes: [ReadWriteOnce], resources: {requests: {storage: 16Mi}}}}}}],
  containers: [{name: c, command: [sh, -c, 'echo x > /data/x; exec sleep 1000'], volumeMounts: [{name: v, mountPath: /data}]}]}`)
	h.wait("scratch", "to be ready", ready)
	_, v := h.bound("scratch-v")
	h.deletePod("scratch")
	h.eventually("claim, volume and data to be gone", func() (bool, string) {
		_, err := h.client.CoreV1().PersistentVolumes().Get(h.ctx(), v.Name, metav1.GetOptions{})
		_, statErr := os.Stat(filepath.Dir(v.Spec.Local.Path))
		return apierrors.IsNotFound(err) && os.IsNotExist(statErr), fmt.Sprint(err, statErr)
	})
}

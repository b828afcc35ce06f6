package kubelet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	snapshotclient "github.com/kubernetes-csi/external-snapshotter/client/v8/clientset/versioned"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/pv"
	"github.com/gitopsd/gitopsd/test/csidriver"
)

// kinds is the client of VolumeSnapshots.
func (h *host) kinds() snapshotclient.Interface {
	h.t.Helper()
	c, err := snapshotclient.NewForConfig(h.config)
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// snapshot takes one of a claim and waits until it can be used.
func (h *host) snapshot(name, claim string) *snapshotv1.VolumeSnapshot {
	h.t.Helper()
	api := h.kinds().SnapshotV1().VolumeSnapshots("default")
	h.eventually("a snapshot to be accepted", func() (bool, string) {
		_, err := api.Create(h.ctx(), &snapshotv1.VolumeSnapshot{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: &claim}},
		}, metav1.CreateOptions{})
		return err == nil, fmt.Sprint(err)
	})
	return h.snapshotReady(name)
}

func (h *host) snapshotReady(name string) *snapshotv1.VolumeSnapshot {
	h.t.Helper()
	var s *snapshotv1.VolumeSnapshot
	h.eventually("snapshot "+name+" to be ready", func() (bool, string) {
		var err error
		if s, err = h.kinds().SnapshotV1().VolumeSnapshots("default").Get(h.ctx(), name, metav1.GetOptions{}); err != nil {
			return false, err.Error()
		}
		text := ""
		if s.Status != nil && s.Status.Error != nil {
			text = ptr.Deref(s.Status.Error.Message, "")
		}
		return s.Status != nil && ptr.Deref(s.Status.ReadyToUse, false), fmt.Sprintf("%s %+v", text, s.Status)
	})
	return s
}

func TestSnapshotsAndClonesOfTheBuiltInClass(t *testing.T) {
	h := start(t)
	h.claim("data", `{resources: {requests: {storage: 32Mi}}}`)
	h.create("db", onClaim("data", "echo one > /data/x; exec sleep 1000"))
	h.wait("db", "to be ready", ready)
	h.exec("db", "sh", "-c", "sync; cat /data/x")
	s := h.snapshot("before", "data")
	if s.Status.RestoreSize.String() != "32Mi" || s.Status.CreationTime == nil || *s.Spec.VolumeSnapshotClassName != "local" {
		t.Errorf("it says %+v, %+v", s.Spec, s.Status)
	}
	dir := filepath.Join(h.dir, "n", "volumes", "default", "before-"+string(s.UID))
	if _, err := os.Stat(filepath.Join(dir, "snapshot.img")); err != nil {
		t.Error(err)
	}
	h.exec("db", "sh", "-c", "echo two > /data/x")

	h.run("a claim begins with a snapshot, larger", func(t *testing.T) {
		h.claim("restored", `{dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: before}, resources: {requests: {storage: 64Mi}}}`)
		h.create("reader", onClaim("restored", "cat /data/x; df -m /data | tail -1; exec sleep 1000"))
		h.wait("reader", "to be ready", ready)
		if out := h.exec("reader", "cat", "/data/x"); out != "one\n" {
			t.Errorf("it has %q", out)
		}
		h.sees("restored", "ProvisioningSucceeded")
	})
	h.run("and a clone with what the other has now, while that is in use", func(t *testing.T) {
		h.claim("copy", `{dataSourceRef: {kind: PersistentVolumeClaim, name: data}, resources: {requests: {storage: 32Mi}}}`)
		h.create("cloner", onClaim("copy", "echo three >> /data/x; exec sleep 1000"))
		h.wait("cloner", "to be ready", ready)
		if out := h.exec("cloner", "cat", "/data/x"); out != "two\nthree\n" {
			t.Errorf("it has %q", out)
		}
		if out := h.exec("db", "cat", "/data/x"); out != "two\n" {
			t.Errorf("the source has %q", out)
		}
	})
	h.run("what there is nothing of is not bound, and says so", func(t *testing.T) {
		h.claim("nothing", `{dataSource: {apiGroup: snapshot.storage.k8s.io, kind: VolumeSnapshot, name: never}, resources: {requests: {storage: 32Mi}}}`)
		h.create("waiter", onClaim("nothing", "exec sleep 1000"))
		if text := h.sees("nothing", "ProvisioningFailed"); !strings.Contains(text, "VolumeSnapshot never, does not exist") {
			t.Error(text)
		}
		if text := h.sees("waiter", "FailedScheduling"); !strings.Contains(text, "did not have the data") {
			t.Error(text)
		}
		h.delete("waiter")
	})
	h.run("a snapshot of a volume whose directory was deleted by hand fails and says so", func(t *testing.T) {
		h.claim("lost", `{resources: {requests: {storage: 8Mi}}}`)
		h.create("loser", onClaim("lost", "exec sleep 1000"))
		h.wait("loser", "to be ready", ready)
		h.deletePod("loser")
		_, v := h.bound("lost")
		if err := unix.Unmount(v.Spec.Local.Path, 0); err != nil {
			t.Fatal(err)
		}
		if err := os.RemoveAll(filepath.Dir(v.Spec.Local.Path)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.kinds().SnapshotV1().VolumeSnapshots("default").Create(h.ctx(), &snapshotv1.VolumeSnapshot{
			ObjectMeta: metav1.ObjectMeta{Name: "late"}, Spec: snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To("lost")}},
		}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if text := h.sees("late", "SnapshotCreationFailed"); !strings.Contains(text, "its directory is gone") {
			t.Error(text)
		}
	})
	h.run("a control plane that lost everything is offered it", func(t *testing.T) {
		api := h.kinds().SnapshotV1()
		h.killNode()
		// As after the loss of etcd, of this much: the objects are gone, and nobody dealt with the data.
		content, err := api.VolumeSnapshotContents().Get(h.ctx(), pv.ContentName(s), metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		content.Finalizers, content.Spec.DeletionPolicy = nil, snapshotv1.VolumeSnapshotContentRetain
		if _, err = api.VolumeSnapshotContents().Update(h.ctx(), content, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := api.VolumeSnapshots("default").Delete(h.ctx(), "before", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := api.VolumeSnapshotContents().Delete(h.ctx(), content.Name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		h.eventually("both to be gone", func() (bool, string) {
			_, one := api.VolumeSnapshots("default").Get(h.ctx(), "before", metav1.GetOptions{})
			_, other := api.VolumeSnapshotContents().Get(h.ctx(), content.Name, metav1.GetOptions{})
			return apierrors.IsNotFound(one) && apierrors.IsNotFound(other), fmt.Sprint(one, other)
		})
		h.startNode()
		if again := h.snapshotReady("before"); again.Status.RestoreSize.String() != "32Mi" {
			t.Errorf("%+v", again.Status)
		}
	})
	h.run("it goes with its VolumeSnapshot, and what began with it stays", func(t *testing.T) {
		if err := h.kinds().SnapshotV1().VolumeSnapshots("default").Delete(h.ctx(), "before", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		h.eventually("the data to be gone", func() (bool, string) {
			_, err := os.Stat(dir)
			_, gone := h.kinds().SnapshotV1().VolumeSnapshots("default").Get(h.ctx(), "before", metav1.GetOptions{})
			return os.IsNotExist(err) && apierrors.IsNotFound(gone), fmt.Sprint(err, gone)
		})
		if out := h.exec("reader", "cat", "/data/x"); out != "one\n" {
			t.Errorf("it has %q", out)
		}
	})
	for _, p := range []string{"db", "reader", "cloner"} {
		h.delete(p)
	}
	for _, c := range []string{"data", "restored", "copy", "nothing", "lost"} {
		if err := h.client.CoreV1().PersistentVolumeClaims("default").Delete(h.ctx(), c, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	h.eventually("every volume to be gone", func() (bool, string) {
		list, err := h.client.CoreV1().PersistentVolumes().List(h.ctx(), metav1.ListOptions{})
		return err == nil && len(list.Items) == 0, fmt.Sprint(err, names(list))
	})
}

func names(l *v1.PersistentVolumeList) (out []string) {
	for i := range l.Items {
		out = append(out, l.Items[i].Name)
	}
	return out
}

// TestTheProjectsSnapshotControllerRunsBesideOurs has both look at the same kinds, as where a storage driver's snapshots need the project's.
func TestTheProjectsSnapshotControllerRunsBesideOurs(t *testing.T) {
	installed(t, "snapshot-controller")
	h := start(t)
	h.beside("snapshot-controller")
	d := &csidriver.Driver{Name: "shots.csi.example", Dir: filepath.Join(h.dir, "csi"), Node: "id-of-n1", Stages: true}
	stop := h.drive(d, `{attachRequired: false}`)
	defer stop()
	h.driven(d, "disk", "{}")
	h.claim("data", `{resources: {requests: {storage: 16Mi}}}`)
	h.create("db", onClaim("data", "echo one > /data/x; exec sleep 1000"))
	h.wait("db", "to be ready", ready)
	api := h.kinds().SnapshotV1()

	// The driver's is the project's: ours does not touch it.
	h.eventually("a class of the driver's", func() (bool, string) {
		_, err := api.VolumeSnapshotClasses().Create(h.ctx(), &snapshotv1.VolumeSnapshotClass{
			ObjectMeta: metav1.ObjectMeta{Name: "shots"}, Driver: d.Name, DeletionPolicy: snapshotv1.VolumeSnapshotContentDelete,
		}, metav1.CreateOptions{})
		return err == nil || apierrors.IsAlreadyExists(err), fmt.Sprint(err)
	})
	if _, err := api.VolumeSnapshots("default").Create(h.ctx(), &snapshotv1.VolumeSnapshot{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: snapshotv1.VolumeSnapshotSpec{
		VolumeSnapshotClassName: ptr.To("shots"), Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To("disk")},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the project's controller to have begun its own", func() (bool, string) {
		list, err := api.VolumeSnapshotContents().List(h.ctx(), metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(list.Items, func(c snapshotv1.VolumeSnapshotContent) bool {
			return c.Spec.Driver == d.Name && c.Spec.VolumeSnapshotRef.Name == "theirs"
		}), fmt.Sprint(list, err)
	})

	for i := range 3 {
		h.snapshot(fmt.Sprint("ours-", i), "data")
	}
	// Both are level-triggered: would either undo the other's, they would not come to rest.
	still := time.Now()
	last := ""
	h.eventually("both to be at rest for ten seconds", func() (bool, string) {
		snapshots, err := api.VolumeSnapshots("default").List(h.ctx(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		contents, err := api.VolumeSnapshotContents().List(h.ctx(), metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		var now strings.Builder
		for _, s := range snapshots.Items {
			fmt.Fprintln(&now, s.Name, s.ResourceVersion)
		}
		for _, c := range contents.Items {
			fmt.Fprintln(&now, c.Name, c.ResourceVersion)
		}
		if now.String() != last {
			last, still = now.String(), time.Now()
		}
		return time.Since(still) > 10*time.Second, last
	})
	for i := range 3 {
		h.snapshotReady(fmt.Sprint("ours-", i))
	}
	if err := api.VolumeSnapshots("default").Delete(h.ctx(), "ours-0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("one to be gone with its data", func() (bool, string) {
		_, err := api.VolumeSnapshots("default").Get(h.ctx(), "ours-0", metav1.GetOptions{})
		left, _ := filepath.Glob(filepath.Join(h.dir, "n", "volumes", "default", "ours-0-*"))
		return apierrors.IsNotFound(err) && len(left) == 0, fmt.Sprint(err, left)
	})
}

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/csidriver"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/shop"
)

// disk names a network volume, its claim, and the Deployment of one Pod that has it.
const disk = "network-disk"

// handover is a network volume of a driver that runs at both workers.
type handover struct {
	*shop.Shop
	t      *testing.T
	driver string
	dir    string // of the driver's state
}

// share runs the driver and its attacher, and makes the volume and its claim.
func share(t *testing.T, ctx context.Context, s *shop.Shop) handover {
	t.Helper()
	h := handover{s, t, "handover.csi.example", t.TempDir()}
	var running sync.WaitGroup
	serving, stop := context.WithCancel(context.Background())
	t.Cleanup(func() { stop(); running.Wait() })
	attaches := true
	must(t, s.API.StorageV1().CSIDrivers().Create, ctx, &storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: h.driver}, Spec: storagev1.CSIDriverSpec{AttachRequired: &attaches}})
	for _, w := range s.Workers() {
		d := &csidriver.Driver{Name: h.driver, Dir: h.dir, Node: "id-of-" + w.Name, Attaches: true, Stages: true}
		root := filepath.Join(s.Dir(), w.Name, "kubelet")
		running.Go(func() {
			if err := d.Serve(serving, filepath.Join(root, "plugins", d.Name, "csi.sock"), filepath.Join(root, "plugins_registry")); err != nil {
				t.Error(err)
			}
		})
	}
	d := &csidriver.Driver{Name: h.driver, Dir: h.dir} // beside the controllers: it serves nothing
	running.Go(func() { d.Attach(serving, s.API) })
	running.Go(func() { h.watch(serving) })
	if err := d.Make(disk, 16<<20); err != nil {
		t.Fatal(err)
	}
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("16Mi")}
	once, class := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, ""
	must(t, s.API.CoreV1().PersistentVolumes().Create, ctx, &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: disk}, Spec: corev1.PersistentVolumeSpec{
		AccessModes: once, Capacity: size, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: h.driver, VolumeHandle: disk}},
	}})
	must(t, s.API.CoreV1().PersistentVolumeClaims(shop.Namespace).Create, ctx, &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: disk}, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: once, VolumeName: disk, StorageClassName: &class, Resources: corev1.VolumeResourceRequirements{Requests: size},
	}})
	t.Cleanup(func() { h.remove(afterwards(t)) }) // while the driver runs
	return h
}

// remove deletes all that was made, and waits until the volume is at no node any more.
func (h handover) remove(ctx context.Context) {
	background := metav1.DeletePropagationBackground
	for _, err := range []error{
		h.API.AppsV1().Deployments(shop.Namespace).Delete(ctx, disk, metav1.DeleteOptions{PropagationPolicy: &background}),
		h.API.CoreV1().PersistentVolumeClaims(shop.Namespace).Delete(ctx, disk, metav1.DeleteOptions{}),
		h.API.CoreV1().PersistentVolumes().Delete(ctx, disk, metav1.DeleteOptions{}),
	} {
		if err != nil {
			h.t.Error(err)
		}
	}
	h.eventually(ctx, "the volume to be let go", func() (bool, string) {
		list, err := h.API.StorageV1().VolumeAttachments().List(ctx, metav1.ListOptions{})
		at := h.mountedAt()
		return err == nil && len(list.Items)+len(at) == 0, fmt.Sprint(list, err, at)
	})
	if err := h.API.StorageV1().CSIDrivers().Delete(ctx, h.driver, metav1.DeleteOptions{}); err != nil {
		h.t.Error(err)
	}
}

// must creates an object.
func must[T any](t *testing.T, create func(context.Context, T, metav1.CreateOptions) (T, error), ctx context.Context, object T) {
	t.Helper()
	if _, err := create(ctx, object, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// mounts are where the volume is mounted, all workers together.
func (h handover) mounts() []string {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		h.t.Error(err)
	}
	var out []string
	for line := range strings.Lines(string(b)) {
		// See proc_pid_mountinfo(5): the fourth field is what is mounted, the fifth where.
		if f := strings.Fields(line); len(f) > 5 && strings.HasSuffix(f[3], filepath.Join(filepath.Base(h.dir), "volumes", disk, "data")) {
			out = append(out, f[4])
		}
	}
	return out
}

// mountedAt are the workers at which the volume is mounted.
func (h handover) mountedAt() []string {
	var out []string
	for _, at := range h.mounts() {
		for _, w := range h.Workers() {
			if strings.Contains(at, "/"+w.Name+"/kubelet/") {
				out = append(out, w.Name)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// watch fails the test once the volume is mounted at two workers.
func (h handover) watch(ctx context.Context) {
	for tick := time.NewTicker(5 * time.Millisecond); ; {
		if at := h.mountedAt(); len(at) > 1 {
			h.t.Errorf("the volume is mounted at %v: %v", at, h.mounts())
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (h handover) eventually(ctx context.Context, what string, check func() (bool, string)) {
	h.t.Helper()
	for {
		ok, state := check()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			h.t.Fatalf("waiting for %s: %v: %s", what, ctx.Err(), state)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// user is the Pod that has the volume or waits for it: the one that is not being deleted. It is nil while there is none with a node.
func (h handover) user(ctx context.Context) *corev1.Pod {
	list, err := h.API.CoreV1().Pods(shop.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app=" + disk})
	if err != nil {
		h.t.Fatal(err)
	}
	for _, p := range list.Items {
		if p.DeletionTimestamp == nil && p.Spec.NodeName != "" {
			return &p
		}
	}
	return nil
}

// has waits until the Pod has the volume at a worker.
func (h handover) has(ctx context.Context, worker string) {
	h.t.Helper()
	h.eventually(ctx, "the Pod to be ready at "+worker, func() (bool, string) {
		p := h.user(ctx)
		at := h.mountedAt()
		return p != nil && p.Spec.NodeName == worker && shop.Ready(p) && slices.Equal(at, []string{worker}), fmt.Sprintf("it is mounted at %v: %+v", at, p)
	})
}

// refused waits until the Pod at a worker is told why it cannot have the volume.
func (h handover) refused(ctx context.Context, worker, why string) {
	h.t.Helper()
	h.eventually(ctx, "the Pod at "+worker+" to be refused the volume: "+why, func() (bool, string) {
		p := h.user(ctx)
		if p == nil || p.Spec.NodeName != worker {
			return false, fmt.Sprintf("%+v", p)
		}
		list, err := h.API.CoreV1().Events(shop.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedAttachVolume,involvedObject.name=" + p.Name})
		if err != nil {
			h.t.Fatal(err)
		}
		var said []string
		for _, e := range list.Items {
			said = append(said, e.Message)
		}
		return slices.ContainsFunc(said, func(m string) bool { return strings.Contains(m, why) }), fmt.Sprint(said)
	})
}

// kubectl does what an administrator does.
func (h handover) kubectl(ctx context.Context, args ...string) {
	h.t.Helper()
	if out, err := h.Output(ctx, filepath.Join(bin, "gitopsd"), append([]string{"kubectl"}, args...)...); err != nil {
		h.t.Fatal(out, err)
	}
}

// A worker that nobody hears of may go on writing. Whoever is to have its network volume waits until it is back, or somebody says that the machine is off.
func TestAVolumeOfALostWorkerIsHandedOverOnceItCannotBeWrittenToAnyMore(t *testing.T) {
	ctx, s := begin(t)
	h := share(t, ctx, s)
	one, noTime := int32(1), int64(0)
	must(t, s.API.AppsV1().Deployments(shop.Namespace).Create, ctx, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: disk}, Spec: appsv1.DeploymentSpec{
		Replicas: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": disk}},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": disk}}, Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &noTime,
			Tolerations:                   []corev1.Toleration{{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &noTime}},
			Containers:                    []corev1.Container{{Name: "web", Image: images.Web + ":v1", VolumeMounts: []corev1.VolumeMount{{Name: "disk", MountPath: "/disk"}}}},
			Volumes:                       []corev1.Volume{{Name: "disk", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: disk}}}},
		}},
	}})
	var first *corev1.Pod
	h.eventually(ctx, "the Pod to have a node", func() (bool, string) { first = h.user(ctx); return first != nil, "" })
	a, b := first.Spec.NodeName, s.Workers()[0].Name
	if a == b {
		b = s.Workers()[1].Name
	}
	h.has(ctx, a)

	t.Run("it is back", func(t *testing.T) {
		h := h
		h.t = t
		h.kubectl(ctx, "cordon", a)
		if err := s.Unplug(a); err != nil {
			t.Fatal(err)
		}
		h.kubectl(ctx, "delete", "pod", "-n", shop.Namespace, first.Name, "--force", "--grace-period=0", "--wait=false")
		h.refused(ctx, b, "Multi-Attach error")
		if !s.RunsPod(string(first.UID)) {
			t.Error("the first Pod has ended: nobody who might write is left")
		}
		if err := s.Plug(a); err != nil {
			t.Fatal(err)
		}
		h.has(ctx, b)
		h.kubectl(ctx, "uncordon", a)
	})
	t.Run("its machine is off", func(t *testing.T) {
		h := h
		h.t = t
		if err := s.PowerOff(b); err != nil {
			t.Fatal(err)
		}
		h.refused(ctx, a, "once that machine is certain to be off, taint its Node")
		if at := h.mountedAt(); !slices.Equal(at, []string{b}) {
			t.Errorf("the volume is mounted at %v, want %s, as its Pod ended without anybody to unmount it", at, b)
		}
		for _, m := range h.mounts() { // a machine that is off has no mounts, unlike a network namespace
			if err := unix.Unmount(m, unix.UMOUNT_NOFOLLOW); err != nil {
				t.Fatal(err)
			}
		}
		h.kubectl(ctx, "taint", "node", b, "node.kubernetes.io/out-of-service=nodeshutdown:NoExecute")
		h.has(ctx, a)
		if err := s.Start(cluster.Node + "/" + b); err != nil {
			t.Fatal(err)
		}
		if err := s.Node(ctx, b, true); err != nil {
			t.Fatal(err)
		}
		h.kubectl(ctx, "taint", "node", b, "node.kubernetes.io/out-of-service-")
		h.has(ctx, a)
	})
	list, err := s.API.CoreV1().Events(shop.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "reason=FailedAttachVolume"})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list.Items {
		if strings.Contains(e.Message, "AttachVolume.Attach failed") {
			t.Errorf("the driver was asked for what it must not do: %s", e.Message)
		}
	}
}

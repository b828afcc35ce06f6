package volumebinding_test

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claimprotection"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/volumebinding"
)

func claim(name, size string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeClaimSpec{
		StorageClassName: ptr.To("disks"), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
	}}
}

func disk(name, size string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		StorageClassName: "disks", AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)},
		PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
		PersistentVolumeSource:        corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disks.example.com", VolumeHandle: name}},
	}}
}

func TestAClaimAndItsVolumeFromBeginningToEnd(t *testing.T) {
	e := controllerstest.New(t)
	e.Start(t, volumebinding.New(e.Client, e.Factory, e.Events).Run, claimprotection.New(e.Client, e.Factory).Run)
	claims, volumes := e.Client.CoreV1().PersistentVolumeClaims("default"), e.Client.CoreV1().PersistentVolumes()
	if _, err := claims.Create(e.Ctx, claim("data", "2Gi"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	event := func(reason, text string) {
		t.Helper()
		controllerstest.Eventually(t, "an Event "+reason, func() bool {
			list, err := e.Client.CoreV1().Events("default").List(e.Ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			for i := range list.Items {
				if ev := &list.Items[i]; ev.InvolvedObject.Name == "data" && ev.Reason == reason && strings.Contains(ev.Message, text) {
					return true
				}
			}
			return false
		})
	}
	event("ProvisioningFailed", `storageclass.storage.k8s.io "disks" not found`)
	for name, size := range map[string]string{"small": "1Gi", "fits": "3Gi", "big": "9Gi"} {
		if _, err := volumes.Create(e.Ctx, disk(name, size), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	controllerstest.Eventually(t, "the claim is bound", func() bool {
		c, err := claims.Get(e.Ctx, "data", metav1.GetOptions{})
		return err == nil && c.Status.Phase == corev1.ClaimBound && c.Status.Capacity.Storage().Cmp(resource.MustParse("2Gi")) >= 0
	})
	c, err := claims.Get(e.Ctx, "data", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	phase := func(want corev1.PersistentVolumePhase) {
		t.Helper()
		controllerstest.Eventually(t, "the volume is "+string(want), func() bool {
			v, err := volumes.Get(e.Ctx, c.Spec.VolumeName, metav1.GetOptions{})
			return err == nil && v.Status.Phase == want
		})
	}
	phase(corev1.VolumeBound)
	if err := volumes.Delete(e.Ctx, c.Spec.VolumeName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	phase(corev1.VolumeBound)
	if err := claims.Delete(e.Ctx, "data", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "the volume is gone with its claim", func() bool {
		_, err := volumes.Get(e.Ctx, c.Spec.VolumeName, metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestManyClaimsGetAVolumeEach(t *testing.T) {
	const n = 60
	e := controllerstest.New(t)
	claims, volumes := e.Client.CoreV1().PersistentVolumeClaims("default"), e.Client.CoreV1().PersistentVolumes()
	for i := range n {
		if _, err := claims.Create(e.Ctx, claim(fmt.Sprintf("c%d", i), "1Gi"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := volumes.Create(e.Ctx, disk(fmt.Sprintf("v%d", i), "1Gi"), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	e.Start(t, volumebinding.New(e.Client, e.Factory, e.Events).Run)
	var of map[string]string
	controllerstest.Eventually(t, "all are bound", func() bool {
		list, err := claims.List(e.Ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		of = map[string]string{}
		for i := range list.Items {
			if c := &list.Items[i]; c.Status.Phase == corev1.ClaimBound {
				if other, twice := of[c.Spec.VolumeName]; twice {
					t.Fatalf("%s and %s have the same volume", other, c.Name)
				}
				of[c.Spec.VolumeName] = c.Name
			}
		}
		return len(of) == n
	})
}

package scheduletest

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/storage/volume"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// SetStorage takes in what a line says:
//
//	class NAME [later] [by=PROVISIONER] [zones=Z,…]      later is WaitForFirstConsumer
//	volume NAME [class=C] [size=Q] [zone=Z] [label=Z] [claim=N] [csi=DRIVER]
//	claim NAME [class=C] [size=Q] [volume=V] [alone] [node=N] [going]
//	drivers NODE DRIVER=LIMIT
//	driver NAME [silent]                                 of which it is published how much is left; not if silent
//	room NAME class=C [size=Q] [largest=Q] [zone=Z] [nowhere]
func SetStorage(t testing.TB, s *snapshot.Snapshot, line string) {
	t.Helper()
	words := strings.Fields(line)
	if len(words) < 2 {
		t.Fatalf("no such line of storage: %q", line)
	}
	said := map[string]string{}
	for _, w := range words[2:] {
		k, v, _ := strings.Cut(w, "=")
		said[k] = v
	}
	_, later := said["later"]
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	if q := said["size"]; q != "" {
		size[corev1.ResourceStorage] = resource.MustParse(q)
	}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
	switch name := words[1]; words[0] {
	case "class":
		c := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Provisioner: "kubernetes.io/no-provisioner", VolumeBindingMode: ptr.To(storagev1.VolumeBindingImmediate)}
		if later {
			c.VolumeBindingMode = ptr.To(storagev1.VolumeBindingWaitForFirstConsumer)
		}
		if by := said["by"]; by != "" {
			c.Provisioner = by
		}
		if zones := said["zones"]; zones != "" {
			c.AllowedTopologies = []corev1.TopologySelectorTerm{{MatchLabelExpressions: []corev1.TopologySelectorLabelRequirement{
				{Key: corev1.LabelTopologyZone, Values: strings.Split(zones, ",")},
			}}}
		}
		s.SetClass(c)
	case "volume":
		v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeAvailable}}
		v.Spec = corev1.PersistentVolumeSpec{Capacity: size, AccessModes: modes, StorageClassName: said["class"]}
		if zone := said["zone"]; zone != "" {
			v.Spec.NodeAffinity = &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelTopologyZone, Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}},
			}}}}
		}
		if label := said["label"]; label != "" {
			v.Labels = map[string]string{corev1.LabelTopologyZone: label}
		}
		if claim := said["claim"]; claim != "" {
			v.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "default", Name: claim}
		}
		if driver := said["csi"]; driver != "" {
			v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: name}
		}
		s.SetVolume(v)
	case "claim":
		c := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Annotations: map[string]string{}}}
		c.Spec = corev1.PersistentVolumeClaimSpec{
			AccessModes: modes, StorageClassName: ptr.To(said["class"]), VolumeName: said["volume"], Resources: corev1.VolumeResourceRequirements{Requests: size},
		}
		if _, alone := said["alone"]; alone {
			c.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOncePod}
		}
		if c.Spec.VolumeName != "" {
			c.Annotations[volume.AnnBindCompleted] = "yes"
		}
		if node := said["node"]; node != "" {
			c.Annotations[volume.AnnSelectedNode] = node
		}
		if _, going := said["going"]; going {
			c.DeletionTimestamp = &metav1.Time{}
		}
		s.SetClaim(c)
	case "driver":
		_, silent := said["silent"]
		s.SetDriver(&storagev1.CSIDriver{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: storagev1.CSIDriverSpec{StorageCapacity: ptr.To(!silent)}})
	case "room":
		c := &storagev1.CSIStorageCapacity{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, StorageClassName: said["class"], NodeTopology: &metav1.LabelSelector{}}
		if said["size"] != "" {
			c.Capacity = ptr.To(resource.MustParse(said["size"]))
		}
		if said["largest"] != "" {
			c.MaximumVolumeSize = ptr.To(resource.MustParse(said["largest"]))
		}
		if zone := said["zone"]; zone != "" {
			c.NodeTopology.MatchLabels = map[string]string{corev1.LabelTopologyZone: zone}
		}
		if _, nowhere := said["nowhere"]; nowhere {
			c.NodeTopology = nil
		}
		s.SetCapacity(c)
	case "drivers":
		d := &storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for driver, limit := range said {
			n, err := strconv.ParseInt(limit, 10, 32)
			if err != nil {
				t.Fatal(err)
			}
			d.Spec.Drivers = append(d.Spec.Drivers, storagev1.CSINodeDriver{Name: driver, Allocatable: &storagev1.VolumeNodeResources{Count: ptr.To(int32(n))}})
		}
		s.SetDrivers(d)
	default:
		t.Fatalf("no such kind of storage: %q", words[0])
	}
}

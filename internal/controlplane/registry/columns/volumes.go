package columns

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// PersistentVolume shows what a volume holds, and for whom.
var PersistentVolume = Table[*corev1.PersistentVolume]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Capacity", "How much the volume holds"),
		text("Access Modes", "How many may mount it, and how"),
		text("Reclaim Policy", "What becomes of it when its claim goes"),
		text("Status", "Whether it is free, bound or released"),
		text("Claim", "Whose it is"),
		text("StorageClass", "Class that it belongs to"),
		text("VolumeAttributesClass", "Class of its changeable properties"),
		text("Reason", "Why it is in this state"),
		age(),
		wideText("VolumeMode", "Filesystem or Block"),
	},
	Row: func(v *corev1.PersistentVolume) []any {
		claim := ""
		if ref := v.Spec.ClaimRef; ref != nil {
			claim = ref.Namespace + "/" + ref.Name
		}
		size := v.Spec.Capacity[corev1.ResourceStorage]
		return []any{
			v.Name, size.String(), accessModes(v.Spec.AccessModes), string(v.Spec.PersistentVolumeReclaimPolicy), phaseOf(&v.ObjectMeta, string(v.Status.Phase)),
			claim, annotatedClass(&v.ObjectMeta, v.Spec.StorageClassName), orUnset(v.Spec.VolumeAttributesClassName), v.Status.Reason,
			ageOf(v.CreationTimestamp), orUnset(v.Spec.VolumeMode),
		}
	},
}

// PersistentVolumeClaim shows which volume a claim has got.
var PersistentVolumeClaim = Table[*corev1.PersistentVolumeClaim]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Status", "Whether the claim has a volume"),
		text("Volume", "Volume that the claim has"),
		text("Capacity", "How much the volume holds"),
		text("Access Modes", "How many may mount it, and how"),
		text("StorageClass", "Class that is asked for"),
		text("VolumeAttributesClass", "Class of its changeable properties"),
		age(),
		wideText("VolumeMode", "Filesystem or Block"),
	},
	Row: func(c *corev1.PersistentVolumeClaim) []any {
		size, modes := "", ""
		if c.Spec.VolumeName != "" {
			amount := c.Status.Capacity[corev1.ResourceStorage]
			size, modes = amount.String(), accessModes(c.Status.AccessModes)
		}
		return []any{
			c.Name, phaseOf(&c.ObjectMeta, string(c.Status.Phase)), c.Spec.VolumeName, size, modes,
			annotatedClass(&c.ObjectMeta, deref(c.Spec.StorageClassName)), orUnset(c.Spec.VolumeAttributesClassName), ageOf(c.CreationTimestamp), orUnset(c.Spec.VolumeMode),
		}
	},
}

func phaseOf(meta *metav1.ObjectMeta, phase string) string {
	if meta.DeletionTimestamp != nil {
		return "Terminating"
	}
	return phase
}

// annotatedClass is the storage class, from the annotation that came before the field if there is one.
func annotatedClass(meta *metav1.ObjectMeta, class string) string {
	if old, ok := meta.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return old
	}
	return class
}

func orUnset[T ~string](value *T) string {
	if value == nil {
		return unset
	}
	return string(*value)
}

// accessModes are the modes, each once, in the short form that people write.
func accessModes(modes []corev1.PersistentVolumeAccessMode) string {
	var short []string
	for _, m := range []struct {
		mode corev1.PersistentVolumeAccessMode
		text string
	}{{corev1.ReadWriteOnce, "RWO"}, {corev1.ReadOnlyMany, "ROX"}, {corev1.ReadWriteMany, "RWX"}, {corev1.ReadWriteOncePod, "RWOP"}} {
		if slices.Contains(modes, m.mode) {
			short = append(short, m.text)
		}
	}
	return strings.Join(short, ",")
}

package columns

import (
	"strings"

	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The annotations that make a class the one for claims which name none, now and as it was at first.
const (
	defaultClass    = "storageclass.kubernetes.io/is-default-class"
	oldDefaultClass = "storageclass.beta.kubernetes.io/is-default-class"
)

// StorageClass shows who makes volumes of the class, and when.
var StorageClass = Table[*storagev1.StorageClass]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Provisioner", "Who makes its volumes"),
		text("ReclaimPolicy", "What becomes of a volume when its claim goes"),
		text("VolumeBindingMode", "When a volume is made"),
		text("AllowVolumeExpansion", "Whether claims may grow"),
		age(),
	},
	Row: func(c *storagev1.StorageClass) []any {
		shown := c.Name
		if c.Annotations[defaultClass] == "true" || c.Annotations[oldDefaultClass] == "true" {
			shown += " (default)"
		}
		reclaim, mode := "Delete", "Immediate"
		if c.ReclaimPolicy != nil {
			reclaim = string(*c.ReclaimPolicy)
		}
		if c.VolumeBindingMode != nil {
			mode = string(*c.VolumeBindingMode)
		}
		return []any{shown, c.Provisioner, reclaim, mode, deref(c.AllowVolumeExpansion), ageOf(c.CreationTimestamp)}
	},
}

// VolumeAttributesClass shows whose volumes can have the attributes.
var VolumeAttributesClass = Table[*storagev1.VolumeAttributesClass]{
	Columns: []metav1.TableColumnDefinition{name(), text("DriverName", "Driver whose volumes can have the attributes"), age()},
	Row: func(c *storagev1.VolumeAttributesClass) []any {
		return []any{c.Name, c.DriverName, ageOf(c.CreationTimestamp)}
	},
}

// VolumeAttachment shows which volume is attached where.
var VolumeAttachment = Table[*storagev1.VolumeAttachment]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		{Name: "Attacher", Type: "string", Format: "name", Description: "Driver that attaches"},
		text("PV", "Volume"),
		text("Node", "Where it is to be attached"),
		boolean("Attached", "Whether it is"),
		age(),
	},
	Row: func(a *storagev1.VolumeAttachment) []any {
		return []any{a.Name, a.Spec.Attacher, deref(a.Spec.Source.PersistentVolumeName), a.Spec.NodeName, a.Status.Attached, ageOf(a.CreationTimestamp)}
	},
}

// CSINode shows how many drivers a node has.
var CSINode = Table[*storagev1.CSINode]{
	Columns: []metav1.TableColumnDefinition{name(), integer("Drivers", "Number of storage drivers on the node"), age()},
	Row: func(n *storagev1.CSINode) []any {
		return []any{n.Name, int64(len(n.Spec.Drivers)), ageOf(n.CreationTimestamp)}
	},
}

// CSIDriver shows what a storage driver wants to be told and asked.
var CSIDriver = Table[*storagev1.CSIDriver]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		boolean("AttachRequired", "Whether volumes are attached before they are mounted"),
		boolean("PodInfoOnMount", "Whether the driver is told about the Pod"),
		boolean("StorageCapacity", "Whether the scheduler asks how much there is"),
		text("TokenRequests", "Audiences of the tokens that the driver gets"),
		boolean("RequiresRepublish", "Whether the driver is asked again while a volume is mounted"),
		text("Modes", "Lives that a volume can have"),
		age(),
	},
	Row: func(d *storagev1.CSIDriver) []any {
		modes := make([]string, len(d.Spec.VolumeLifecycleModes))
		for i, m := range d.Spec.VolumeLifecycleModes {
			modes[i] = string(m)
		}
		tokens := unset
		if d.Spec.TokenRequests != nil {
			audiences := make([]string, len(d.Spec.TokenRequests))
			for i, t := range d.Spec.TokenRequests {
				audiences[i] = t.Audience
			}
			tokens = strings.Join(audiences, ",")
		}
		attach := d.Spec.AttachRequired == nil || *d.Spec.AttachRequired
		return []any{
			d.Name, attach, deref(d.Spec.PodInfoOnMount), deref(d.Spec.StorageCapacity), tokens, deref(d.Spec.RequiresRepublish),
			joinOrNone(modes), ageOf(d.CreationTimestamp),
		}
	},
}

// CSIStorageCapacity shows how much of a class there is.
var CSIStorageCapacity = Table[*storagev1.CSIStorageCapacity]{
	Columns: []metav1.TableColumnDefinition{name(), text("StorageClassName", "Class of the storage"), text("Capacity", "How much there is")},
	Row: func(c *storagev1.CSIStorageCapacity) []any {
		amount := unset
		if c.Capacity != nil {
			amount = c.Capacity.String()
		}
		return []any{c.Name, c.StorageClassName, amount}
	},
}

package validation

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The limits that the storage API documents.
const (
	maxParameters       = 512
	maxParametersSize   = 256 * 1024
	maxAttachMetadata   = 256 * 1024
	maxVolumeError      = 1024
	maxNodeID           = 256
	minTokenSeconds     = 600
	minAllocatablePause = 10
)

// StorageClass says what may be created.
func StorageClass(obj *storagev1.StorageClass) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, provisioner(field.NewPath("provisioner"), obj.Provisioner)...)
	errs = append(errs, parameters(field.NewPath("parameters"), obj.Parameters)...)
	errs = append(errs, optionalOneOf(field.NewPath("reclaimPolicy"), obj.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRetain)...)
	if obj.VolumeBindingMode == nil {
		errs = append(errs, field.Required(field.NewPath("volumeBindingMode"), ""))
	}
	errs = append(errs, optionalOneOf(field.NewPath("volumeBindingMode"), obj.VolumeBindingMode, storagev1.VolumeBindingImmediate, storagev1.VolumeBindingWaitForFirstConsumer)...)
	at := field.NewPath("allowedTopologies")
	for i := range obj.AllowedTopologies {
		errs = append(errs, topologyTerm(at.Index(i), &obj.AllowedTopologies[i])...)
		for j := range i {
			if apiequality.Semantic.DeepEqual(obj.AllowedTopologies[i], obj.AllowedTopologies[j]) {
				errs = append(errs, field.Duplicate(at.Index(i).Child("matchLabelExpressions"), ""))
				break
			}
		}
	}
	return errs
}

func provisioner(at *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(at, "")}
	}
	return qualifiedName(at, strings.ToLower(name))
}

func parameters(at *field.Path, list map[string]string) field.ErrorList {
	if len(list) > maxParameters {
		return field.ErrorList{field.TooLong(at, "", maxParameters)}
	}
	var errs field.ErrorList
	if _, ok := list[""]; ok {
		errs = append(errs, field.Invalid(at, "", "field can not be empty."))
	}
	if sizeOf(list) > maxParametersSize {
		errs = append(errs, field.TooLong(at, "", maxParametersSize))
	}
	return errs
}

func sizeOf(list map[string]string) int {
	size := 0
	for k, v := range list {
		size += len(k) + len(v)
	}
	return size
}

func topologyTerm(at *field.Path, term *corev1.TopologySelectorTerm) field.ErrorList {
	at = at.Child("matchLabelExpressions")
	var errs field.ErrorList
	keys := map[string]bool{}
	for i, r := range term.MatchLabelExpressions {
		at := at.Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(r.Key, at.Child("key"))...)
		if keys[r.Key] {
			errs = append(errs, field.Duplicate(at.Child("key"), r.Key))
		}
		keys[r.Key] = true
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(at.Child("values"), ""))
		}
		values := map[string]bool{}
		for j, v := range r.Values {
			if values[v] {
				errs = append(errs, field.Duplicate(at.Child("values").Index(j), v))
			}
			values[v] = true
		}
	}
	return errs
}

// StorageClassUpdate says what a StorageClass may be replaced with: volumes have been made by the old one.
func StorageClassUpdate(obj, old *storagev1.StorageClass) field.ErrorList {
	errs := append(StorageClass(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	errs = append(errs, validateImmutable(obj.Parameters, old.Parameters, field.NewPath("parameters"))...)
	errs = append(errs, validateImmutable(obj.Provisioner, old.Provisioner, field.NewPath("provisioner"))...)
	errs = append(errs, validateImmutable(obj.ReclaimPolicy, old.ReclaimPolicy, field.NewPath("reclaimPolicy"))...)
	return append(errs, validateImmutable(obj.VolumeBindingMode, old.VolumeBindingMode, field.NewPath("volumeBindingMode"))...)
}

// VolumeAttributesClass says what may be created.
func VolumeAttributesClass(obj *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, provisioner(field.NewPath("driverName"), obj.DriverName)...)
	errs = append(errs, parameters(field.NewPath("parameters"), obj.Parameters)...)
	if len(obj.Parameters) == 0 {
		errs = append(errs, field.Required(field.NewPath("parameters"), "must contain at least one key/value pair"))
	}
	return errs
}

// VolumeAttributesClassUpdate says what a VolumeAttributesClass may be replaced with: its metadata may change.
func VolumeAttributesClassUpdate(obj, old *storagev1.VolumeAttributesClass) field.ErrorList {
	errs := metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)
	if obj.DriverName != old.DriverName {
		errs = append(errs, field.Forbidden(field.NewPath("driverName"), "updates to driverName are forbidden."))
	}
	if !apiequality.Semantic.DeepEqual(obj.Parameters, old.Parameters) {
		errs = append(errs, field.Forbidden(field.NewPath("parameters"), "updates to parameters are forbidden."))
	}
	return append(errs, VolumeAttributesClass(obj)...)
}

// VolumeAttachment says what may be created.
func VolumeAttachment(obj *storagev1.VolumeAttachment) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, csiDriver(specPath.Child("attacher"), obj.Spec.Attacher)...)
	at := specPath.Child("source")
	switch name, inline := obj.Spec.Source.PersistentVolumeName, obj.Spec.Source.InlineVolumeSpec; {
	case name == nil && inline == nil:
		errs = append(errs, field.Required(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case name != nil && inline != nil:
		errs = append(errs, field.Forbidden(at, "must specify exactly one of inlineVolumeSpec and persistentVolumeName"))
	case name != nil && *name == "":
		errs = append(errs, field.Required(at.Child("persistentVolumeName"), "must specify non empty persistentVolumeName"))
	case name != nil:
		errs = append(errs, dnsSubdomain(at.Child("persistentVolumeName"), *name)...)
	default:
		errs = append(errs, inlineVolume(at.Child("inlineVolumeSpec"), inline)...)
	}
	errs = append(errs, dnsSubdomain(specPath.Child("nodeName"), obj.Spec.NodeName)...)
	return append(errs, attachmentStatus(&obj.Status)...)
}

// inlineVolume checks what a Pod's own volume of an older kind was translated to, for the driver that has taken its place.
func inlineVolume(at *field.Path, spec *corev1.PersistentVolumeSpec) field.ErrorList {
	errs := accessModes(at.Child("accessModes"), spec.AccessModes, "")
	notInline := map[string]bool{
		"claimRef": spec.ClaimRef != nil, "capacity": len(spec.Capacity) > 0, "nodeAffinity": spec.NodeAffinity != nil, "storageClassName": spec.StorageClassName != "",
	}
	for _, child := range sortedKeys(notInline) {
		if notInline[child] {
			errs = append(errs, field.Forbidden(at.Child(child), "may not be specified in the context of inline volumes"))
		}
	}
	if spec.CSI == nil {
		return append(errs, field.Required(at.Child("csi"), "has to be specified in the context of inline volumes"))
	}
	return append(errs, csiPersistent(at.Child("csi"), spec.CSI)...)
}

// VolumeAttachmentUpdate says what a VolumeAttachment may be replaced with.
func VolumeAttachmentUpdate(obj, old *storagev1.VolumeAttachment) field.ErrorList {
	errs := append(VolumeAttachment(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	return append(errs, validateImmutable(obj.Spec, old.Spec, specPath)...)
}

// VolumeAttachmentStatusUpdate says what the attacher may report.
func VolumeAttachmentStatusUpdate(obj, old *storagev1.VolumeAttachment) field.ErrorList {
	return append(metaUpdate(&obj.ObjectMeta, &old.ObjectMeta), attachmentStatus(&obj.Status)...)
}

func attachmentStatus(s *storagev1.VolumeAttachmentStatus) field.ErrorList {
	var errs field.ErrorList
	if sizeOf(s.AttachmentMetadata) > maxAttachMetadata {
		errs = append(errs, field.TooLong(statusPath.Child("attachmentMetadata"), "", maxAttachMetadata))
	}
	list := map[string]*storagev1.VolumeError{"attachError": s.AttachError, "detachError": s.DetachError}
	for _, child := range sortedKeys(list) {
		e := list[child]
		if e == nil {
			continue
		}
		if len(e.Message) > maxVolumeError {
			errs = append(errs, field.TooLong(statusPath.Child(child, "message"), "", maxVolumeError))
		}
		errs = append(errs, optionalNonNegative(statusPath.Child(child, "errorCode"), e.ErrorCode)...)
	}
	return errs
}

// CSIStorageCapacity says what may be created.
func CSIStorageCapacity(obj *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := namespacedMeta(&obj.ObjectMeta, dnsSubdomainName)
	errs = append(errs, metav1validation.ValidateLabelSelector(obj.NodeTopology, noOptions, field.NewPath("nodeTopology"))...)
	errs = append(errs, dnsSubdomain(field.NewPath("storageClassName"), obj.StorageClassName)...)
	if obj.Capacity != nil {
		errs = append(errs, nonNegativeQuantity(field.NewPath("capacity"), *obj.Capacity)...)
	}
	return errs
}

// CSIStorageCapacityUpdate says what a CSIStorageCapacity may be replaced with: what it is about stays.
func CSIStorageCapacityUpdate(obj, old *storagev1.CSIStorageCapacity) field.ErrorList {
	errs := append(CSIStorageCapacity(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	errs = append(errs, validateImmutable(obj.NodeTopology, old.NodeTopology, field.NewPath("nodeTopology"))...)
	return append(errs, validateImmutable(obj.StorageClassName, old.StorageClassName, field.NewPath("storageClassName"))...)
}

// CSINode says what may be created.
func CSINode(obj *storagev1.CSINode) field.ErrorList {
	errs := clusterMeta(&obj.ObjectMeta, dnsSubdomainName)
	seen := map[string]bool{}
	for i := range obj.Spec.Drivers {
		d, at := &obj.Spec.Drivers[i], specPath.Child("drivers").Index(i)
		errs = append(errs, csiDriver(at.Child("name"), d.Name)...)
		if seen[d.Name] {
			errs = append(errs, field.Duplicate(at.Child("name"), d.Name))
		}
		seen[d.Name] = true
		errs = append(errs, required(at.Child("nodeID"), d.NodeID)...)
		if len(d.NodeID) > maxNodeID {
			errs = append(errs, field.Invalid(at.Child("nodeID"), d.NodeID, fmt.Sprintf("must be %d characters or less", maxNodeID)))
		}
		if d.Allocatable != nil {
			errs = append(errs, optionalNonNegative(at.Child("allocatable", "count"), d.Allocatable.Count)...)
		}
		keys := map[string]bool{}
		for _, key := range d.TopologyKeys {
			switch {
			case key == "":
				errs = append(errs, field.Required(at, key))
			case keys[key]:
				errs = append(errs, field.Duplicate(at, key))
			default:
				errs = append(errs, qualifiedName(at, key)...)
			}
			keys[key] = true
		}
	}
	return errs
}

// CSINodeUpdate says what a CSINode may be replaced with: drivers come and go, and only the number of volumes that one can attach changes.
func CSINodeUpdate(obj, old *storagev1.CSINode) field.ErrorList {
	errs := append(CSINode(obj), metaUpdate(&obj.ObjectMeta, &old.ObjectMeta)...)
	was := map[string]storagev1.CSINodeDriver{}
	for _, d := range old.Spec.Drivers {
		was[d.Name] = d
	}
	for _, d := range obj.Spec.Drivers {
		if o, ok := was[d.Name]; ok {
			d.Allocatable, o.Allocatable = nil, nil
			errs = append(errs, validateImmutable(d, o, specPath.Child("drivers"))...)
		}
	}
	return errs
}

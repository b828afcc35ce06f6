package admission

import (
	"context"
	"fmt"
	"slices"
	"strings"

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// nodeRestriction holds a node to its own Node, Lease, Pods, drivers, devices and its Pods' certificates where only the object's content tells whose they are.
type nodeRestriction struct {
	*admission.Handler
	client kubernetes.Interface
}

var _ admission.ValidationInterface = (*nodeRestriction)(nil)

// reservedLabels are left to administrators, so that a node cannot draw workloads to itself that were meant for trusted hosts (KEP-279).
const reservedLabels = "node-restriction.kubernetes.io/"

func (r *nodeRestriction) Validate(ctx context.Context, a admission.Attributes, _ admission.ObjectInterfaces) error {
	user := a.GetUserInfo()
	if user == nil || !slices.Contains(user.GetGroups(), "system:nodes") {
		return nil
	}
	node := strings.TrimPrefix(user.GetName(), "system:node:")
	refuse := func(format string, args ...any) error {
		return admission.NewForbidden(a, fmt.Errorf("node %s "+format, append([]any{node}, args...)...))
	}
	switch obj := a.GetObject().(type) {
	case *corev1.Node:
		if obj.Name != node {
			return refuse("cannot create or change node %s", obj.Name)
		}
		old, _ := a.GetOldObject().(*corev1.Node)
		if old == nil {
			old = &corev1.Node{}
		} else if !equality.Semantic.DeepEqual(obj.Spec.Taints, old.Spec.Taints) {
			return refuse("cannot change its taints")
		} else if !equality.Semantic.DeepEqual(obj.OwnerReferences, old.OwnerReferences) {
			return refuse("cannot change its owner references")
		}
		for key, value := range obj.Labels {
			if strings.HasPrefix(key, reservedLabels) && old.Labels[key] != value {
				return refuse("cannot set the label %s", key)
			}
		}
	case *coordinationv1.Lease:
		if obj.Name != node {
			return refuse("cannot touch the lease %s", obj.Name)
		}
	case *storagev1.CSINode:
		if obj.Name != node {
			return refuse("cannot touch the CSINode %s", obj.Name)
		}
	case *resourcev1.ResourceSlice:
		if obj.Spec.NodeName == nil || *obj.Spec.NodeName != node {
			return refuse("can only offer devices of its own: spec.nodeName must be %s", node)
		}
	case *corev1.PersistentVolume:
		switch old, _ := a.GetOldObject().(*corev1.PersistentVolume); {
		case obj.Labels[pv.NodeLabel] != node || !pv.IsLocal(obj) || old != nil && old.Labels[pv.NodeLabel] != node:
			return refuse("can only tell of volumes on its own disk: those of the provisioner %s with the label %s=%s", pv.Provisioner, pv.NodeLabel, node)
		case old == nil && (obj.Spec.ClaimRef == nil || obj.Spec.ClaimRef.UID != ""):
			return refuse("can only bring back volumes for a claim of the name that they were made for")
		}
	case *unstructured.Unstructured:
		if a.GetResource().Group == snapshotv1.GroupName {
			old, _ := a.GetOldObject().(*unstructured.Unstructured)
			if why := strangeSnapshot(node, obj, old); why != "" {
				return refuse("%s", why)
			}
		}
	case *certificatesv1.PodCertificateRequest:
		if err := r.fitsPod(ctx, node, obj); err != nil {
			return refuse("%w", err)
		}
	case *corev1.Pod:
		if a.GetOperation() == admission.Create {
			if obj.Annotations[corev1.MirrorPodAnnotationKey] == "" {
				return refuse("can only create mirror pods of its static pods")
			}
			if obj.Spec.NodeName != node {
				return refuse("can only create pods with spec.nodeName set to itself, not %q", obj.Spec.NodeName)
			}
		}
	}
	return nil
}

// strangeSnapshot says why a VolumeSnapshotContent is none that a node may tell of, or nothing: it is on another's disk, is brought back for a certain VolumeSnapshot,
// or is changed in more than what the node answers: its status, and the finalizer that waited for it.
func strangeSnapshot(node string, obj, old *unstructured.Unstructured) string {
	driver, _, _ := unstructured.NestedString(obj.Object, "spec", "driver")
	uid, _, _ := unstructured.NestedString(obj.Object, "spec", "volumeSnapshotRef", "uid")
	switch {
	case obj.GetLabels()[pv.NodeLabel] != node || driver != pv.Provisioner || old != nil && old.GetLabels()[pv.NodeLabel] != node:
		return fmt.Sprintf("can only tell of snapshots on its own disk: those of the driver %s with the label %s=%s", pv.Provisioner, pv.NodeLabel, node)
	case old == nil && uid != "":
		return "can only bring back snapshots for a VolumeSnapshot of the name that they were taken for"
	case old != nil && !equality.Semantic.DeepEqual(obj.Object["spec"], old.Object["spec"]):
		return "cannot change the spec of a VolumeSnapshotContent"
	}
	return ""
}

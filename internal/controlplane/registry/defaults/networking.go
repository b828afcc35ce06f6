package defaults

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// SetNetworkPolicy completes a NetworkPolicy: it is about incoming traffic, and about outgoing if it says something of that.
func SetNetworkPolicy(obj *networkingv1.NetworkPolicy) {
	spec := &obj.Spec
	if len(spec.PolicyTypes) == 0 {
		spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(spec.Egress) > 0 {
			spec.PolicyTypes = append(spec.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for i := range spec.Ingress {
		setPolicyPorts(spec.Ingress[i].Ports)
	}
	for i := range spec.Egress {
		setPolicyPorts(spec.Egress[i].Ports)
	}
}

func setPolicyPorts(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		setIfNil(&ports[i].Protocol, corev1.ProtocolTCP)
	}
}

// SetIngressClass completes an IngressClass: its settings lie outside of namespaces.
func SetIngressClass(obj *networkingv1.IngressClass) {
	if obj.Spec.Parameters != nil {
		setIfNil(&obj.Spec.Parameters.Scope, networkingv1.IngressClassParametersReferenceScopeCluster)
	}
}

// SetPriorityClass completes a PriorityClass: its Pods push out others.
func SetPriorityClass(obj *schedulingv1.PriorityClass) {
	setIfNil(&obj.PreemptionPolicy, corev1.PreemptLowerPriority)
}

// SetStorageClass completes a StorageClass: a volume is made at once, and goes with its claim.
func SetStorageClass(obj *storagev1.StorageClass) {
	setIfNil(&obj.ReclaimPolicy, corev1.PersistentVolumeReclaimDelete)
	setIfNil(&obj.VolumeBindingMode, storagev1.VolumeBindingImmediate)
}

// SetCSIDriver completes a CSIDriver.
func SetCSIDriver(obj *storagev1.CSIDriver) {
	spec := &obj.Spec
	setIfNil(&spec.AttachRequired, true)
	setIfNil(&spec.PodInfoOnMount, false)
	setIfNil(&spec.StorageCapacity, false)
	setIfNil(&spec.FSGroupPolicy, storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy)
	setIfNil(&spec.RequiresRepublish, false)
	setIfNil(&spec.SELinuxMount, false)
	if len(spec.VolumeLifecycleModes) == 0 {
		spec.VolumeLifecycleModes = []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
}

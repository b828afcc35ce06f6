package columns

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// shown is a table with its type forgotten: it shows an object that is of its kind.
func shown[T runtime.Object](table Table[T]) func(runtime.Object) ([]metav1.TableColumnDefinition, []any, bool) {
	return func(obj runtime.Object) ([]metav1.TableColumnDefinition, []any, bool) {
		o, ok := obj.(T)
		if !ok {
			return nil, nil, false
		}
		return table.Columns, table.Row(o), true
	}
}

var moreTables = []func(runtime.Object) ([]metav1.TableColumnDefinition, []any, bool){
	shown(Endpoints),
	shown(ReplicationController),
	shown(PodTemplate),
	shown(LimitRange),
	shown(ResourceQuota),
	shown(PersistentVolume),
	shown(PersistentVolumeClaim),
	shown(DaemonSet),
	shown(StatefulSet),
	shown(ControllerRevision),
	shown(Job),
	shown(CronJob),
	shown(HorizontalPodAutoscaler),
	shown(PodDisruptionBudget),
	shown(Ingress),
	shown(IngressClass),
	shown(NetworkPolicy),
	shown(IPAddress),
	shown(ServiceCIDR),
	shown(StorageClass),
	shown(VolumeAttributesClass),
	shown(VolumeAttachment),
	shown(CSINode),
	shown(CSIDriver),
	shown(CSIStorageCapacity),
	shown(PriorityClass),
	shown(RuntimeClass),
	shown(Role),
	shown(ClusterRole),
	shown(RoleBinding),
	shown(ClusterRoleBinding),
	shown(ValidatingWebhookConfiguration),
	shown(MutatingWebhookConfiguration),
	shown(ValidatingAdmissionPolicy),
	shown(ValidatingAdmissionPolicyBinding),
	shown(MutatingAdmissionPolicy),
	shown(MutatingAdmissionPolicyBinding),
	shown(FlowSchema),
	shown(PriorityLevelConfiguration),
	shown(ClusterTrustBundle),
	shown(PodCertificateRequest),
	shown(StorageVersionMigration),
	shown(DeviceClass),
	shown(ResourceClaim),
	shown(ResourceClaimTemplate),
	shown(ResourceSlice),
	shown(DeviceTaintRule),
	shown(ComponentStatus),
}

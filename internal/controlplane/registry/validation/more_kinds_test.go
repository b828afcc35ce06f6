package validation_test

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	nodev1 "k8s.io/api/node/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagemigrationv1 "k8s.io/api/storagemigration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

// kindRules are the rules of one kind, its type forgotten.
type kindRules struct {
	is   func(runtime.Object) bool
	rule func(verb string) rule
}

func kind[T runtime.Object](create func(T) field.ErrorList, updates map[string]func(obj, old T) field.ErrorList) kindRules {
	return kindRules{
		is:   func(obj runtime.Object) bool { _, ok := obj.(T); return ok },
		rule: on(create, updates),
	}
}

// moreKinds are the kinds whose scripts need nothing but create, update and status.
var moreKinds = []kindRules{
	kind(validation.Endpoints, map[string]func(obj, old *corev1.Endpoints) field.ErrorList{"update": validation.EndpointsUpdate}),
	kind(validation.ReplicationController, map[string]func(obj, old *corev1.ReplicationController) field.ErrorList{"update": validation.ReplicationControllerUpdate, "status": validation.ReplicationControllerStatusUpdate}),
	kind(validation.PodTemplate, map[string]func(obj, old *corev1.PodTemplate) field.ErrorList{"update": validation.PodTemplateUpdate}),
	kind(validation.LimitRange, map[string]func(obj, old *corev1.LimitRange) field.ErrorList{"update": validation.LimitRangeUpdate}),
	kind(validation.ResourceQuota, map[string]func(obj, old *corev1.ResourceQuota) field.ErrorList{"update": validation.ResourceQuotaUpdate, "status": validation.ResourceQuotaStatusUpdate}),
	kind(validation.PersistentVolume, map[string]func(obj, old *corev1.PersistentVolume) field.ErrorList{"update": validation.PersistentVolumeUpdate, "status": validation.PersistentVolumeStatusUpdate}),
	kind(validation.PersistentVolumeClaim, map[string]func(obj, old *corev1.PersistentVolumeClaim) field.ErrorList{"update": validation.PersistentVolumeClaimUpdate, "status": validation.PersistentVolumeClaimStatusUpdate}),
	kind(validation.DaemonSet, map[string]func(obj, old *appsv1.DaemonSet) field.ErrorList{"update": validation.DaemonSetUpdate, "status": validation.DaemonSetStatusUpdate}),
	kind(validation.StatefulSet, map[string]func(obj, old *appsv1.StatefulSet) field.ErrorList{"update": validation.StatefulSetUpdate, "status": validation.StatefulSetStatusUpdate}),
	kind(validation.ControllerRevision, map[string]func(obj, old *appsv1.ControllerRevision) field.ErrorList{"update": validation.ControllerRevisionUpdate}),
	kind(validation.Job, map[string]func(obj, old *batchv1.Job) field.ErrorList{"update": validation.JobUpdate, "status": validation.JobStatusUpdate}),
	kind(validation.CronJob, map[string]func(obj, old *batchv1.CronJob) field.ErrorList{"update": validation.CronJobUpdate, "status": validation.CronJobStatusUpdate}),
	kind(validation.HorizontalPodAutoscaler, map[string]func(obj, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList{"update": validation.HorizontalPodAutoscalerUpdate, "status": validation.HorizontalPodAutoscalerStatusUpdate}),
	kind(validation.PodDisruptionBudget, map[string]func(obj, old *policyv1.PodDisruptionBudget) field.ErrorList{"update": validation.PodDisruptionBudgetUpdate, "status": validation.PodDisruptionBudgetStatusUpdate}),
	kind(validation.Ingress, map[string]func(obj, old *networkingv1.Ingress) field.ErrorList{"update": validation.IngressUpdate, "status": validation.IngressStatusUpdate}),
	kind(validation.IngressClass, map[string]func(obj, old *networkingv1.IngressClass) field.ErrorList{"update": validation.IngressClassUpdate}),
	kind(validation.NetworkPolicy, map[string]func(obj, old *networkingv1.NetworkPolicy) field.ErrorList{"update": validation.NetworkPolicyUpdate}),
	kind(validation.IPAddress, map[string]func(obj, old *networkingv1.IPAddress) field.ErrorList{"update": validation.IPAddressUpdate}),
	kind(validation.ServiceCIDR, map[string]func(obj, old *networkingv1.ServiceCIDR) field.ErrorList{"update": validation.ServiceCIDRUpdate, "status": validation.ServiceCIDRStatusUpdate}),
	kind(validation.StorageClass, map[string]func(obj, old *storagev1.StorageClass) field.ErrorList{"update": validation.StorageClassUpdate}),
	kind(validation.VolumeAttributesClass, map[string]func(obj, old *storagev1.VolumeAttributesClass) field.ErrorList{"update": validation.VolumeAttributesClassUpdate}),
	kind(validation.VolumeAttachment, map[string]func(obj, old *storagev1.VolumeAttachment) field.ErrorList{"update": validation.VolumeAttachmentUpdate, "status": validation.VolumeAttachmentStatusUpdate}),
	kind(validation.CSINode, map[string]func(obj, old *storagev1.CSINode) field.ErrorList{"update": validation.CSINodeUpdate}),
	kind(validation.CSIDriver, map[string]func(obj, old *storagev1.CSIDriver) field.ErrorList{"update": validation.CSIDriverUpdate}),
	kind(validation.CSIStorageCapacity, map[string]func(obj, old *storagev1.CSIStorageCapacity) field.ErrorList{"update": validation.CSIStorageCapacityUpdate}),
	kind(validation.PriorityClass, map[string]func(obj, old *schedulingv1.PriorityClass) field.ErrorList{"update": validation.PriorityClassUpdate}),
	kind(validation.RuntimeClass, map[string]func(obj, old *nodev1.RuntimeClass) field.ErrorList{"update": validation.RuntimeClassUpdate}),
	kind(validation.Role, map[string]func(obj, old *rbacv1.Role) field.ErrorList{"update": validation.RoleUpdate}),
	kind(validation.ClusterRole, map[string]func(obj, old *rbacv1.ClusterRole) field.ErrorList{"update": validation.ClusterRoleUpdate}),
	kind(validation.RoleBinding, map[string]func(obj, old *rbacv1.RoleBinding) field.ErrorList{"update": validation.RoleBindingUpdate}),
	kind(validation.ClusterRoleBinding, map[string]func(obj, old *rbacv1.ClusterRoleBinding) field.ErrorList{"update": validation.ClusterRoleBindingUpdate}),
	kind(validation.ValidatingWebhookConfiguration, map[string]func(obj, old *admissionregistrationv1.ValidatingWebhookConfiguration) field.ErrorList{"update": validation.ValidatingWebhookConfigurationUpdate}),
	kind(validation.MutatingWebhookConfiguration, map[string]func(obj, old *admissionregistrationv1.MutatingWebhookConfiguration) field.ErrorList{"update": validation.MutatingWebhookConfigurationUpdate}),
	kind(validation.ValidatingAdmissionPolicy, map[string]func(obj, old *admissionregistrationv1.ValidatingAdmissionPolicy) field.ErrorList{"update": validation.ValidatingAdmissionPolicyUpdate, "status": validation.ValidatingAdmissionPolicyStatusUpdate}),
	kind(validation.ValidatingAdmissionPolicyBinding, map[string]func(obj, old *admissionregistrationv1.ValidatingAdmissionPolicyBinding) field.ErrorList{"update": validation.ValidatingAdmissionPolicyBindingUpdate}),
	kind(validation.MutatingAdmissionPolicy, map[string]func(obj, old *admissionregistrationv1.MutatingAdmissionPolicy) field.ErrorList{"update": validation.MutatingAdmissionPolicyUpdate}),
	kind(validation.MutatingAdmissionPolicyBinding, map[string]func(obj, old *admissionregistrationv1.MutatingAdmissionPolicyBinding) field.ErrorList{"update": validation.MutatingAdmissionPolicyBindingUpdate}),
	kind(validation.FlowSchema, map[string]func(obj, old *flowcontrolv1.FlowSchema) field.ErrorList{"update": validation.FlowSchemaUpdate, "status": validation.FlowSchemaStatusUpdate}),
	kind(validation.PriorityLevelConfiguration, map[string]func(obj, old *flowcontrolv1.PriorityLevelConfiguration) field.ErrorList{"update": validation.PriorityLevelConfigurationUpdate, "status": validation.PriorityLevelConfigurationStatusUpdate}),
	kind(validation.ClusterTrustBundle, map[string]func(obj, old *certificatesv1.ClusterTrustBundle) field.ErrorList{"update": validation.ClusterTrustBundleUpdate}),
	kind(validation.PodCertificateRequest, map[string]func(obj, old *certificatesv1.PodCertificateRequest) field.ErrorList{"update": validation.PodCertificateRequestUpdate, "status": validation.PodCertificateRequestStatusUpdate}),
	kind(validation.StorageVersionMigration, map[string]func(obj, old *storagemigrationv1.StorageVersionMigration) field.ErrorList{"update": validation.StorageVersionMigrationUpdate, "status": validation.StorageVersionMigrationStatusUpdate}),
	kind(validation.DeviceClass, map[string]func(obj, old *resourcev1.DeviceClass) field.ErrorList{"update": validation.DeviceClassUpdate}),
	kind(validation.ResourceClaim, map[string]func(obj, old *resourcev1.ResourceClaim) field.ErrorList{"update": validation.ResourceClaimUpdate, "status": validation.ResourceClaimStatusUpdate}),
	kind(validation.ResourceClaimTemplate, map[string]func(obj, old *resourcev1.ResourceClaimTemplate) field.ErrorList{"update": validation.ResourceClaimTemplateUpdate}),
	kind(validation.ResourceSlice, map[string]func(obj, old *resourcev1.ResourceSlice) field.ErrorList{"update": validation.ResourceSliceUpdate}),
	kind(validation.DeviceTaintRule, map[string]func(obj, old *resourcev1.DeviceTaintRule) field.ErrorList{"update": validation.DeviceTaintRuleUpdate, "status": validation.DeviceTaintRuleStatusUpdate}),
}

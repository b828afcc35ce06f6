package defaults

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Register makes s apply this package's defaults to each object and list that it decodes. The types must already be known to
// s; kinds without defaults (ConfigMap, ServiceAccount, Event, Lease, CertificateSigningRequest, Binding, Eviction, Scale) are
// not registered.
func Register(s *runtime.Scheme) error {
	for _, step := range []func(*runtime.Scheme) error{
		register(SetNamespace, func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items }),
		register(SetNode, func(l *corev1.NodeList) []corev1.Node { return l.Items }),
		register(SetPod, func(l *corev1.PodList) []corev1.Pod { return l.Items }),
		register(SetSecret, func(l *corev1.SecretList) []corev1.Secret { return l.Items }),
		register(SetService, func(l *corev1.ServiceList) []corev1.Service { return l.Items }),
		register(SetDeployment, func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items }),
		register(SetPersistentVolume, func(l *corev1.PersistentVolumeList) []corev1.PersistentVolume { return l.Items }),
		register(SetPersistentVolumeClaim, func(l *corev1.PersistentVolumeClaimList) []corev1.PersistentVolumeClaim { return l.Items }),
		register(SetEndpoints, func(l *corev1.EndpointsList) []corev1.Endpoints { return l.Items }),
		register(SetLimitRange, func(l *corev1.LimitRangeList) []corev1.LimitRange { return l.Items }),
		register(SetResourceQuota, func(l *corev1.ResourceQuotaList) []corev1.ResourceQuota { return l.Items }),
		register(SetReplicationController, func(l *corev1.ReplicationControllerList) []corev1.ReplicationController { return l.Items }),
		register(SetPodTemplate, func(l *corev1.PodTemplateList) []corev1.PodTemplate { return l.Items }),
		register(SetDaemonSet, func(l *appsv1.DaemonSetList) []appsv1.DaemonSet { return l.Items }),
		register(SetStatefulSet, func(l *appsv1.StatefulSetList) []appsv1.StatefulSet { return l.Items }),
		register(SetJob, func(l *batchv1.JobList) []batchv1.Job { return l.Items }),
		register(SetCronJob, func(l *batchv1.CronJobList) []batchv1.CronJob { return l.Items }),
		register(SetReplicaSet, func(l *appsv1.ReplicaSetList) []appsv1.ReplicaSet { return l.Items }),
		register(SetEndpointSlice, func(l *discoveryv1.EndpointSliceList) []discoveryv1.EndpointSlice { return l.Items }),
		register(SetRoleBinding, func(l *rbacv1.RoleBindingList) []rbacv1.RoleBinding { return l.Items }),
		register(SetClusterRoleBinding, func(l *rbacv1.ClusterRoleBindingList) []rbacv1.ClusterRoleBinding { return l.Items }),
		register(SetNetworkPolicy, func(l *networkingv1.NetworkPolicyList) []networkingv1.NetworkPolicy { return l.Items }),
		register(SetIngressClass, func(l *networkingv1.IngressClassList) []networkingv1.IngressClass { return l.Items }),
		register(SetPriorityClass, func(l *schedulingv1.PriorityClassList) []schedulingv1.PriorityClass { return l.Items }),
		register(SetStorageClass, func(l *storagev1.StorageClassList) []storagev1.StorageClass { return l.Items }),
		register(SetCSIDriver, func(l *storagev1.CSIDriverList) []storagev1.CSIDriver { return l.Items }),
		register(SetValidatingWebhookConfiguration, func(l *admissionregistrationv1.ValidatingWebhookConfigurationList) []admissionregistrationv1.ValidatingWebhookConfiguration {
			return l.Items
		}),
		register(SetMutatingWebhookConfiguration, func(l *admissionregistrationv1.MutatingWebhookConfigurationList) []admissionregistrationv1.MutatingWebhookConfiguration {
			return l.Items
		}),
		register(SetValidatingAdmissionPolicy, func(l *admissionregistrationv1.ValidatingAdmissionPolicyList) []admissionregistrationv1.ValidatingAdmissionPolicy {
			return l.Items
		}),
		register(SetValidatingAdmissionPolicyBinding, func(l *admissionregistrationv1.ValidatingAdmissionPolicyBindingList) []admissionregistrationv1.ValidatingAdmissionPolicyBinding {
			return l.Items
		}),
		register(SetMutatingAdmissionPolicy, func(l *admissionregistrationv1.MutatingAdmissionPolicyList) []admissionregistrationv1.MutatingAdmissionPolicy {
			return l.Items
		}),
		register(SetMutatingAdmissionPolicyBinding, func(l *admissionregistrationv1.MutatingAdmissionPolicyBindingList) []admissionregistrationv1.MutatingAdmissionPolicyBinding {
			return l.Items
		}),
		register(SetHorizontalPodAutoscaler, func(l *autoscalingv2.HorizontalPodAutoscalerList) []autoscalingv2.HorizontalPodAutoscaler {
			return l.Items
		}),
		register(SetHorizontalPodAutoscalerV1, func(l *autoscalingv1.HorizontalPodAutoscalerList) []autoscalingv1.HorizontalPodAutoscaler {
			return l.Items
		}),
		register(SetFlowSchema, func(l *flowcontrolv1.FlowSchemaList) []flowcontrolv1.FlowSchema { return l.Items }),
		register(SetPriorityLevelConfiguration, func(l *flowcontrolv1.PriorityLevelConfigurationList) []flowcontrolv1.PriorityLevelConfiguration {
			return l.Items
		}),
		register(SetPodCertificateRequest, func(l *certificatesv1.PodCertificateRequestList) []certificatesv1.PodCertificateRequest {
			return l.Items
		}),
		register(SetResourceClaim, func(l *resourcev1.ResourceClaimList) []resourcev1.ResourceClaim { return l.Items }),
		register(SetResourceClaimTemplate, func(l *resourcev1.ResourceClaimTemplateList) []resourcev1.ResourceClaimTemplate { return l.Items }),
		register(SetApplication, func(l *v1alpha1.ApplicationList) []v1alpha1.Application { return l.Items }),
		registerOne(SetTokenRequest),
	} {
		if err := step(s); err != nil {
			return err
		}
	}
	return nil
}

// object is a pointer to a T that the API machinery can handle.
type object[T any] interface {
	*T
	runtime.Object
}

// registerOne registers the defaults of a kind that has no list.
func registerOne[T any, P object[T]](set func(P)) func(*runtime.Scheme) error {
	return func(s *runtime.Scheme) error {
		// The scheme panics when asked to default a type that it does not know only at the first decode; ask now.
		if _, _, err := s.ObjectKinds(P(new(T))); err != nil {
			return fmt.Errorf("register defaults of %T: the type must be added to the scheme first: %w", *new(T), err)
		}
		s.AddTypeDefaultingFunc(P(new(T)), func(obj any) { set(obj.(P)) })
		return nil
	}
}

// register registers the defaults of a kind and of its list.
func register[T any, P object[T], L any, PL object[L]](set func(P), items func(PL) []T) func(*runtime.Scheme) error {
	return func(s *runtime.Scheme) error {
		if err := registerOne(set)(s); err != nil {
			return err
		}
		return registerOne(func(list PL) {
			all := items(list)
			for i := range all {
				set(&all[i])
			}
		})(s)
	}
}

// setIfNil gives a field that was left out its default.
func setIfNil[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

// setIfZero gives a field that was left out, or set to its type's zero value, its default.
func setIfZero[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

package apply

import "k8s.io/apimachinery/pkg/runtime/schema"

// class is a kind's place in the order: everything of a lower class is applied before anything of a higher one.
type class int

const (
	classNamespace class = iota
	classDefinition
	classPolicy // what other objects are judged or defaulted by
	classAccess
	classConfig
	classStorage
	classService
	classWorkload
	classScaling
	classIngress
	classCustom // resources of definitions that may have come with this commit
	classWebhook
	classes
)

var order = map[schema.GroupKind]class{
	{Kind: "Namespace"}: classNamespace,

	{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}: classDefinition,
	{Group: "apiregistration.k8s.io", Kind: "APIService"}:             classDefinition,

	{Kind: "ResourceQuota"}:                                                           classPolicy,
	{Kind: "LimitRange"}:                                                              classPolicy,
	{Group: "scheduling.k8s.io", Kind: "PriorityClass"}:                               classPolicy,
	{Group: "node.k8s.io", Kind: "RuntimeClass"}:                                      classPolicy,
	{Group: "networking.k8s.io", Kind: "NetworkPolicy"}:                               classPolicy,
	{Group: "networking.k8s.io", Kind: "IngressClass"}:                                classPolicy,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicy"}:        classPolicy,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingAdmissionPolicyBinding"}: classPolicy,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicy"}:          classPolicy,
	{Group: "admissionregistration.k8s.io", Kind: "MutatingAdmissionPolicyBinding"}:   classPolicy,

	{Kind: "ServiceAccount"}:                                         classAccess,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRole"}:        classAccess,
	{Group: "rbac.authorization.k8s.io", Kind: "ClusterRoleBinding"}: classAccess,
	{Group: "rbac.authorization.k8s.io", Kind: "Role"}:               classAccess,
	{Group: "rbac.authorization.k8s.io", Kind: "RoleBinding"}:        classAccess,

	{Kind: "ConfigMap"}: classConfig,
	{Kind: "Secret"}:    classConfig,

	{Group: "storage.k8s.io", Kind: "StorageClass"}: classStorage,
	{Kind: "PersistentVolume"}:                      classStorage,
	{Kind: "PersistentVolumeClaim"}:                 classStorage,

	{Kind: "Service"}:   classService,
	{Kind: "Endpoints"}: classService,
	{Group: "discovery.k8s.io", Kind: "EndpointSlice"}: classService,

	{Kind: "Pod"}:                        classWorkload,
	{Kind: "ReplicationController"}:      classWorkload,
	{Group: "apps", Kind: "DaemonSet"}:   classWorkload,
	{Group: "apps", Kind: "Deployment"}:  classWorkload,
	{Group: "apps", Kind: "ReplicaSet"}:  classWorkload,
	{Group: "apps", Kind: "StatefulSet"}: classWorkload,
	{Group: "batch", Kind: "CronJob"}:    classWorkload,
	{Group: "batch", Kind: "Job"}:        classWorkload,

	{Group: "autoscaling", Kind: "HorizontalPodAutoscaler"}: classScaling,
	{Group: "policy", Kind: "PodDisruptionBudget"}:          classScaling,

	{Group: "networking.k8s.io", Kind: "Ingress"}: classIngress,

	// Last, because from then on every write has to pass them, and the workload that answers comes with the same commit.
	{Group: "admissionregistration.k8s.io", Kind: "MutatingWebhookConfiguration"}:   classWebhook,
	{Group: "admissionregistration.k8s.io", Kind: "ValidatingWebhookConfiguration"}: classWebhook,
}

func classOf(group, kind string) class {
	if c, ok := order[schema.GroupKind{Group: group, Kind: kind}]; ok {
		return c
	}
	return classCustom
}

package registry

import (
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
)

// groups is the table of everything that is stored.
func groups(d Deps, r *Registry) []group {
	return []group{
		coreGroup(d, r), appsGroup(), batchGroup(), networkingGroup(), policyGroup(), schedulingGroup(), nodeGroup(), storageGroup(), admissionGroup(),
		autoscalingGroup(), flowcontrolGroup(), storageMigrationGroup(), resourceGroup(),
		discoveryGroup(), coordinationGroup(), certificatesGroup(), gitopsdGroup(),
		rbacGroup(d), authenticationGroup(d), authorizationGroup(d),
	}
}

// views are the further versions of what is stored.
var views = []view{
	{
		gv: eventsv1.SchemeGroupVersion, kind: "Event", resource: "events", of: corev1.Resource("events"), adapt: eventsV1,
		labels: map[string]string{
			"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace", "reason": "reason", "type": "type",
			"reportingController": "reportingComponent",
			"regarding.kind":      "involvedObject.kind", "regarding.namespace": "involvedObject.namespace", "regarding.name": "involvedObject.name",
			"regarding.uid": "involvedObject.uid", "regarding.apiVersion": "involvedObject.apiVersion",
			"regarding.resourceVersion": "involvedObject.resourceVersion", "regarding.fieldPath": "involvedObject.fieldPath",
		},
	},
	{
		gv: autoscalingv1.SchemeGroupVersion, kind: "HorizontalPodAutoscaler", resource: "horizontalpodautoscalers",
		of:     autoscalingv2.SchemeGroupVersion.WithResource("horizontalpodautoscalers").GroupResource(),
		labels: map[string]string{"metadata.name": "metadata.name", "metadata.namespace": "metadata.namespace"},
	},
}

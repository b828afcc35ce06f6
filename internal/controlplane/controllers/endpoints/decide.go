package endpoints

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Names that tools look for; they are upstream's on purpose.
const (
	sliceController  = "endpointslice-controller.k8s.io"
	mirrorController = "endpointslicemirroring-controller.k8s.io"
	managedBy        = "endpoints.kubernetes.io/managed-by"
	manager          = "endpoint-controller"
	// leaderAnnotation marks Endpoints of old that hold a lock and have nothing to do with a Service.
	leaderAnnotation  = "control-plane.alpha.kubernetes.io/leader"
	lastAppliedConfig = corev1.LastAppliedConfigAnnotation
)

// maxAddresses is how many addresses an Endpoints object has at most, and how many of each of its subsets are mirrored.
const maxAddresses = 1000

// Observed is all there is to one name.
type Observed struct {
	Service   *corev1.Service   // nil when there is none
	Endpoints *corev1.Endpoints // nil when there are none
	Slices    []*discoveryv1.EndpointSlice
}

// Actions is what is to be written; at most one of the first three is set.
type Actions struct {
	CreateEndpoints, UpdateEndpoints *corev1.Endpoints
	DeleteEndpoints                  bool
	CreateSlices, UpdateSlices       []*discoveryv1.EndpointSlice
	DeleteSlices                     []*discoveryv1.EndpointSlice
	Warnings                         []Warning // what could not be mirrored
}

// Warning is an Event about the Endpoints.
type Warning struct{ Reason, Message string }

// Decide says which of Endpoints and slices is written from the other.
func Decide(o Observed) Actions {
	var a Actions
	svc := o.Service
	switch {
	case svc == nil:
		a.DeleteEndpoints = o.Endpoints != nil && o.Endpoints.Labels[managedBy] == manager
	case svc.Spec.Selector != nil && svc.Spec.Type != corev1.ServiceTypeExternalName:
		a.summarize(svc, o.Endpoints, managed(o.Slices, sliceController))
	case ofAPIServer(svc):
		a.summarize(svc, o.Endpoints, o.Slices)
	}
	a.mirror(o, managed(o.Slices, mirrorController))
	return a
}

// ofAPIServer says whether the API server's own Service is meant; its slice has no manager.
func ofAPIServer(svc *corev1.Service) bool {
	return svc.Namespace == metav1.NamespaceDefault && svc.Name == "kubernetes"
}

func managed(all []*discoveryv1.EndpointSlice, by string) (out []*discoveryv1.EndpointSlice) {
	for _, s := range all {
		if s.Labels[discoveryv1.LabelManagedBy] == by {
			out = append(out, s)
		}
	}
	return out
}

package apiserverendpoints

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// The Service's name and port are part of the Kubernetes API: clients in Pods are given them in their environment.
const (
	serviceName = "kubernetes"
	portName    = "https"
	servicePort = 443
)

// Desired is where the API server is.
type Desired struct {
	ClusterIP netip.Addr
	Addresses []netip.Addr // where it is advertised; all of ClusterIP's family
	Port      int32        // where it listens
}

// Observed is what there is; nil is for what there is not.
type Observed struct {
	Service *corev1.Service
	Slice   *discoveryv1.EndpointSlice
}

// Actions is what is to be written.
type Actions struct {
	CreateService, UpdateService *corev1.Service
	CreateSlice, UpdateSlice     *discoveryv1.EndpointSlice
	DeleteSlice                  bool // its address type is wrong and cannot be changed
}

// Decide brings the Service and its slice in line with d.
func Decide(d Desired, o Observed) Actions {
	var a Actions
	ports := []corev1.ServicePort{{Name: portName, Protocol: corev1.ProtocolTCP, Port: servicePort, TargetPort: intstr.FromInt32(d.Port)}}
	switch {
	case o.Service == nil:
		a.CreateService = &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: metav1.NamespaceDefault, Name: serviceName,
				Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
			},
			Spec: corev1.ServiceSpec{
				Type:            corev1.ServiceTypeClusterIP,
				ClusterIP:       d.ClusterIP.String(),
				ClusterIPs:      []string{d.ClusterIP.String()},
				IPFamilies:      []corev1.IPFamily{family(d.ClusterIP)},
				IPFamilyPolicy:  ptr.To(corev1.IPFamilyPolicySingleStack),
				SessionAffinity: corev1.ServiceAffinityNone,
				Ports:           ports,
			},
		}
	case !apiequality.Semantic.DeepEqual(o.Service.Spec.Ports, ports) || o.Service.Spec.Selector != nil:
		a.UpdateService = o.Service.DeepCopy()
		a.UpdateService.Spec.Ports, a.UpdateService.Spec.Selector = ports, nil
	}
	want := slice(d)
	switch {
	case o.Slice == nil:
		a.CreateSlice = want
	case o.Slice.AddressType != want.AddressType:
		a.DeleteSlice = true
	case !apiequality.Semantic.DeepEqual(o.Slice.Endpoints, want.Endpoints) || !apiequality.Semantic.DeepEqual(o.Slice.Ports, want.Ports) ||
		o.Slice.Labels[discoveryv1.LabelServiceName] != serviceName:
		a.UpdateSlice = o.Slice.DeepCopy()
		a.UpdateSlice.Endpoints, a.UpdateSlice.Ports = want.Endpoints, want.Ports
		if a.UpdateSlice.Labels == nil {
			a.UpdateSlice.Labels = map[string]string{}
		}
		a.UpdateSlice.Labels[discoveryv1.LabelServiceName] = serviceName
	}
	return a
}

func slice(d Desired) *discoveryv1.EndpointSlice {
	addresses := slices.Clone(d.Addresses)
	slices.SortFunc(addresses, netip.Addr.Compare)
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: serviceName,
			Labels: map[string]string{discoveryv1.LabelServiceName: serviceName},
		},
		AddressType: discoveryv1.AddressType(family(d.ClusterIP)),
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To(portName), Port: &d.Port, Protocol: ptr.To(corev1.ProtocolTCP)}},
	}
	for _, addr := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses:  []string{addr.String()},
			Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(true)},
		})
	}
	return s
}

func family(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

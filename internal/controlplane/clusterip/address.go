package clusterip

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ManagedBy is the value of the label ipaddress.kubernetes.io/managed-by of addresses that an API server gave out: the name that
// Kubernetes' own allocator uses, and that clients select by. Other IPAddresses are their makers', and keep their address from Services.
const ManagedBy = "ipallocator.k8s.io"

// uidAnnotation holds the UID of the Service that an IPAddress was given to: its reference has none, and a Service must not give back
// what another of its name has.
const uidAnnotation = "gitopsd.io/service-uid"

// Holder is the Service that has something.
type Holder struct {
	Namespace, Name string
	UID             types.UID
}

// HolderOf is the Service as a holder.
func HolderOf(s *corev1.Service) Holder { return Holder{s.Namespace, s.Name, s.UID} }

func (h Holder) String() string { return h.Namespace + "/" + h.Name + "/" + string(h.UID) }

// Managed tells whether an API server gave the address out, and may take it back.
func Managed(a *networkingv1.IPAddress) bool {
	return a.Labels[networkingv1.LabelManagedBy] == ManagedBy
}

// HeldBy is the Service whose an IPAddress is, as far as it says.
func HeldBy(a *networkingv1.IPAddress) (Holder, bool) {
	r := a.Spec.ParentRef
	if r == nil || r.Group != "" || r.Resource != "services" {
		return Holder{}, false
	}
	return Holder{r.Namespace, r.Name, types.UID(a.Annotations[uidAnnotation])}, true
}

// Claim is the IPAddress of an address that is given to a Service.
func Claim(ip netip.Addr, h Holder) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name:        ip.String(),
			Labels:      map[string]string{networkingv1.LabelIPAddressFamily: string(Family(ip)), networkingv1.LabelManagedBy: ManagedBy},
			Annotations: map[string]string{uidAnnotation: string(h.UID)},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &networkingv1.ParentReference{Resource: "services", Namespace: h.Namespace, Name: h.Name}},
	}
}

// Of are the cluster IPs of a Service. Headless ones and aliases have none.
func Of(s *corev1.Service) []netip.Addr {
	if !Needed(s) {
		return nil
	}
	var out []netip.Addr
	for _, text := range s.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			out = append(out, ip.Unmap())
		}
	}
	return out
}

// Needed tells whether a Service gets cluster IPs.
func Needed(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != corev1.ClusterIPNone
}

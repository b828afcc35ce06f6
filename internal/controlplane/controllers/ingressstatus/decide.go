package ingressstatus

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// maxAddresses bounds what every Ingress' status repeats in a large cluster. Any node serves as well as another.
const maxAddresses = 32

// Actions is what is to be written.
type Actions struct {
	// Class is to be created.
	Class *networkingv1.IngressClass
	// Status are Ingresses whose status is to be written.
	Status []*networkingv1.Ingress
	// Complaints are everything that is wrong, told already or not.
	Complaints []translate.Complaint
}

// Decide says what to write of what there is.
func Decide(c translate.Cluster, nodes []*corev1.Node) Actions {
	var a Actions
	if !slices.ContainsFunc(c.Classes, func(class *networkingv1.IngressClass) bool { return class.Name == translate.ClassName }) {
		a.Class = &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: translate.ClassName}, Spec: networkingv1.IngressClassSpec{Controller: translate.Controller}}
		if !slices.ContainsFunc(c.Classes, func(class *networkingv1.IngressClass) bool {
			return class.Annotations[networkingv1.AnnotationIsDefaultIngressClass] == "true"
		}) {
			a.Class.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
		}
	}
	want := networkingv1.IngressLoadBalancerStatus{Ingress: addresses(nodes)}
	for _, ing := range c.Ingresses {
		if c.Classes.Ours(ing) && !apiequality.Semantic.DeepEqual(ing.Status.LoadBalancer, want) {
			changed := ing.DeepCopy()
			changed.Status.LoadBalancer = want
			a.Status = append(a.Status, changed)
		}
	}
	_, a.Complaints = translate.Build(c)
	return a
}

// addresses are where the nodes that are ready serve: those that the world reaches, where a node has such.
func addresses(nodes []*corev1.Node) []networkingv1.IngressLoadBalancerIngress {
	var ips []netip.Addr
	for _, n := range nodes {
		if !serves(n) {
			continue
		}
		for _, kind := range []corev1.NodeAddressType{corev1.NodeExternalIP, corev1.NodeInternalIP} {
			var own []netip.Addr
			for _, a := range n.Status.Addresses {
				if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == kind {
					own = append(own, ip)
				}
			}
			if ips = append(ips, own...); len(own) > 0 {
				break
			}
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	var out []networkingv1.IngressLoadBalancerIngress
	for _, ip := range slices.Compact(ips) {
		if len(out) < maxAddresses {
			out = append(out, networkingv1.IngressLoadBalancerIngress{IP: ip.String()})
		}
	}
	return out
}

// serves says whether clients may be sent to a node.
func serves(n *corev1.Node) bool {
	if _, excluded := n.Labels[corev1.LabelNodeExcludeBalancers]; excluded {
		return false
	}
	return slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

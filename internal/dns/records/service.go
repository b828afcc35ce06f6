package records

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// What the control plane, which makes the Service whose address is the cluster's DNS, and the nodes agree upon.
const (
	ServiceNamespace = metav1.NamespaceSystem
	ServiceName      = "kube-dns"
	// LabelProxy is the label (KEP-2447) that tells Service proxies to leave a Service to somebody else, and ProxyName who that is: the nodes
	// themselves, which answer at its address.
	LabelProxy = "service.kubernetes.io/service-proxy-name"
	ProxyName  = "gitopsd-dns"
)

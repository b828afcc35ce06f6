package clusterdns

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
	"github.com/gitopsd/gitopsd/internal/dns/records"
)

const port = 53

// Observed is what there is; nil is for what there is not.
type Observed struct {
	Service   *corev1.Service
	ConfigMap *corev1.ConfigMap
}

// Actions is what is to be written.
type Actions struct {
	Create, Update *corev1.Service
	// Complaint is what is wrong with the ConfigMap.
	Complaint string
}

// Decide brings the Service in line with what nodes do, and reads the ConfigMap as they do. domain is the cluster's.
func Decide(ip netip.Addr, domain string, o Observed) Actions {
	var a Actions
	ports := []corev1.ServicePort{
		{Name: "dns", Protocol: corev1.ProtocolUDP, Port: port, TargetPort: intstr.FromInt32(port)},
		{Name: "dns-tcp", Protocol: corev1.ProtocolTCP, Port: port, TargetPort: intstr.FromInt32(port)},
	}
	switch s := o.Service; {
	case s == nil:
		a.Create = &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: records.ServiceNamespace, Name: records.ServiceName,
				// The first three are those that tools look for a cluster's DNS by.
				Labels: map[string]string{
					"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "CoreDNS",
					records.LabelProxy: records.ProxyName,
				},
			},
			Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, ClusterIP: ip.String(), Ports: ports},
		}
	case s.Labels[records.LabelProxy] == records.ProxyName && !apiequality.Semantic.DeepEqual(s.Spec.Ports, ports):
		a.Update = s.DeepCopy()
		a.Update.Spec.Ports = ports
	}
	if o.ConfigMap != nil {
		if _, err := corefile.Parse(o.ConfigMap.Data, domain); err != nil {
			a.Complaint = err.Error() + "; until that is corrected nodes go on with what it said before"
		}
	}
	return a
}

package columns

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Service shows where a Service is reached.
var Service = Table[*corev1.Service]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("Type", "How the Service is exposed"),
		text("Cluster-IP", "Address inside the cluster"),
		text("External-IP", "Addresses or name outside of the cluster"),
		text("Port(s)", "Ports, with the nodes' port after a colon, and the protocol"),
		age(),
		wideText("Selector", "Labels of the Pods that answer"),
	},
	Row: func(s *corev1.Service) []any {
		return []any{
			s.Name, string(s.Spec.Type), orNone(s.Spec.ClusterIP), externalIP(s), servicePorts(s.Spec.Ports), ageOf(s.CreationTimestamp),
			labels.FormatLabels(s.Spec.Selector),
		}
	},
}

func externalIP(s *corev1.Service) string {
	switch s.Spec.Type {
	case corev1.ServiceTypeExternalName:
		return orNone(s.Spec.ExternalName)
	case corev1.ServiceTypeLoadBalancer:
		var addresses []string
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			switch {
			case ingress.IP != "":
				addresses = append(addresses, ingress.IP)
			case ingress.Hostname != "":
				addresses = append(addresses, ingress.Hostname)
			}
		}
		slices.Sort(addresses)
		addresses = append(slices.Compact(addresses), s.Spec.ExternalIPs...)
		if len(addresses) == 0 {
			return "<pending>"
		}
		return strings.Join(addresses, ",")
	}
	return joinOrNone(s.Spec.ExternalIPs)
}

func servicePorts(ports []corev1.ServicePort) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = fmt.Sprintf("%d/%s", p.Port, p.Protocol)
		if p.NodePort > 0 {
			texts[i] = fmt.Sprintf("%d:%d/%s", p.Port, p.NodePort, p.Protocol)
		}
	}
	return joinOrNone(texts)
}

// EndpointSlice shows the first few of a Service's endpoints.
var EndpointSlice = Table[*discoveryv1.EndpointSlice]{
	Columns: []metav1.TableColumnDefinition{
		name(),
		text("AddressType", "Kind of the addresses"),
		text("Ports", "Ports of each endpoint"),
		text("Endpoints", "Addresses of the endpoints"),
		age(),
	},
	Row: func(s *discoveryv1.EndpointSlice) []any {
		return []any{s.Name, string(s.AddressType), endpointPorts(s.Ports), endpointAddresses(s.Endpoints), ageOf(s.CreationTimestamp)}
	},
}

// maxShown keeps a row readable: a slice may hold a thousand endpoints.
const maxShown = 3

func endpointPorts(ports []discoveryv1.EndpointPort) string {
	if len(ports) == 0 {
		return unset
	}
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = "*"
		if p.Port != nil {
			texts[i] = fmt.Sprint(*p.Port)
		} else if name := deref(p.Name); name != "" {
			texts[i] = name
		}
	}
	return firstFew(texts)
}

func endpointAddresses(endpoints []discoveryv1.Endpoint) string {
	if len(endpoints) == 0 {
		return unset
	}
	var addresses []string
	for _, e := range endpoints {
		addresses = append(addresses, e.Addresses...)
	}
	return firstFew(addresses)
}

func firstFew(texts []string) string {
	if len(texts) <= maxShown {
		return strings.Join(texts, ",")
	}
	return fmt.Sprintf("%s + %d more...", strings.Join(texts[:maxShown], ","), len(texts)-maxShown)
}

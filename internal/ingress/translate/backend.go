package translate

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// backend finds the endpoints of what a path leads to.
func (o *one) backend(k claim, to *networkingv1.IngressBackend) *routes.Backend {
	if to.Service == nil {
		o.complain(ReasonBackend, "%s: the backend is a resource: only Services are known here; requests are answered with 503", k)
		return &routes.Backend{Key: o.Namespace + "/", Problem: "the backend is not a Service"}
	}
	service := o.Namespace + "/" + to.Service.Name
	port := to.Service.Port.Name
	if port == "" {
		port = fmt.Sprint(to.Service.Port.Number)
	}
	b := o.backends[service+":"+port]
	if b == nil {
		b = &routes.Backend{Key: service + ":" + port}
		b.Endpoints, b.Problem = endpoints(o.Service(service), o.Slices(service), service, to.Service.Port)
		o.backends[b.Key] = b
	}
	if b.Problem != "" {
		o.complain(ReasonBackend, "%s: %s; requests are answered with 503", k, b.Problem)
	}
	return b
}

// endpoints are those of one port of a Service, or why it has none.
func endpoints(svc *corev1.Service, list []*discoveryv1.EndpointSlice, name string, port networkingv1.ServiceBackendPort) (_ []netip.AddrPort, problem string) {
	switch {
	case svc == nil:
		return nil, fmt.Sprintf("there is no Service %s", name)
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		return nil, fmt.Sprintf("Service %s is only another name: a node would ask whatever that names, itself included; give it endpoints", name)
	}
	at := slices.IndexFunc(svc.Spec.Ports, func(p corev1.ServicePort) bool {
		return port.Name != "" && p.Name == port.Name || port.Name == "" && p.Port == port.Number
	})
	if at < 0 {
		return nil, fmt.Sprintf("Service %s has no port %s%s", name, port.Name, number(port))
	}
	var ready, serving []netip.AddrPort
	for _, slice := range list {
		for _, p := range slice.Ports {
			if p.Port == nil || ptr.Deref(p.Name, "") != svc.Spec.Ports[at].Name || ptr.Deref(p.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP {
				continue
			}
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				if len(e.Addresses) == 0 || *p.Port < 1 || *p.Port > 65535 {
					continue
				}
				// Only the first address means anything; the API keeps more for history's sake.
				ip, err := netip.ParseAddr(e.Addresses[0])
				if err != nil {
					continue // a slice of names
				}
				address := netip.AddrPortFrom(ip, uint16(*p.Port))
				switch {
				case ptr.Deref(e.Conditions.Ready, true):
					ready = append(ready, address)
				case ptr.Deref(e.Conditions.Serving, false):
					serving = append(serving, address)
				}
			}
		}
	}
	// While none is ready, those that end but still answer do (KEP-1669).
	if len(ready) == 0 {
		ready = serving
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready), ""
}

func number(p networkingv1.ServiceBackendPort) string {
	if p.Name != "" {
		return ""
	}
	return fmt.Sprint(p.Number)
}

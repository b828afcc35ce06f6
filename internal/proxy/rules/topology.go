package rules

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// Node is where the rules are for.
type Node struct {
	Name string
	// Zone is the node's label topology.kubernetes.io/zone; empty when it has none.
	Zone string
}

// near narrows ready endpoints down to those that the hints of their EndpointSlices keep for clients of this node, or of its zone. Hints
// count only when every endpoint has one, and when one is for us: else some endpoints would get no traffic, or we no answer.
func near(node Node, ready []Endpoint) []Endpoint {
	for _, hinted := range []func(h *discoveryv1.EndpointHints) (some, ours bool){
		func(h *discoveryv1.EndpointHints) (bool, bool) {
			return len(h.ForNodes) > 0, slices.ContainsFunc(h.ForNodes, func(n discoveryv1.ForNode) bool { return n.Name == node.Name })
		},
		func(h *discoveryv1.EndpointHints) (bool, bool) {
			return len(h.ForZones) > 0, node.Zone != "" && slices.ContainsFunc(h.ForZones, func(z discoveryv1.ForZone) bool { return z.Name == node.Zone })
		},
	} {
		var ours []Endpoint
		all := true
		for _, e := range ready {
			some, mine := false, false
			if e.hints != nil {
				some, mine = hinted(e.hints)
			}
			if all = all && some; mine {
				ours = append(ours, e)
			}
		}
		if all && len(ours) > 0 {
			return ours
		}
	}
	return ready
}

// Health says at which port a load balancer may ask whether this node has a ready endpoint of the Service, and how many it has; port 0 is none.
func Health(node string, svc *corev1.Service, list []*discoveryv1.EndpointSlice) (port uint16, local int) {
	if svc == nil || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || svc.Labels[labelProxyName] != "" {
		return 0, 0
	}
	pods := map[string]bool{}
	for _, s := range list {
		for i := range s.Endpoints {
			if e := &s.Endpoints[i]; len(e.Addresses) > 0 && ptr.Deref(e.NodeName, "") == node && ptr.Deref(e.Conditions.Ready, true) {
				pods[e.Addresses[0]] = true
			}
		}
	}
	return uint16(svc.Spec.HealthCheckNodePort), len(pods)
}

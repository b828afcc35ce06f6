package endpoints

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// summarize makes the Endpoints of a Service say what its slices say.
func (a *Actions) summarize(svc *corev1.Service, old *corev1.Endpoints, from []*discoveryv1.EndpointSlice) {
	want := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: svc.Namespace, Name: svc.Name}}
	if old != nil {
		want = old.DeepCopy()
	}
	want.Labels = maps.Clone(svc.Labels)
	if want.Labels == nil {
		want.Labels = map[string]string{}
	}
	want.Labels[managedBy] = manager
	if svc.Spec.ClusterIP == corev1.ClusterIPNone {
		want.Labels[corev1.IsHeadlessService] = ""
	}
	if ofAPIServer(svc) {
		want.Labels[discoveryv1.LabelSkipMirror] = "true"
	}
	family := corev1.IPv4Protocol
	if len(svc.Spec.IPFamilies) > 0 {
		family = svc.Spec.IPFamilies[0]
	}
	truncated := false
	want.Subsets, truncated = subsets(from, discoveryv1.AddressType(family))
	annotate(want, corev1.EndpointsOverCapacity, "truncated", truncated)
	trigger := lastTrigger(from)
	annotate(want, corev1.EndpointsLastChangeTriggerTime, trigger, trigger != "")
	switch {
	case old == nil:
		a.CreateEndpoints = want
	case !apiequality.Semantic.DeepEqual(old.Subsets, want.Subsets) || !apiequality.Semantic.DeepEqual(old.Labels, want.Labels) ||
		old.Annotations[corev1.EndpointsOverCapacity] != want.Annotations[corev1.EndpointsOverCapacity]:
		a.UpdateEndpoints = want
	}
}

func annotate(e *corev1.Endpoints, key, value string, on bool) {
	switch {
	case !on:
		delete(e.Annotations, key)
	case e.Annotations == nil:
		e.Annotations = map[string]string{key: value}
	default:
		e.Annotations[key] = value
	}
}

// lastTrigger is the latest of the times that the slices say they were changed for.
func lastTrigger(from []*discoveryv1.EndpointSlice) (last string) {
	for _, s := range from {
		last = max(last, s.Annotations[corev1.EndpointsLastChangeTriggerTime]) // RFC 3339 in UTC: the greatest text is the latest
	}
	return last
}

// subsets brings the endpoints of slices together by their ports, in a fixed order, with at most maxAddresses addresses, of which the ready ones go first.
func subsets(from []*discoveryv1.EndpointSlice, family discoveryv1.AddressType) (out []corev1.EndpointSubset, truncated bool) {
	type group struct {
		ports           []corev1.EndpointPort
		ready, notReady map[string]corev1.EndpointAddress
	}
	groups := map[string]*group{}
	for _, s := range from {
		if s.AddressType != family {
			continue
		}
		ports := portsOf(s)
		key := portKey(ports)
		g := groups[key]
		if g == nil {
			g = &group{ports: ports, ready: map[string]corev1.EndpointAddress{}, notReady: map[string]corev1.EndpointAddress{}}
			groups[key] = g
		}
		for i := range s.Endpoints {
			e := &s.Endpoints[i]
			if len(e.Addresses) == 0 {
				continue
			}
			addr := corev1.EndpointAddress{IP: e.Addresses[0], Hostname: ptr.Deref(e.Hostname, ""), NodeName: e.NodeName, TargetRef: e.TargetRef}
			switch {
			case ptr.Deref(e.Conditions.Ready, true):
				g.ready[addr.IP] = addr
			case !ptr.Deref(e.Conditions.Terminating, false):
				g.notReady[addr.IP] = addr
			}
		}
	}
	keys := slices.Sorted(maps.Keys(groups))
	room := maxAddresses
	take := func(all map[string]corev1.EndpointAddress) []corev1.EndpointAddress {
		var taken []corev1.EndpointAddress
		for _, ip := range slices.Sorted(maps.Keys(all)) {
			if room == 0 {
				truncated = true
				break
			}
			taken = append(taken, all[ip])
			room--
		}
		return taken
	}
	for _, k := range keys {
		out = append(out, corev1.EndpointSubset{Ports: groups[k].ports, Addresses: take(groups[k].ready)})
	}
	for i, k := range keys {
		g := groups[k]
		maps.DeleteFunc(g.notReady, func(ip string, _ corev1.EndpointAddress) bool { _, ok := g.ready[ip]; return ok }) // in two slices for a moment
		out[i].NotReadyAddresses = take(g.notReady)
	}
	out = slices.DeleteFunc(out, func(s corev1.EndpointSubset) bool { return len(s.Addresses)+len(s.NotReadyAddresses) == 0 })
	return out, truncated
}

// portsOf gives the ports in a fixed order. A port without a number stands for all, which Endpoints cannot say.
func portsOf(s *discoveryv1.EndpointSlice) (out []corev1.EndpointPort) {
	for _, p := range s.Ports {
		if p.Port != nil {
			out = append(out, corev1.EndpointPort{Name: ptr.Deref(p.Name, ""), Port: *p.Port, Protocol: ptr.Deref(p.Protocol, corev1.ProtocolTCP), AppProtocol: p.AppProtocol})
		}
	}
	slices.SortFunc(out, func(a, b corev1.EndpointPort) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Port, b.Port), cmp.Compare(a.Protocol, b.Protocol))
	})
	return out
}

// portKey is equal for equal ports. Names and protocols cannot contain the separators.
func portKey(ports []corev1.EndpointPort) string {
	var b strings.Builder
	for _, p := range ports {
		b.WriteString(p.Name + "/" + strconv.Itoa(int(p.Port)) + "/" + string(p.Protocol) + "/" + ptr.Deref(p.AppProtocol, "") + ";")
	}
	return b.String()
}

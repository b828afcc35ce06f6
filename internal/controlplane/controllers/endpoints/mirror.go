package endpoints

//lint:file-ignore SA1019 Endpoints are deprecated and served all the same

import (
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// mirrored says whether slices are made from the Endpoints: somebody wrote them by hand, for a Service that selects no Pods.
func mirrored(o Observed) bool {
	if o.Endpoints == nil || o.Service == nil || o.Service.Spec.Selector != nil || ofAPIServer(o.Service) || o.Endpoints.DeletionTimestamp != nil {
		return false
	}
	_, lock := o.Endpoints.Annotations[leaderAnnotation]
	return !lock && o.Endpoints.Labels[discoveryv1.LabelSkipMirror] != "true"
}

// mirror makes the slices that this controller manages, have, say what the Endpoints say.
func (a *Actions) mirror(o Observed, have []*discoveryv1.EndpointSlice) {
	var want []*discoveryv1.EndpointSlice
	if mirrored(o) {
		want = a.wanted(o)
	}
	byName := map[string]*discoveryv1.EndpointSlice{}
	for _, h := range have {
		byName[h.Name] = h
	}
	for _, w := range want {
		h := byName[w.Name]
		if h == nil {
			a.CreateSlices = append(a.CreateSlices, w)
			continue
		}
		delete(byName, w.Name)
		if apiequality.Semantic.DeepEqual(h.Endpoints, w.Endpoints) && apiequality.Semantic.DeepEqual(h.Ports, w.Ports) &&
			apiequality.Semantic.DeepEqual(h.Labels, w.Labels) && apiequality.Semantic.DeepEqual(h.Annotations, w.Annotations) &&
			metav1.IsControlledBy(h, o.Endpoints) { // not by earlier Endpoints of that name, with which the garbage collector would take it
			continue
		}
		u := h.DeepCopy()
		u.Endpoints, u.Ports, u.Labels, u.Annotations, u.OwnerReferences = w.Endpoints, w.Ports, w.Labels, w.Annotations, w.OwnerReferences
		a.UpdateSlices = append(a.UpdateSlices, u)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		a.DeleteSlices = append(a.DeleteSlices, byName[name])
	}
}

// wanted are the slices of hand-written Endpoints: one for each set of ports and family.
func (a *Actions) wanted(o Observed) []*discoveryv1.EndpointSlice {
	e := o.Endpoints
	bySlice := map[string]*discoveryv1.EndpointSlice{}
	seen := map[string]map[string]bool{} // addresses by slice: an address may be in two subsets of the same ports
	var invalid, surplus int
	add := func(s *corev1.EndpointSubset, addr *corev1.EndpointAddress, ready bool) {
		ip, err := netip.ParseAddr(addr.IP)
		if err != nil {
			invalid++
			return
		}
		family := discoveryv1.AddressTypeIPv6
		if ip.Unmap().Is4() {
			family = discoveryv1.AddressTypeIPv4
		}
		slice := blank(o, family, s.Ports)
		name := slice.Name
		if bySlice[name] == nil {
			bySlice[name], seen[name] = slice, map[string]bool{}
		}
		slice = bySlice[name]
		switch {
		case seen[name][addr.IP]:
		case len(slice.Endpoints) == maxAddresses:
			surplus++
		default:
			seen[name][addr.IP] = true
			slice.Endpoints = append(slice.Endpoints, endpoint(addr, ready))
		}
	}
	for i := range e.Subsets {
		s := &e.Subsets[i]
		for j := range s.Addresses {
			add(s, &s.Addresses[j], true)
		}
		for j := range s.NotReadyAddresses {
			add(s, &s.NotReadyAddresses[j], false)
		}
	}
	if invalid > 0 {
		a.Warnings = append(a.Warnings, Warning{"InvalidAddress", strconv.Itoa(invalid) + " addresses are not valid and were not mirrored to EndpointSlices"})
	}
	if surplus > 0 {
		a.Warnings = append(a.Warnings, Warning{"TooManyAddressesToMirror",
			fmt.Sprintf("%d addresses are beyond the %d per subset that are mirrored to EndpointSlices; write EndpointSlices yourself", surplus, maxAddresses)})
	}
	out := make([]*discoveryv1.EndpointSlice, 0, len(bySlice))
	for _, name := range slices.Sorted(maps.Keys(bySlice)) {
		out = append(out, bySlice[name])
	}
	return out
}

// blank is a slice without endpoints, with what it has from the Endpoints' own metadata. Its name follows from family and ports, so that a late cache makes
// nobody create it twice.
func blank(o Observed, family discoveryv1.AddressType, ports []corev1.EndpointPort) *discoveryv1.EndpointSlice {
	e := o.Endpoints
	labels, annotations := maps.Clone(e.Labels), maps.Clone(e.Annotations)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[discoveryv1.LabelServiceName], labels[discoveryv1.LabelManagedBy] = e.Name, mirrorController
	delete(labels, corev1.IsHeadlessService)
	if o.Service.Spec.ClusterIP == corev1.ClusterIPNone {
		labels[corev1.IsHeadlessService] = ""
	}
	for _, own := range []string{lastAppliedConfig, corev1.EndpointsOverCapacity, corev1.EndpointsLastChangeTriggerTime} {
		delete(annotations, own)
	}
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Labels: labels, Annotations: annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: family,
	}
	for _, p := range ports {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: ptr.To(p.Name), Port: ptr.To(p.Port), Protocol: ptr.To(p.Protocol), AppProtocol: p.AppProtocol})
	}
	h := fnv.New64a()
	h.Write([]byte(string(family) + " " + portKey(portsOf(s))))
	s.Name = fmt.Sprintf("%s-%x", e.Name, h.Sum(nil))
	return s
}

func endpoint(a *corev1.EndpointAddress, ready bool) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{a.IP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: a.TargetRef, NodeName: a.NodeName}
	if a.Hostname != "" {
		e.Hostname = &a.Hostname
	}
	return e
}

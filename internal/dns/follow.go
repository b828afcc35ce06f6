package dns

import (
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/gitopsd/gitopsd/internal/dns/records"
)

// formerOwner owns the records that were read from disk, until the cluster has told what there is.
const formerOwner = "/"

// headlessOf names the headless Service that an EndpointSlice belongs to. All others' endpoints have no names.
func headlessOf(obj any) string {
	s, ok := obj.(*discoveryv1.EndpointSlice)
	if !ok || s.Labels[discoveryv1.LabelServiceName] == "" {
		return ""
	}
	return s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
}

// takeService brings one Service's records up to date.
func (s *Server) takeService(key string) {
	obj, exists, err := s.services.GetStore().GetByKey(key)
	if err != nil {
		return // a store of this kind never fails
	}
	svc, _ := obj.(*corev1.Service)
	if !exists {
		svc = nil
	}
	var list []*discoveryv1.EndpointSlice
	if svc != nil && svc.Spec.ClusterIP == corev1.ClusterIPNone {
		objs, err := s.slices.GetIndexer().ByIndex(byService, key)
		if err != nil {
			return // nor does an index that exists
		}
		for _, o := range objs {
			if slice, ok := o.(*discoveryv1.EndpointSlice); ok {
				list = append(list, slice)
			}
		}
	}
	s.server.zone.set(key, records.Build(s.cfg.Domain, svc, list))
	if key == records.ServiceNamespace+"/"+records.ServiceName && svc != nil {
		s.placeAt(svc)
	}
}

// complete takes away what is no more, once the cluster has told what there is.
func (s *Server) complete() {
	for _, owner := range s.server.zone.owners() {
		if owner == zoneOwner {
			continue
		}
		if _, exists, err := s.services.GetStore().GetByKey(owner); err == nil && !exists {
			s.server.zone.set(owner, nil)
		}
	}
	s.server.zone.known.Store(true)
}

// place is where the cluster's DNS is.
type place struct {
	// Told are the addresses that Pods are told, Held those among them at which this node answers itself.
	Told []netip.Addr `json:"told"`
	Held []netip.Addr `json:"held"`
}

func (p place) equal(o place) bool {
	return slices.Equal(p.Told, o.Told) && slices.Equal(p.Held, o.Held)
}

// with is the place with what is held beside it.
func (p place) with(o place) place {
	for _, a := range o.Held {
		if !slices.Contains(p.Held, a) {
			p.Held = append(slices.Clip(p.Held), a)
		}
	}
	return p
}

// placeOf reads it from the Service. One that says that nodes answer is answered by nodes; any other, such as CoreDNS' own, is left to its
// endpoints.
func placeOf(svc *corev1.Service) place {
	var p place
	for _, text := range svc.Spec.ClusterIPs {
		if ip, err := netip.ParseAddr(text); err == nil {
			p.Told = append(p.Told, ip)
		}
	}
	if svc.Labels[records.LabelProxy] == records.ProxyName {
		p.Held = p.Told
	}
	return p
}

// placeAt follows the Service, unless the command line has said where to answer.
func (s *Server) placeAt(svc *corev1.Service) {
	p := placeOf(svc)
	if len(s.cfg.Addresses) > 0 || len(p.Told) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !slices.Equal(s.place.Told, p.Told) {
		s.server.zone.servedAt(p.Told)
	}
	s.place = p
	s.settle()
}

// settle has Pods wait no longer for what the cluster says: it has spoken, or has no such Service.
func (s *Server) settle() { s.settled.Do(func() { close(s.placed) }) }

func (s *Server) where() place {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.place
}

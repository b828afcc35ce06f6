package registry

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func services(d Deps) entry {
	return Kind[*corev1.Service]{
		Resource: "services", Singular: "service", ShortNames: []string{"svc"}, Categories: []string{"all"},
		New: func() *corev1.Service { return &corev1.Service{} }, NewList: func() runtime.Object { return &corev1.ServiceList{} },
		Columns:   columns.Service,
		HasStatus: true, MetadataWithStatus: true,
		PrepareUpdate: func(_ context.Context, svc, old *corev1.Service) { keepAllocations(svc, old) },
		Validate:      validation.Service, ValidateUpdate: validation.ServiceUpdate, ValidateStatus: validation.ServiceStatusUpdate,
		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Customize: func(s *genericregistry.Store) {
			a := serviceAllocation{allocator: d.Services, resource: s.DefaultQualifiedResource.String()}
			s.BeginCreate = func(ctx context.Context, obj runtime.Object, o *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
				return a.begin(ctx, obj.(*corev1.Service), nil, dryrun.IsDryRun(o.DryRun))
			}
			s.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, o *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
				return a.begin(ctx, obj.(*corev1.Service), old.(*corev1.Service), dryrun.IsDryRun(o.DryRun))
			}
			s.AfterDelete = func(obj runtime.Object, o *metav1.DeleteOptions) {
				if dryrun.IsDryRun(o.DryRun) {
					return
				}
				svc := obj.(*corev1.Service)
				a.release(context.Background(), holder(svc), Claims(svc))
			}
			// The address has to be known before the Service is judged, and a wrong one to be refused like any other wrong field: both
			// happen in the hooks above, which the library calls between validation and storage.
		},
	}
}

// holder is the value of a Service's claims.
func holder(s *corev1.Service) string { return s.Namespace + "/" + s.Name }

// needsClusterIP tells whether a Service gets a virtual address; headless ones and aliases do not.
func needsClusterIP(s *corev1.Service) bool {
	return s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != corev1.ClusterIPNone
}

func needsNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort ||
		s.Spec.Type == corev1.ServiceTypeLoadBalancer && (s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts)
}

// Claims are the keys that a stored Service holds.
func Claims(s *corev1.Service) []string {
	var a *Allocator
	var keys []string
	if needsClusterIP(s) {
		for _, text := range s.Spec.ClusterIPs {
			if ip, err := netip.ParseAddr(text); err == nil {
				keys = append(keys, a.ipKey(ip))
			}
		}
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				keys = append(keys, a.portKey(p.NodePort, string(p.Protocol)))
			}
		}
		if p := s.Spec.HealthCheckNodePort; p != 0 {
			keys = append(keys, a.portKey(p, "tcp"))
		}
	}
	return keys
}

// Held lists what Services hold, for Allocator.Repair.
func Held(services []corev1.Service) map[string]string {
	held := map[string]string{}
	for i := range services {
		for _, key := range Claims(&services[i]) {
			held[key] = holder(&services[i])
		}
	}
	return held
}

// keepAllocations carries what was allocated into an update that leaves it out, as a client does that applies the manifest it created the
// Service from.
func keepAllocations(s, old *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if old.Spec.Type != corev1.ServiceTypeExternalName && slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) {
			s.Spec.ClusterIP, s.Spec.ClusterIPs, s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = "", nil, nil, nil
		}
	} else if s.Spec.ClusterIP == "" && old.Spec.Type != corev1.ServiceTypeExternalName {
		s.Spec.ClusterIP = old.Spec.ClusterIP
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = old.Spec.ClusterIPs
		}
	}
	if s.Spec.Type != corev1.ServiceTypeExternalName {
		if len(s.Spec.IPFamilies) == 0 {
			s.Spec.IPFamilies = old.Spec.IPFamilies
		}
		if s.Spec.IPFamilyPolicy == nil {
			s.Spec.IPFamilyPolicy = old.Spec.IPFamilyPolicy
		}
	}
	if needsNodePorts(s) && needsNodePorts(old) {
		was := map[string]int32{}
		for _, p := range old.Spec.Ports {
			was[portID(p)] = p.NodePort
		}
		used := map[string]bool{}
		for _, p := range s.Spec.Ports {
			used[fmt.Sprint(p.Protocol, p.NodePort)] = true
		}
		for i := range s.Spec.Ports {
			p := &s.Spec.Ports[i]
			if n := was[portID(*p)]; p.NodePort == 0 && n != 0 && !used[fmt.Sprint(p.Protocol, n)] {
				p.NodePort = n
			}
		}
		if s.Spec.HealthCheckNodePort == 0 && needsHealthCheckPort(s) {
			s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
		}
	}
	if !needsNodePorts(s) && needsNodePorts(old) {
		// A port that was allocated goes with the type that needed it; one that the client sets anew is refused by validation.
		kept := map[int32]bool{}
		for _, p := range old.Spec.Ports {
			kept[p.NodePort] = true
		}
		for i := range s.Spec.Ports {
			if kept[s.Spec.Ports[i].NodePort] {
				s.Spec.Ports[i].NodePort = 0
			}
		}
	}
	if isExternal(old) && !isExternal(s) && s.Spec.ExternalTrafficPolicy == old.Spec.ExternalTrafficPolicy {
		s.Spec.ExternalTrafficPolicy = ""
	}
	if old.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		if ptr.Equal(s.Spec.AllocateLoadBalancerNodePorts, old.Spec.AllocateLoadBalancerNodePorts) {
			s.Spec.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(s.Spec.LoadBalancerClass, old.Spec.LoadBalancerClass) {
			s.Spec.LoadBalancerClass = nil
		}
	}
	if !needsHealthCheckPort(s) && s.Spec.HealthCheckNodePort == old.Spec.HealthCheckNodePort {
		s.Spec.HealthCheckNodePort = 0
	}
}

// isExternal tells whether a Service can be reached from outside the cluster by itself.
func isExternal(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer || len(s.Spec.ExternalIPs) > 0
}

func portID(p corev1.ServicePort) string { return fmt.Sprintf("%s/%s/%d", p.Name, p.Protocol, p.Port) }

func needsHealthCheckPort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// serviceAllocation claims what a Service needs around its write.
type serviceAllocation struct {
	allocator *Allocator
	resource  string
}

// begin fills in and claims addresses and ports of svc; old is what it replaces, or nil. The returned function undoes the claims when the
// write failed, and gives back what svc no longer uses when it succeeded.
func (a serviceAllocation) begin(ctx context.Context, svc, old *corev1.Service, dryRun bool) (genericregistry.FinishFunc, error) {
	var before []string
	if old != nil {
		before = Claims(old)
	}
	errs := a.fill(ctx, svc, before, dryRun)
	claimed := slices.DeleteFunc(Claims(svc), func(k string) bool { return slices.Contains(before, k) })
	h := holder(svc)
	if len(errs) > 0 {
		if !dryRun {
			a.release(context.WithoutCancel(ctx), h, claimed)
		}
		return nil, apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name, errs)
	}
	return func(ctx context.Context, success bool) {
		if dryRun {
			return
		}
		if !success {
			a.release(context.WithoutCancel(ctx), h, claimed)
			return
		}
		after := Claims(svc)
		a.release(context.WithoutCancel(ctx), h, slices.DeleteFunc(before, func(k string) bool { return slices.Contains(after, k) }))
	}, nil
}

// release gives claims back. One that cannot be given back now is found by Repair at the next start.
func (a serviceAllocation) release(ctx context.Context, h string, keys []string) {
	for _, k := range keys {
		if err := a.allocator.release(ctx, k, h); err != nil {
			return
		}
	}
}

func (a serviceAllocation) fill(ctx context.Context, svc *corev1.Service, before []string, dryRun bool) field.ErrorList {
	var errs field.ErrorList
	spec := field.NewPath("spec")
	h := holder(svc)
	if svc.Spec.Type != corev1.ServiceTypeExternalName {
		if len(svc.Spec.IPFamilies) == 0 {
			svc.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
		}
		if svc.Spec.IPFamilyPolicy == nil {
			single := corev1.IPFamilyPolicySingleStack
			svc.Spec.IPFamilyPolicy = &single
		}
		if svc.Spec.ClusterIP == corev1.ClusterIPNone {
			svc.Spec.ClusterIPs = []string{corev1.ClusterIPNone}
		}
	}
	if needsClusterIP(svc) {
		if err := a.fillIP(ctx, svc, before, h, dryRun); err != nil {
			errs = append(errs, field.Invalid(spec.Child("clusterIPs"), svc.Spec.ClusterIPs, "failed to allocate IP "+svc.Spec.ClusterIP+": "+err.Error()))
		}
	}
	if needsNodePorts(svc) {
		errs = append(errs, a.fillPorts(ctx, svc, before, h, dryRun)...)
	}
	return errs
}

func (a serviceAllocation) fillIP(ctx context.Context, svc *corev1.Service, before []string, h string, dryRun bool) error {
	if svc.Spec.ClusterIP == "" {
		ip, err := a.allocator.nextIP(ctx, h, dryRun)
		if err != nil {
			return err
		}
		svc.Spec.ClusterIP = ip.String()
	} else {
		ip, err := netip.ParseAddr(svc.Spec.ClusterIP)
		if err != nil {
			return err
		}
		if !slices.Contains(before, a.allocator.ipKey(ip)) {
			if err := a.allocator.claimIP(ctx, ip, h, dryRun); err != nil {
				svc.Spec.ClusterIPs = nil
				return err
			}
		}
	}
	svc.Spec.ClusterIPs = []string{svc.Spec.ClusterIP}
	return nil
}

// fillPorts gives every port a node port. A TCP and a UDP port of the same number share one, so that a DNS Service keeps one number.
func (a serviceAllocation) fillPorts(ctx context.Context, svc *corev1.Service, before []string, h string, dryRun bool) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "ports")
	given := map[int32]int32{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		at := path.Index(i).Child("nodePort")
		if p.NodePort == 0 {
			if n := given[p.Port]; n != 0 && a.allocator.claimPort(ctx, n, string(p.Protocol), h, dryRun) == nil {
				p.NodePort = n
				continue
			}
			n, err := a.allocator.nextPort(ctx, string(p.Protocol), h, dryRun)
			if err != nil {
				errs = append(errs, field.InternalError(at, err))
				continue
			}
			p.NodePort = n
		} else if !slices.Contains(before, a.allocator.portKey(p.NodePort, string(p.Protocol))) {
			if err := a.allocator.claimPort(ctx, p.NodePort, string(p.Protocol), h, dryRun); err != nil {
				errs = append(errs, field.Invalid(at, p.NodePort, err.Error()))
				// Not ours to release.
				p.NodePort = 0
				continue
			}
		}
		given[p.Port] = p.NodePort
	}
	if needsHealthCheckPort(svc) && svc.Spec.HealthCheckNodePort == 0 {
		n, err := a.allocator.nextPort(ctx, "tcp", h, dryRun)
		if err != nil {
			errs = append(errs, field.InternalError(field.NewPath("spec", "healthCheckNodePort"), err))
		}
		svc.Spec.HealthCheckNodePort = n
	}
	return errs
}

package registry

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/util/dryrun"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/columns"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry/validation"
)

func services(d Deps) entry {
	return Kind[*corev1.Service]{
		Resource: "services", Singular: "service", ShortNames: []string{"svc"}, Categories: []string{"all"},
		New: func() *corev1.Service { return &corev1.Service{} }, NewList: func() runtime.Object { return &corev1.ServiceList{} },
		Columns:   columns.Service,
		HasStatus: true, MetadataWithStatus: true,
		Validate: validation.Service, ValidateUpdate: validation.ServiceUpdate, ValidateStatus: validation.ServiceStatusUpdate,
		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Customize: func(s *genericregistry.Store) {
			// The address has to be known before the Service is judged, and a wrong one to be refused like any other wrong field: these
			// hooks are what the library calls first.
			s.BeginCreate = func(ctx context.Context, obj runtime.Object, _ *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
				return nothingLeft, allocate(ctx, obj.(*corev1.Service), nil)
			}
			s.BeginUpdate = func(ctx context.Context, obj, old runtime.Object, _ *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
				return nothingLeft, allocate(ctx, obj.(*corev1.Service), old.(*corev1.Service))
			}
			s.AfterDelete = func(obj runtime.Object, o *metav1.DeleteOptions) {
				if !dryrun.IsDryRun(o.DryRun) {
					svc := obj.(*corev1.Service)
					d.Services.releaseAll(context.Background(), clusterip.HolderOf(svc), claimsOf(svc))
				}
			}
		},
		Wrap: func(r *resource) (rest.Storage, error) { return &serviceREST{resource: r, allocator: d.Services}, nil },
	}
}

func nothingLeft(context.Context, bool) {}

// serviceREST puts the claims of addresses and ports around the write of a Service. The library may try a write several times, and
// calls its own hooks before the object is stored; what a write really used is known only when it returns.
type serviceREST struct {
	*resource
	allocator *Allocator
}

var (
	_ rest.Creater = (*serviceREST)(nil)
	_ rest.Patcher = (*serviceREST)(nil)
)

func (r *serviceREST) Create(ctx context.Context, obj runtime.Object, validate rest.ValidateObjectFunc, options *metav1.CreateOptions) (runtime.Object, error) {
	w := &serviceWrite{allocator: r.allocator, dryRun: dryrun.IsDryRun(options.DryRun)}
	out, err := r.resource.Create(context.WithValue(ctx, serviceWriteKey{}, w), obj, validate, options)
	w.end(context.WithoutCancel(ctx), err)
	return out, err
}

func (r *serviceREST) Update(ctx context.Context, name string, info rest.UpdatedObjectInfo, validateCreate rest.ValidateObjectFunc,
	validateUpdate rest.ValidateObjectUpdateFunc, allowCreate bool, options *metav1.UpdateOptions,
) (runtime.Object, bool, error) {
	w := &serviceWrite{allocator: r.allocator, dryRun: dryrun.IsDryRun(options.DryRun)}
	out, created, err := r.resource.Update(context.WithValue(ctx, serviceWriteKey{}, w), name, info, validateCreate, validateUpdate, allowCreate, options)
	w.end(context.WithoutCancel(ctx), err)
	return out, created, err
}

type serviceWriteKey struct{}

func needsNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort ||
		s.Spec.Type == corev1.ServiceTypeLoadBalancer && (s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts)
}

// claimsOf are what a stored Service holds.
func claimsOf(s *corev1.Service) []claim {
	var all []claim
	for _, ip := range clusterip.Of(s) {
		all = append(all, claim{ip: ip})
	}
	if s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				all = append(all, portClaim(p.NodePort, string(p.Protocol)))
			}
		}
		if p := s.Spec.HealthCheckNodePort; p != 0 {
			all = append(all, portClaim(p, "tcp"))
		}
	}
	return all
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

// serviceWrite is one create or update of a Service, with all its attempts.
type serviceWrite struct {
	allocator *Allocator
	dryRun    bool
	holder    clusterip.Holder
	// claimed is what the last attempt took, used all that it needs, before what the stored Service has.
	claimed, used, before []claim
}

// allocate fills in and claims addresses and ports of svc; old is what it replaces, or nil. A write that is not one of Services' own, such
// as of the status, changes neither.
func allocate(ctx context.Context, svc, old *corev1.Service) error {
	w, ok := ctx.Value(serviceWriteKey{}).(*serviceWrite)
	if !ok {
		return nil
	}
	// An attempt that is followed by another has stored nothing.
	if !w.dryRun {
		w.allocator.releaseAll(ctx, w.holder, w.claimed)
	}
	w.holder, w.before, w.claimed = clusterip.HolderOf(svc), nil, nil
	if old != nil {
		keepAllocations(svc, old)
		w.before = claimsOf(old)
	}
	errs := settleFamilies(svc, old, w.allocator.families)
	if len(errs) == 0 {
		errs = w.fill(ctx, svc)
	}
	w.used = claimsOf(svc)
	if len(errs) > 0 {
		return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), svc.Name, errs)
	}
	return nil
}

// end gives back what the write did not come to use: all that it took when it failed, and otherwise what the Service has no longer.
func (w *serviceWrite) end(ctx context.Context, err error) {
	if w.dryRun {
		return
	}
	kept, spare := w.before, w.claimed
	if err == nil {
		kept, spare = w.used, append(w.claimed, w.before...)
	}
	w.allocator.releaseAll(ctx, w.holder, slices.DeleteFunc(spare, func(c claim) bool { return slices.Contains(kept, c) }))
}

func (w *serviceWrite) fill(ctx context.Context, svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	if clusterip.Needed(svc) {
		errs = append(errs, w.fillIPs(ctx, svc)...)
	}
	if needsNodePorts(svc) {
		errs = append(errs, w.fillPorts(ctx, svc)...)
	}
	return errs
}

// fillIPs claims an address of each family of the Service, that which it asks for or any.
func (w *serviceWrite) fillIPs(ctx context.Context, svc *corev1.Service) field.ErrorList {
	at := field.NewPath("spec", "clusterIPs")
	asked := svc.Spec.ClusterIPs
	ips := make([]string, 0, len(svc.Spec.IPFamilies))
	for i, family := range svc.Spec.IPFamilies {
		text := ""
		if i < len(asked) {
			text = asked[i]
		}
		ip, err := w.claimIP(ctx, family, text)
		if err != nil {
			return field.ErrorList{field.Invalid(at, asked, strings.TrimSpace("failed to allocate IP "+text)+": "+err.Error())}
		}
		ips = append(ips, ip.String())
	}
	svc.Spec.ClusterIP, svc.Spec.ClusterIPs = ips[0], ips
	return nil
}

func (w *serviceWrite) claimIP(ctx context.Context, family corev1.IPFamily, text string) (netip.Addr, error) {
	if text == "" {
		ip, err := w.allocator.nextIP(ctx, family, w.holder, w.dryRun)
		if err == nil {
			w.claimed = append(w.claimed, claim{ip: ip})
		}
		return ip, err
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		return ip, err
	}
	if c := (claim{ip: ip}); !slices.Contains(w.before, c) {
		if err := w.allocator.claimIP(ctx, ip, w.holder, w.dryRun); err != nil {
			return ip, err
		}
		w.claimed = append(w.claimed, c)
	}
	return ip, nil
}

// fillPorts gives every port a node port. A TCP and a UDP port of the same number share one, so that a DNS Service keeps one number.
func (w *serviceWrite) fillPorts(ctx context.Context, svc *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "ports")
	given := map[int32]int32{}
	for i := range svc.Spec.Ports {
		p := &svc.Spec.Ports[i]
		at := path.Index(i).Child("nodePort")
		if p.NodePort != 0 {
			if err := w.claimPort(ctx, p.NodePort, string(p.Protocol)); err != nil {
				errs = append(errs, field.Invalid(at, p.NodePort, err.Error()))
				continue
			}
		} else if n := given[p.Port]; n != 0 && w.claimPort(ctx, n, string(p.Protocol)) == nil {
			p.NodePort = n
		} else if err := w.nextPort(ctx, string(p.Protocol), &p.NodePort); err != nil {
			errs = append(errs, field.InternalError(at, err))
			continue
		}
		given[p.Port] = p.NodePort
	}
	if needsHealthCheckPort(svc) {
		at := field.NewPath("spec", "healthCheckNodePort")
		if n := svc.Spec.HealthCheckNodePort; n != 0 {
			if err := w.claimPort(ctx, n, "tcp"); err != nil {
				errs = append(errs, field.Invalid(at, n, err.Error()))
			}
		} else if err := w.nextPort(ctx, "tcp", &svc.Spec.HealthCheckNodePort); err != nil {
			errs = append(errs, field.InternalError(at, err))
		}
	}
	return errs
}

func (w *serviceWrite) claimPort(ctx context.Context, port int32, protocol string) error {
	c := portClaim(port, protocol)
	if slices.Contains(w.before, c) {
		return nil
	}
	err := w.allocator.claimPort(ctx, port, protocol, w.holder, w.dryRun)
	if err == nil {
		w.claimed = append(w.claimed, c)
	}
	return err
}

func (w *serviceWrite) nextPort(ctx context.Context, protocol string, port *int32) error {
	n, err := w.allocator.nextPort(ctx, protocol, w.holder, w.dryRun)
	if err == nil {
		*port = n
		w.claimed = append(w.claimed, portClaim(n, protocol))
	}
	return err
}

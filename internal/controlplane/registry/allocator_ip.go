package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

var (
	ipAddresses  = networkingv1.Resource("ipaddresses")
	serviceCIDRs = networkingv1.Resource("servicecidrs")
)

func (a *Allocator) addresses() *genericregistry.Store { return a.registry.Store(ipAddresses) }

// ranges are those that addresses of a family may come from: as the watch cache has them, which is a moment old, or as they are now.
func (a *Allocator) ranges(ctx context.Context, family corev1.IPFamily, now bool) ([]clusterip.Range, error) {
	o := &metainternalversion.ListOptions{ResourceVersion: "0"}
	if now {
		o.ResourceVersion = ""
	}
	list, err := a.registry.Store(serviceCIDRs).List(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("list ServiceCIDRs: %w", err)
	}
	return clusterip.Ranges(list.(*networkingv1.ServiceCIDRList).Items, family), nil
}

// take creates the IPAddress of an address. Taking what the holder already has succeeds, so that a repeated request is harmless.
func (a *Allocator) take(ctx context.Context, r clusterip.Range, ip netip.Addr, h clusterip.Holder, dryRun bool) (bool, error) {
	if !a.isFor(ip, h) {
		return false, nil
	}
	o := &metav1.CreateOptions{}
	if dryRun {
		o.DryRun = []string{metav1.DryRunAll}
	}
	_, err := a.addresses().Create(ctx, clusterip.Claim(ip, h), rest.ValidateAllObjectFunc, o)
	switch {
	case apierrors.IsAlreadyExists(err):
		return a.has(ctx, ip, h)
	case err != nil || dryRun:
		return err == nil, err
	}
	// Whoever lets go of a ServiceCIDR looks for addresses of it after it has ceased to be usable. So either he sees this one, or that is seen here.
	if a.usable(ctx, r.Name) {
		return true, nil
	}
	if err := a.releaseIP(ctx, ip, h); err != nil {
		return false, err
	}
	return false, errLeaving
}

func (a *Allocator) has(ctx context.Context, ip netip.Addr, h clusterip.Holder) (bool, error) {
	obj, err := a.addresses().Get(ctx, ip.String(), &metav1.GetOptions{})
	if err != nil {
		return false, ignoreNotFound(err) // gone meanwhile: another may be as well
	}
	holder, ok := clusterip.HeldBy(obj.(*networkingv1.IPAddress))
	return ok && holder == h, nil
}

func (a *Allocator) usable(ctx context.Context, name string) bool {
	obj, err := a.registry.Get(ctx, serviceCIDRs, name)
	return err == nil && clusterip.Usable(obj.(*networkingv1.ServiceCIDR))
}

var (
	// errOthers says that an IPAddress is another's.
	errOthers = errors.New("another's")
	// errLeaving says that a ServiceCIDR is not to be given out from any more.
	errLeaving = errors.New("its ServiceCIDR is not ready any more")
)

// releaseIP deletes the IPAddress if the holder has it.
func (a *Allocator) releaseIP(ctx context.Context, ip netip.Addr, h clusterip.Holder) error {
	return a.deleteIP(genericapirequest.WithNamespace(ctx, ""), ip.String(), func(_ context.Context, obj runtime.Object) error {
		if has, ok := clusterip.HeldBy(obj.(*networkingv1.IPAddress)); !ok || has != h {
			return errOthers
		}
		return nil
	})
}

func (a *Allocator) deleteIP(ctx context.Context, name string, may rest.ValidateObjectFunc) error {
	_, _, err := a.addresses().Delete(ctx, name, may, &metav1.DeleteOptions{})
	if errors.Is(err, errOthers) {
		return nil
	}
	return ignoreNotFound(err)
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// claimIP takes the given address.
func (a *Allocator) claimIP(ctx context.Context, ip netip.Addr, h clusterip.Holder, dryRun bool) error {
	if !a.isFor(ip, h) {
		return errReserved
	}
	taken := false
	err := a.inRanges(ctx, clusterip.Family(ip), func(ctx context.Context, r clusterip.Range) (bool, error) {
		if !clusterip.Has(r.Prefix, ip) {
			return false, nil
		}
		ok, err := a.take(ctx, r, ip, h, dryRun)
		taken = !ok && err == nil
		return ok, err
	})
	if out := (*notInRanges)(nil); errors.As(err, &out) {
		if taken {
			return errTaken
		}
		return fmt.Errorf("%w. The range of valid IPs is %s", errRange, out)
	}
	return err
}

// nextIP takes a free address of a family, any above the band that is kept for addresses chosen by hand (KEP-3070) while there is one, then any.
func (a *Allocator) nextIP(ctx context.Context, family corev1.IPFamily, h clusterip.Holder, dryRun bool) (netip.Addr, error) {
	var got netip.Addr
	err := a.inRanges(ctx, family, func(ctx context.Context, r clusterip.Range) (bool, error) {
		ip, err := a.nextOf(ctx, r, h, dryRun)
		if errors.Is(err, errFull) {
			return false, nil
		}
		got = ip
		return true, err
	})
	if out := (*notInRanges)(nil); errors.As(err, &out) {
		return got, fmt.Errorf("no cluster IP is free in %s: %w", out, errFull)
	}
	return got, err
}

func (a *Allocator) nextOf(ctx context.Context, r clusterip.Range, h clusterip.Holder, dryRun bool) (netip.Addr, error) {
	n := clusterip.Hosts(r.Prefix)
	band := min(max(16, (n+2)/16), 256)
	if band >= n {
		band = 0
	}
	try := func(i uint64) (netip.Addr, bool, error) {
		ip := clusterip.At(r.Prefix, i)
		ok, err := a.take(ctx, r, ip, h, dryRun)
		return ip, ok, err
	}
	ip, err := pick(ctx, band+1, n, try)
	if errors.Is(err, errFull) {
		ip, err = pick(ctx, 1, band, try)
	}
	return ip, err
}

// notInRanges says that no range had what was wanted.
type notInRanges struct{ ranges []clusterip.Range }

func (e *notInRanges) Error() string {
	if len(e.ranges) == 0 {
		return "none: there is no ServiceCIDR of that family that is ready"
	}
	var out []string
	for _, r := range e.ranges {
		out = append(out, r.Prefix.String())
	}
	return strings.Join(out, ", ")
}

// inRanges calls try for each range of a family until it succeeds: for those that the watch cache shows, and before it gives up for those that there are now.
func (a *Allocator) inRanges(ctx context.Context, family corev1.IPFamily, try func(context.Context, clusterip.Range) (bool, error)) error {
	ctx = genericapirequest.WithNamespace(ctx, "")
	tried := map[clusterip.Range]bool{}
	var ranges []clusterip.Range
	for _, now := range []bool{false, true} {
		var err error
		if ranges, err = a.ranges(ctx, family, now); err != nil {
			return err
		}
		for _, r := range ranges {
			if tried[r] {
				continue
			}
			tried[r] = true
			ok, err := try(ctx, r)
			if errors.Is(err, errLeaving) {
				continue
			}
			if ok || err != nil {
				return err
			}
		}
	}
	return &notInRanges{ranges}
}

// repairIPs makes the IPAddresses that an API server gave out those of held.
func (a *Allocator) repairIPs(ctx context.Context, held map[claim]clusterip.Holder) (freed, restored int, err error) {
	ctx = genericapirequest.WithNamespace(ctx, "")
	list, err := a.addresses().List(ctx, &metainternalversion.ListOptions{})
	if err != nil {
		return 0, 0, fmt.Errorf("list IPAddresses: %w", err)
	}
	kept := map[string]bool{}
	items := list.(*networkingv1.IPAddressList).Items
	for i := range items {
		it := &items[i]
		if !clusterip.Managed(it) {
			kept[it.Name] = true
			continue
		}
		ip, err := netip.ParseAddr(it.Name)
		has, ok := clusterip.HeldBy(it)
		if want, is := held[claim{ip: ip}]; err == nil && is && ok && has == want {
			kept[it.Name] = true
			continue
		}
		if err := a.deleteIP(ctx, it.Name, rest.ValidateAllObjectFunc); err != nil {
			return freed, restored, fmt.Errorf("free cluster IP %s: %w", it.Name, err)
		}
		freed++
	}
	for c, h := range held {
		if !c.ip.IsValid() || kept[c.ip.String()] {
			continue
		}
		if _, err := a.addresses().Create(ctx, clusterip.Claim(c.ip, h), rest.ValidateAllObjectFunc, &metav1.CreateOptions{}); err != nil {
			return freed, restored, fmt.Errorf("claim cluster IP %s for Service %s/%s: %w", c.ip, h.Namespace, h.Name, err)
		}
		restored++
	}
	return freed, restored, nil
}

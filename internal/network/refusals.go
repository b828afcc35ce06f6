package network

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// refusalMetric is worse than that of any route that leads somewhere: while one does, it is taken.
const refusalMetric = 1 << 30

// A refusal is a range for whose addresses the kernel refuses packets at once ("unreachable" in ip route) if no better route is there. A node that sends nothing unencrypted has
// them for all Pods that are not its own: a route that is missing would leave their packets to the default route.

// wantedRefusals are the ranges of the cluster, for nodes that are not known yet, and those of every other node, whatever else is known of it: others' routes may be narrower than the cluster's.
func wantedRefusals(cluster []netip.Prefix, own func(*corev1.Node) bool, nodes []*corev1.Node) []netip.Prefix {
	want := slices.Clone(cluster)
	for _, n := range nodes {
		if !own(n) {
			want = append(want, nodeCIDRs(n)...)
		}
	}
	return distinct(want)
}

// firstRefusals are those while no nodes are known: the ranges of the cluster, those that were refused before, and those to which another mode's routes lead.
func firstRefusals(cluster, refused []netip.Prefix, present []route) []netip.Prefix {
	want := slices.Concat(cluster, refused)
	for _, r := range present {
		if !r.Tunnel {
			want = append(want, r.Dst)
		}
	}
	return distinct(want)
}

func distinct(list []netip.Prefix) []netip.Prefix {
	for i, p := range list {
		list[i] = p.Masked() // as the kernel wants them; a flag may say 10.42.0.1/16
	}
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// refusalChanges says, in this order, what is to be refused, which routes lead past the tunnel and are removed then, and what is refused no more.
func refusalChanges(want, refused []netip.Prefix, present []route) (refuse []netip.Prefix, remove []route, lift []netip.Prefix) {
	for _, p := range want {
		if !slices.Contains(refused, p) {
			refuse = append(refuse, p)
		}
	}
	for _, r := range present {
		if !r.Tunnel {
			remove = append(remove, r)
		}
	}
	for _, p := range refused {
		if !slices.Contains(want, p) {
			lift = append(lift, p)
		}
	}
	return refuse, remove, lift
}

// refuse makes the refusals those that want says of what there is, and leaves no route that leads past the tunnel.
func (t router) refuse(want func(refused []netip.Prefix, present []route) []netip.Prefix) error {
	index, err := linkIndex(t.link, t.tunnel.name)
	if err != nil {
		return fmt.Errorf("tunnel %s: look up: %w", t.tunnel.name, err)
	}
	present, err := t.present(index)
	if err != nil {
		return err
	}
	refused, err := t.refused()
	if err != nil {
		return err
	}
	refuse, remove, lift := refusalChanges(want(refused, present), refused, present)
	var errs []error
	for _, p := range refuse {
		if err := t.link.RouteReplace(kernelRefusal(p)); err != nil {
			errs = append(errs, fmt.Errorf("refuse what is sent unencrypted to %s: %w", p, err))
		}
	}
	if len(errs) > 0 {
		return errors.Join(errs...) // a route that is removed now would leave its packets to the default route
	}
	for _, r := range remove {
		if err := t.remove(r); err != nil {
			errs = append(errs, err)
			continue
		}
		t.log.Info("unencrypted route to another node's Pods removed", "dst", r.Dst, "via", r.Via)
	}
	return errors.Join(append(errs, t.lift(lift))...)
}

// refused are the ranges for which the kernel refuses packets.
func (t router) refused() ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		filter := &netlink.Route{Protocol: routeProtocol, Type: unix.RTN_UNREACHABLE}
		list, err := t.link.RouteListFiltered(family, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TYPE)
		if err != nil {
			return nil, fmt.Errorf("list the ranges that the kernel refuses: %w", err)
		}
		for _, r := range list {
			if ip, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				ones, _ := r.Dst.Mask.Size()
				out = append(out, netip.PrefixFrom(ip.Unmap(), ones))
			}
		}
	}
	return out, nil
}

func (t router) lift(refused []netip.Prefix) error {
	var errs []error
	for _, p := range refused {
		if err := ignoreNotFound(t.link.RouteDel(kernelRefusal(p))); err != nil {
			errs = append(errs, fmt.Errorf("refuse packets to %s no more: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// liftAll is for a node that leaves the mode.
func (t router) liftAll() error {
	refused, err := t.refused()
	return errors.Join(err, t.lift(refused))
}

func kernelRefusal(dst netip.Prefix) *netlink.Route {
	return &netlink.Route{Dst: ipNet(dst), Type: unix.RTN_UNREACHABLE, Priority: refusalMetric, Protocol: routeProtocol}
}

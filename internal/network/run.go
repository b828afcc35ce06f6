package network

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/iptables"
)

// routeProtocol marks the routes of this package in the kernel's table ("proto 103" in ip route), so that no other route is ever touched.
// Numbers from 5 up are free for routing daemons; this one is not in iproute2's rt_protos.
const routeProtocol netlink.RouteProtocol = 103

// Times of Run.
const (
	// routesPeriod bounds how long a route that somebody else changed, and did not just remove, stays changed.
	routesPeriod = time.Minute
	// retryPeriod is the wait after a route could not be set, such as one whose gateway's link is down.
	retryPeriod = 2 * time.Second
)

// Run keeps a route to every other node's Pods until ctx ends, and puts iptables rules back that somebody else changes. It waits for the
// informer, which its owner starts.
func (n *Network) Run(ctx context.Context, nodes coreinformers.NodeInformer) error {
	heal := time.NewTicker(iptables.HealPeriod)
	defer heal.Stop()
	for n.plugins != nil { // routes are theirs
		select {
		case <-ctx.Done():
			return nil
		case <-heal.C:
			n.healRules(ctx)
		}
	}
	return n.routes.run(ctx, nodes, heal.C, func() { n.healRules(ctx) })
}

// KeepRoutes keeps a route to every node's Pods until ctx ends, on a host that has none of its own: a control plane that must reach Pods,
// to proxy to them or to call their webhooks. It works in the network namespace of the calling process.
func KeepRoutes(ctx context.Context, nodes coreinformers.NodeInformer) error {
	link, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink: %w", err)
	}
	defer link.Close()
	// Should the host run a node after all, that node's own range is on its bridge and must not be routed.
	own := func() func(*corev1.Node) bool {
		addrs, err := link.AddrList(nil, netlink.FAMILY_ALL)
		return func(n *corev1.Node) bool {
			return err == nil && slices.ContainsFunc(addrs, func(a netlink.Addr) bool {
				ip, ok := netip.AddrFromSlice(a.IP)
				return ok && isAddressOf(n, ip.Unmap())
			})
		}
	}
	return newRouter(own, link, nil).run(ctx, nodes, nil, nil)
}

// router keeps the kernel's routes to other nodes' Pods.
type router struct {
	// own looks at the host, and tells the node that it is, to which no route is needed.
	own  func() func(*corev1.Node) bool
	link *netlink.Handle
	// tunnel leads to nodes behind a router; nil where there is none, or it is another process' of this host.
	tunnel *tunnel
	log    *slog.Logger
}

func newRouter(own func() func(*corev1.Node) bool, link *netlink.Handle, tunnel *tunnel) router {
	return router{own: own, link: link, tunnel: tunnel, log: slog.With("component", "network")}
}

// run acts when a Node changes and when a route is lost, as by a link that went down, and looks over the routes now and then. Beside that it calls onTick at every tick.
func (t router) run(ctx context.Context, nodes coreinformers.NodeInformer, tick <-chan time.Time, onTick func()) error {
	wake := make(chan struct{}, 1)
	poke := func() {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	reg, err := nodes.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { poke() },
		UpdateFunc: func(old, obj any) {
			if was, is := old.(*corev1.Node), obj.(*corev1.Node); !sameRoutes(was, is) {
				poke() // all else that nodes report is nothing to others, and there may be thousands
			}
		},
		DeleteFunc: func(any) { poke() },
	})
	if err != nil {
		return fmt.Errorf("watch Nodes: %w", err)
	}
	defer func() { _ = nodes.Informer().RemoveEventHandler(reg) }()
	if !cache.WaitForCacheSync(ctx.Done(), reg.HasSynced) {
		return nil
	}
	if err := watchKernel(ctx, t.tunnel.encrypts(), poke); err != nil {
		return err
	}
	look := time.NewTicker(routesPeriod)
	defer look.Stop()
	for {
		list, err := nodes.Lister().List(labels.Everything())
		if err == nil {
			err = t.settle(t.own(), list)
		}
		var retry <-chan time.Time
		if err != nil {
			t.log.Error("routes to other nodes' Pods are incomplete, retrying", "err", err)
			retry = time.After(retryPeriod)
		}
		for waiting := true; waiting; {
			waiting = false
			select {
			case <-ctx.Done():
				return nil
			case <-wake:
			case <-retry:
			case <-look.C:
			case <-tick:
				onTick()
				waiting = true
			}
		}
	}
}

// watchKernel calls poke when one of our routes disappears or a link comes up again, behind which routes could not be set. Where packets are encrypted it does so for a route
// that is set, too: it may be that of a control plane on this host which saw the kernel's table before the node closed it.
func watchKernel(ctx context.Context, encrypts bool, poke func()) error {
	routes := make(chan netlink.RouteUpdate, 64)
	if err := netlink.RouteSubscribe(routes, ctx.Done()); err != nil {
		return fmt.Errorf("watch the kernel's routes: %w", err)
	}
	links := make(chan netlink.LinkUpdate, 64)
	if err := netlink.LinkSubscribe(links, ctx.Done()); err != nil {
		return fmt.Errorf("watch the kernel's interfaces: %w", err)
	}
	go func() {
		for r := range routes {
			if r.Protocol == routeProtocol && (r.Type == unix.RTM_DELROUTE || encrypts) {
				poke()
			}
		}
	}()
	go func() {
		for l := range links {
			// A Pod's own interface leads to no other node.
			if l.Header.Type == unix.RTM_NEWLINK && l.Flags&unix.IFF_RUNNING != 0 && !isHostInterface(l.Attrs().Name) {
				poke()
			}
		}
	}()
	return nil
}

func (n *Network) healRules(ctx context.Context) {
	for _, r := range n.rules {
		repaired, err := r.writer.Heal(ctx)
		if err != nil {
			n.log.Error("the Pod network's rules could not be verified", "err", err)
		} else if len(repaired) > 0 {
			n.log.Warn("rules of the Pod network were changed from outside and have been put back", "chains", repaired)
		}
	}
}

// settle makes the tunnel and the routes those to the given nodes.
func (t router) settle(own func(*corev1.Node) bool, nodes []*corev1.Node) error {
	var refused error
	if t.tunnel.encrypts() {
		refused = t.refuse(func([]netip.Prefix, []route) []netip.Prefix { return wantedRefusals(t.tunnel.cluster, own, nodes) })
	}
	index, peers, err := t.settleTunnel(own, nodes)
	if err = errors.Join(refused, err); t.tunnel.encrypts() && index == 0 {
		return err // what could not be encrypted is not sent
	}
	err = errors.Join(err, t.sync(index, wantedRoutes(own, nodes, peers)))
	if t.tunnel != nil && !t.tunnel.encrypts() {
		err = errors.Join(err, t.liftAll()) // of the mode that the node had before
	}
	return err
}

// settleTunnel makes the tunnel if some node needs one. Without one of its own, it finds that of another process of this host, whose routes are left alone.
func (t router) settleTunnel(own func(*corev1.Node) bool, nodes []*corev1.Node) (index int, peers []peer, err error) {
	at := slices.IndexFunc(nodes, own)
	if at < 0 && t.tunnel.encrypts() {
		return 0, nil, nil // its Node is to be made anew; what is there stays
	}
	if t.tunnel == nil || t.tunnel.mode == HostGateway || at < 0 {
		index, err = tunnelIndex(t.link)
		return index, nil, err
	}
	self, v4 := internalIP(nodes[at], true)
	if !v4 {
		var ok bool
		if self, ok = internalIP(nodes[at], false); !ok {
			return 0, nil, nil // not told yet
		}
	}
	peers = wantedPeers(own, nodes, v4, t.tunnel.far)
	if len(peers) == 0 && t.tunnel.mode != WireGuard {
		return 0, nil, removeTunnel(t.link, t.tunnel.name)
	}
	if index, err = t.tunnel.ensure(self); err != nil {
		return 0, nil, err
	}
	return index, peers, t.tunnel.meet(index, peers)
}

// present are this package's routes; tunnel is the index of its interface, or 0.
func (t router) present(tunnel int) ([]route, error) {
	var out []route
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		list, err := t.link.RouteListFiltered(family, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
		if err != nil {
			return nil, fmt.Errorf("list the kernel's routes: %w", err)
		}
		for _, r := range list {
			via, ok := netip.AddrFromSlice(r.Gw)
			ones, _ := r.Dst.Mask.Size()
			dst, dstOK := netip.AddrFromSlice(r.Dst.IP)
			if ok && dstOK {
				out = append(out, route{Dst: netip.PrefixFrom(dst.Unmap(), ones), Via: via.Unmap(), Tunnel: tunnel != 0 && r.LinkIndex == tunnel})
			}
		}
	}
	return out, nil
}

func (t router) sync(tunnel int, want []route) error {
	present, err := t.present(tunnel)
	if err != nil {
		return err
	}
	if t.tunnel == nil {
		refused, err := t.refused()
		if err != nil {
			return err
		}
		want, present = leaveToOthers(want, refused, present)
	}
	replace, remove := routeChanges(want, present)
	var errs []error
	for _, r := range replace {
		if err := t.link.RouteReplace(t.kernelRoute(r, tunnel)); err != nil {
			errs = append(errs, fmt.Errorf("route to %s through %s: %w: nodes must share a link, or have the Pod network auto or vxlan", r.Dst, r.Via, err))
			continue
		}
		t.log.Info("route to another node's Pods", "dst", r.Dst, "via", r.Via, "tunnel", r.Tunnel)
	}
	for _, r := range remove {
		if err := t.remove(r); err != nil {
			errs = append(errs, err)
			continue
		}
		t.log.Info("route to another node's Pods removed", "dst", r.Dst, "via", r.Via)
	}
	return errors.Join(errs...)
}

func (t router) kernelRoute(r route, tunnel int) *netlink.Route {
	kernel := &netlink.Route{Dst: ipNet(r.Dst), Gw: net.IP(r.Via.AsSlice()), Protocol: routeProtocol}
	if !r.Tunnel {
		return kernel
	}
	kernel.LinkIndex, kernel.Flags = tunnel, int(netlink.FLAG_ONLINK)
	for _, c := range t.tunnel.cidrs {
		if c.Addr().Is4() == r.Dst.Addr().Is4() {
			// What the node itself sends has to be answered through the tunnel as well.
			kernel.Src = net.IP(tunnelAddr(c).AsSlice())
		}
	}
	return kernel
}

func (t router) remove(r route) error {
	err := t.link.RouteDel(&netlink.Route{Dst: ipNet(r.Dst), Gw: net.IP(r.Via.AsSlice()), Protocol: routeProtocol})
	if ignoreNotFound(err) != nil {
		return fmt.Errorf("remove the route to %s: %w", r.Dst, err)
	}
	return nil
}

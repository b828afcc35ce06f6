package network

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/iptables"
)

// AnnPodCIDRs is a Node's annotation: the ranges, separated by commas, that its Pods have addresses of. A Node that is made anew, by who deleted it or because the control plane
// lost its state, is given these again, as Pods that run cannot change theirs.
const AnnPodCIDRs = "gitopsd.io/pod-cidrs"

// Config says where the node stands in the cluster.
type Config struct {
	// NodeName is the node's own name among the Nodes given to Run.
	NodeName string
	// StateDir is a folder of this package's own, made if it is missing.
	StateDir string
	// PodCIDRs are the ranges of this node's Pods (node.spec.podCIDRs), at most one of each family.
	PodCIDRs []netip.Prefix
	// ClusterCIDRs are the ranges of all nodes' Pods. Between them nothing is masqueraded.
	ClusterCIDRs []netip.Prefix
	// MTU of the link between nodes, and of Pods' interfaces unless all their packets to other nodes are tunnelled, in bytes; zero takes that of the node's default route.
	MTU int
	// Mode is how packets get to other nodes; empty is Auto.
	Mode Mode
	// CNI are plugins that make Pods' interfaces, and lead packets to other nodes, in place of the bridge, routes and tunnel of this package.
	CNI CNI
	// wireguard is the name of that interface where it is not the usual one: tests have several nodes in one file system, where a process in place of the kernel is known by it.
	wireguard string
}

// HostPort is one port of a Pod that the node's own addresses answer, as in container.ports.
type HostPort struct {
	// Protocol is TCP, UDP or SCTP; empty is TCP.
	Protocol      corev1.Protocol `json:"protocol"`
	HostPort      uint16          `json:"hostPort"`
	ContainerPort uint16          `json:"containerPort"`
	// HostIP limits the port to one of the node's addresses; the zero Addr and 0.0.0.0 mean all of them.
	HostIP netip.Addr `json:"hostIP,omitzero"`
}

// Pod is what Attach needs to know of a Pod.
type Pod struct {
	Namespace, Name, UID string
	// NetNS is the path of the Pod's network namespace, such as a bind mount of /proc/<pid>/ns/net.
	NetNS     string
	HostPorts []HostPort
	Bandwidth Bandwidth
	// Guard, unless nil, is called when the Pod's addresses are known (see Places) and before it can send or receive anything.
	Guard func(ctx context.Context) error
}

// Place is who has been given which addresses.
type Place struct {
	Namespace, Name string
	IPs             []netip.Addr
}

// Attachment is a Pod's place in the network.
type Attachment struct {
	// IPs are the Pod's addresses, one per range in Config.PodCIDRs, in that order.
	IPs []netip.Addr
	// HostInterface is the node's end of the Pod's veth pair; empty where plugins made it. The Pod's end is always eth0.
	HostInterface string
}

// Network is the Pod network of this node. All methods may be called from any goroutine.
type Network struct {
	cfg    Config
	log    *slog.Logger
	link   *netlink.Handle
	bridge bridge
	routes router
	// plugins make Pods' interfaces, unless nil.
	plugins *plugins

	rules []familyRules

	mu    sync.Mutex // guards state and its file; never held while interfaces are made
	state state
	pods  keyedLocks // one Attach or Detach per UID at a time
	// rulesMu makes the rules that are sent last the ones that were computed last.
	rulesMu sync.Mutex
}

type familyRules struct {
	family
	writer *iptables.Writer
}

// New makes the bridge, turns on forwarding, writes the rules and removes what Pods that are no longer known left behind. It works in the
// network namespace of the calling process. A second New on the same StateDir takes over where the first one was stopped or killed.
func New(cfg Config) (*Network, error) {
	if len(cfg.PodCIDRs) == 0 {
		return nil, fmt.Errorf("node %s has no Pod range: wait until node.spec.podCIDRs is set", cfg.NodeName)
	}
	if err := os.MkdirAll(cfg.StateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the Pod network's state directory: %w", err)
	}
	st, err := loadState(cfg.StateDir)
	if err != nil {
		return nil, err
	}
	link, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink: %w", err)
	}
	n := &Network{cfg: cfg, state: st, link: link, plugins: newPlugins(cfg.CNI, cfg.StateDir), log: slog.With("component", "network")}
	n.cfg.Mode = cmp.Or(cfg.Mode, Auto)
	n.cfg.MTU = cmp.Or(cfg.MTU, defaultMTU(link))
	own := func(o *corev1.Node) bool { return o.Name == cfg.NodeName }
	t := newTunnel(n.cfg, link)
	n.routes = newRouter(func() func(*corev1.Node) bool { return own }, link, t)
	switch {
	case t.encrypts(): // before anything that may fail
		err = n.routes.refuse(func(refused []netip.Prefix, present []route) []netip.Prefix {
			return firstRefusals(cfg.ClusterCIDRs, refused, present)
		})
	case n.plugins != nil: // else those of the former mode stay until there are routes
		err = n.routes.liftAll()
	}
	if err != nil {
		return nil, err
	}
	if err := t.prepare(cfg); err != nil {
		return nil, err
	}
	if n.cfg.Mode == VXLAN || n.cfg.Mode == WireGuard {
		n.cfg.MTU -= n.cfg.Mode.overhead(netip.IPv6Unspecified()) // the nodes' addresses are not known yet; the larger one fits both families
	}
	if n.plugins == nil {
		if n.bridge, err = ensureBridge(link, n.cfg); err != nil {
			return nil, err
		}
		if err := n.removeStrangers(); err != nil {
			return nil, err
		}
	}
	if err := setSysctls(cfg.PodCIDRs, n.plugins == nil); err != nil {
		return nil, err
	}
	for _, f := range families {
		if len(f.only(cfg.PodCIDRs)) == 0 {
			continue
		}
		w, err := iptables.NewWriter(f.Family, chainPrefix, f.jumps())
		if err != nil {
			return nil, err
		}
		n.rules = append(n.rules, familyRules{family: f, writer: w})
	}
	return n, n.writeRules(context.Background())
}

// Ready says why Pods cannot be attached yet, where that is up to plugins.
func (n *Network) Ready() error {
	if n.plugins == nil {
		return nil
	}
	_, err := n.plugins.configuration()
	return err
}

// Attach gives the Pod its addresses, an interface eth0, a default route and a loopback interface that is up, and opens its host ports.
//
// Called again for the same UID it returns the same addresses and only mends what is missing; with another NetNS, as after a reboot, it
// moves the addresses there. A failed Attach may be repeated, or undone by Detach.
func (n *Network) Attach(ctx context.Context, pod Pod) (Attachment, error) {
	unlock := n.pods.lock(pod.UID)
	defer unlock()
	fail := func(err error) (Attachment, error) {
		return Attachment{}, fmt.Errorf("attach Pod %s/%s to the network: %w", pod.Namespace, pod.Name, err)
	}
	if n.plugins != nil {
		rec, err := n.attachByPlugins(ctx, pod)
		if err == nil && len(rec.HostPorts) > 0 {
			err = n.writeRules(ctx)
		}
		if err != nil {
			return fail(err)
		}
		return Attachment{IPs: slices.Clone(rec.IPs)}, nil
	}
	rec, portsChanged, err := n.reserve(pod)
	if err != nil {
		return fail(err)
	}
	if err := n.guard(ctx, pod); err != nil {
		return fail(err)
	}
	host := hostInterface(pod.UID)
	if err := n.connect(pod.NetNS, host, rec.IPs, pod.Bandwidth); err != nil {
		return fail(err)
	}
	if portsChanged {
		if err := n.writeRules(ctx); err != nil {
			return fail(err)
		}
	}
	return Attachment{IPs: slices.Clone(rec.IPs), HostInterface: host}, nil
}

// reserve finds or makes the Pod's record and says whether host ports have to be written.
func (n *Network) reserve(pod Pod) (record, bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	rec, known := n.state.Pods[pod.UID]
	if known && slices.Equal(rec.HostPorts, pod.HostPorts) {
		// An earlier Attach may have failed between this and the rules; writing rules that are there costs nothing.
		return rec, len(pod.HostPorts) > 0, nil
	}
	rec.Namespace, rec.Name, rec.HostPorts = pod.Namespace, pod.Name, slices.Clone(pod.HostPorts)
	if !known {
		used := n.state.used()
		for _, cidr := range n.cfg.PodCIDRs {
			ip, err := allocate(cidr, n.state.Last[cidr], used)
			if err != nil {
				return rec, false, err
			}
			rec.IPs = append(rec.IPs, ip)
			n.state.Last[cidr] = ip
		}
	}
	n.state.Pods[pod.UID] = rec
	if err := n.state.save(n.cfg.StateDir); err != nil {
		if !known {
			delete(n.state.Pods, pod.UID)
		}
		return rec, false, err
	}
	return rec, len(pod.HostPorts) > 0 || known, nil
}

// Detach removes the Pod's interface and host ports and gives its addresses back. A UID that is not known is no error.
func (n *Network) Detach(ctx context.Context, uid string) error {
	unlock := n.pods.lock(uid)
	defer unlock()
	n.mu.Lock()
	rec, known := n.state.Pods[uid]
	n.mu.Unlock()
	if !known {
		if n.plugins != nil {
			return nil
		}
		return n.disconnect(hostInterface(uid), nil)
	}
	fail := func(err error) error {
		return fmt.Errorf("detach Pod %s/%s from the network: %w", rec.Namespace, rec.Name, err)
	}
	if err := n.undo(ctx, uid, rec); err != nil {
		return fail(err)
	}
	n.mu.Lock()
	delete(n.state.Pods, uid)
	err := n.state.save(n.cfg.StateDir)
	n.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	if len(rec.HostPorts) > 0 {
		if err := n.writeRules(ctx); err != nil {
			return fail(err)
		}
	}
	return nil
}

// undo removes a Pod's interface, by whom it was made.
func (n *Network) undo(ctx context.Context, uid string, rec record) error {
	if len(rec.Plugins) == 0 {
		return n.disconnect(hostInterface(uid), rec.IPs)
	}
	if n.plugins == nil {
		return errors.New("its interface was made by CNI plugins: start the node with the --cni-conf-dir and --cni-bin-dir that it had, and drain it before you change them")
	}
	return n.plugins.del(ctx, rec, uid)
}

// Attached lists the UIDs of all Pods that hold an address, so that a node which starts can detach those it no longer runs.
func (n *Network) Attached() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Sorted(maps.Keys(n.state.Pods))
}

// Places are all Pods that hold addresses, by UID.
func (n *Network) Places() map[string]Place {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make(map[string]Place, len(n.state.Pods))
	for uid, r := range n.state.Pods {
		out[uid] = Place{r.Namespace, r.Name, r.IPs}
	}
	return out
}

// writeRules sends the rules for the Pods known now.
func (n *Network) writeRules(ctx context.Context) error {
	n.rulesMu.Lock()
	defer n.rulesMu.Unlock()
	n.mu.Lock()
	pods := maps.Clone(n.state.Pods)
	n.mu.Unlock()
	for _, r := range n.rules {
		if err := r.writer.Apply(ctx, r.chains(n.cfg.PodCIDRs, n.cfg.ClusterCIDRs, pods, r.writer.HasRandomFully())); err != nil {
			return err
		}
	}
	return nil
}

// removeStrangers deletes interfaces of Pods that are not in the state: a Detach was killed half-way, or the state was lost.
func (n *Network) removeStrangers() error {
	known := map[string]bool{}
	for uid := range n.state.Pods {
		known[hostInterface(uid)] = true
	}
	links, err := n.link.LinkList()
	if err != nil {
		return fmt.Errorf("list the node's interfaces: %w", err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; l.Attrs().MasterIndex == n.bridge.index && isHostInterface(name) && !known[name] {
			if err := n.disconnect(name, nil); err != nil {
				return err
			}
		}
	}
	return nil
}

// Remove undoes New and every Attach: rules, bridge and Pods' interfaces. It is for a node that leaves the cluster for good.
func (n *Network) Remove(ctx context.Context) error {
	var errs []error
	for _, uid := range n.Attached() {
		errs = append(errs, n.Detach(ctx, uid))
	}
	for _, r := range n.rules {
		errs = append(errs, r.writer.Cleanup(ctx))
	}
	present, err := n.routes.present(0)
	errs = append(errs, err)
	for _, r := range present {
		errs = append(errs, n.routes.remove(r))
	}
	errs = append(errs, n.routes.liftAll(), removeTunnel(n.link, n.routes.tunnel.name))
	if n.plugins == nil {
		errs = append(errs, n.bridge.remove(n.link))
	}
	return errors.Join(errs...)
}

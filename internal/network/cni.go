package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// CNI says where plugins of the Container Network Interface are that make Pods' interfaces in place of this package.
type CNI struct {
	// ConfDir is the folder of network configurations; the first by name counts. Empty: there are no plugins.
	ConfDir string
	// BinDirs are where the plugins' programs are looked for.
	BinDirs []string
}

// plugins calls the plugins of a configuration.
type plugins struct {
	cfg CNI
	cni *libcni.CNIConfig
}

func newPlugins(cfg CNI, stateDir string) *plugins {
	if cfg.ConfDir == "" {
		return nil
	}
	return &plugins{cfg: cfg, cni: libcni.NewCNIConfigWithCacheDir(cfg.BinDirs, filepath.Join(stateDir, "cni"), nil)}
}

// configuration is read anew for each Pod: a network's own daemon may write it after the node has started, and change it.
func (p *plugins) configuration() (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(p.cfg.ConfDir, []string{".conflist", ".conf", ".json"})
	if err != nil {
		return nil, fmt.Errorf("read the CNI configurations in %s: %w", p.cfg.ConfDir, err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no CNI configuration in %s: install a network plugin, or start the node without --cni-conf-dir for the built-in network", p.cfg.ConfDir)
	}
	slices.Sort(files)
	return p.read(files[0])
}

func (p *plugins) read(file string) (*libcni.NetworkConfigList, error) {
	if filepath.Ext(file) == ".conflist" {
		list, err := libcni.NetworkConfFromFile(file)
		if err != nil {
			return nil, fmt.Errorf("CNI configuration %s: %w", file, err)
		}
		return list, nil
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	// A file of one plugin is a list of one, with the plugin's own name and version.
	var head struct {
		Name       string          `json:"name"`
		CNIVersion string          `json:"cniVersion,omitempty"`
		Plugins    json.RawMessage `json:"plugins"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("CNI configuration %s: %w", file, err)
	}
	head.Plugins = slices.Concat([]byte("["), raw, []byte("]"))
	wrapped, err := json.Marshal(head)
	if err != nil {
		return nil, fmt.Errorf("CNI configuration %s: %w", file, err)
	}
	list, err := libcni.NetworkConfFromBytes(wrapped)
	if err != nil {
		return nil, fmt.Errorf("CNI configuration %s: %w", file, err)
	}
	return list, nil
}

// call is what plugins are told of a Pod, in the words that they know from Kubernetes.
func (p *plugins) call(r record, uid string, b Bandwidth) *libcni.RuntimeConf {
	rt := &libcni.RuntimeConf{
		ContainerID: uid, NetNS: r.NetNS, IfName: podInterface,
		Args: [][2]string{
			{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", r.Namespace}, {"K8S_POD_NAME", r.Name}, {"K8S_POD_INFRA_CONTAINER_ID", uid}, {"K8S_POD_UID", uid},
		},
	}
	if b != (Bandwidth{}) {
		rt.CapabilityArgs = map[string]any{"bandwidth": map[string]uint64{
			"ingressRate": b.Ingress, "ingressBurst": burstBits(b.Ingress), "egressRate": b.Egress, "egressBurst": burstBits(b.Egress),
		}}
	}
	return rt
}

// burstBits is what plugins are told about bursts, in bits.
func burstBits(bits uint64) uint64 {
	if bits == 0 {
		return 0
	}
	return 8 * uint64(burst(bits/8))
}

// add has the plugins make the Pod's interface, and returns its addresses.
func (p *plugins) add(ctx context.Context, list *libcni.NetworkConfigList, r record, uid string, b Bandwidth) ([]netip.Addr, error) {
	result, err := p.cni.AddNetworkList(ctx, list, p.call(r, uid, b))
	if err != nil {
		return nil, fmt.Errorf("CNI network %s: %w", list.Name, err)
	}
	full, err := types100.NewResultFromResult(result)
	if err != nil {
		return nil, fmt.Errorf("CNI network %s: its answer: %w", list.Name, err)
	}
	var ips []netip.Addr
	for _, ip := range full.IPs {
		if a, ok := netip.AddrFromSlice(ip.Address.IP); ok {
			ips = append(ips, a.Unmap())
		}
	}
	if len(ips) == 0 {
		return nil, fmt.Errorf("CNI network %s: its plugins gave the Pod no address", list.Name)
	}
	return ips, nil
}

// del has the plugins that made the Pod's interface undo it.
func (p *plugins) del(ctx context.Context, r record, uid string) error {
	list, err := libcni.NetworkConfFromBytes(r.Plugins)
	if err != nil {
		return fmt.Errorf("the CNI configuration of Pod %s/%s: %w", r.Namespace, r.Name, err)
	}
	if _, err := os.Stat(r.NetNS); errors.Is(err, os.ErrNotExist) {
		r.NetNS = "" // as plugins are told of one that is gone, and with it the Pod's end of the interface
	}
	if err := p.cni.DelNetworkList(ctx, list, p.call(r, uid, Bandwidth{})); err != nil {
		return fmt.Errorf("CNI network %s: %w", list.Name, err)
	}
	return nil
}

// attachByPlugins is Attach where plugins make the interfaces. Nothing runs in the Pod's namespace yet, so that its guard comes soon enough after it has its addresses.
func (n *Network) attachByPlugins(ctx context.Context, pod Pod) (record, error) {
	n.mu.Lock()
	rec, known := n.state.Pods[pod.UID]
	n.mu.Unlock()
	if known && rec.NetNS == pod.NetNS && len(rec.IPs) > 0 && hasInterface(pod.NetNS) {
		return rec, n.guard(ctx, pod)
	}
	if known && len(rec.Plugins) > 0 {
		if err := n.plugins.del(ctx, rec, pod.UID); err != nil {
			return rec, err
		}
	}
	list, err := n.plugins.configuration()
	if err != nil {
		return rec, err
	}
	// Written before the plugins are called, so that what they have made can be undone whatever happens.
	rec = record{Namespace: pod.Namespace, Name: pod.Name, HostPorts: slices.Clone(pod.HostPorts), NetNS: pod.NetNS, Plugins: json.RawMessage(list.Bytes)}
	if err := n.remember(pod.UID, rec); err != nil {
		return rec, err
	}
	if err := loopbackUp(pod.NetNS); err != nil {
		return rec, err
	}
	if rec.IPs, err = n.plugins.add(ctx, list, rec, pod.UID, pod.Bandwidth); err != nil {
		return rec, err
	}
	if err := n.remember(pod.UID, rec); err != nil {
		return rec, err
	}
	return rec, n.guard(ctx, pod)
}

func (n *Network) remember(uid string, rec record) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.state.Pods[uid] = rec
	return n.state.save(n.cfg.StateDir)
}

func (n *Network) guard(ctx context.Context, pod Pod) error {
	if pod.Guard == nil {
		return nil
	}
	return pod.Guard(ctx)
}

// insideOf calls f with a handle of a namespace.
func insideOf(path string, f func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPath(path)
	if err != nil {
		return fmt.Errorf("open its network namespace %s: %w", path, err)
	}
	defer ns.Close()
	inside, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open netlink in its network namespace %s: %w", path, err)
	}
	defer inside.Close()
	return f(inside)
}

func hasInterface(path string) bool {
	return insideOf(path, func(h *netlink.Handle) error { _, err := h.LinkByName(podInterface); return err }) == nil
}

func loopbackUp(path string) error {
	return insideOf(path, func(h *netlink.Handle) error {
		lo, err := h.LinkByName("lo")
		if err != nil {
			return fmt.Errorf("look up its loopback interface: %w", err)
		}
		return h.LinkSetUp(lo)
	})
}

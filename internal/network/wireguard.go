package network

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"

	"github.com/gitopsd/gitopsd/internal/durable"
)

// AnnWireGuardKey is a Node's annotation: the public key that packets for its Pods are encrypted for, in base64. Empty: it takes none that are.
const AnnWireGuardKey = "gitopsd.io/wireguard-public-key"

const (
	wireguardName = "gitopsd-wg"
	wireguardPort = 51820
	// wireguardHeader is how much longer an encrypted packet is, beside the headers of UDP and IP: by a type, a receiver, a counter, and a tag (the WireGuard paper, section 5.4.6).
	wireguardHeader = 4 + 4 + 8 + 16
)

// wireguard is this node's end of the encrypted tunnel.
type wireguard struct {
	name string
	key  wgtypes.Key
}

// newWireguard reads the node's private key, or makes one: it never leaves the node.
func newWireguard(stateDir, name string) (*wireguard, error) {
	file := filepath.Join(stateDir, "wireguard.key")
	text, err := os.ReadFile(file)
	if err == nil {
		key, err := wgtypes.ParseKey(strings.TrimSpace(string(text)))
		if err != nil {
			return nil, fmt.Errorf("the WireGuard key in %s: %w: remove it, and the node makes itself another", file, err)
		}
		return &wireguard{name: cmp.Or(name, wireguardName), key: key}, nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("read the node's WireGuard key: %w", err)
	}
	key, err := wgtypes.GeneratePrivateKey()
	if err != nil {
		return nil, fmt.Errorf("make a WireGuard key: %w", err)
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return nil, fmt.Errorf("make the Pod network's state directory: %w", err)
	}
	// Written whole or not at all, whatever crashes: others know the node by this key.
	if err := durable.Replace(file, []byte(key.String()+"\n")); err != nil {
		return nil, fmt.Errorf("keep the node's WireGuard key: %w", err)
	}
	return &wireguard{name: cmp.Or(name, wireguardName), key: key}, nil
}

// WireGuardKey is the public key of the node whose Network is in the mode WireGuard, for its Node's annotation.
func WireGuardKey(cfg Config) (string, error) {
	w, err := newWireguard(cfg.StateDir, cfg.wireguard)
	if err != nil {
		return "", err
	}
	return w.key.PublicKey().String(), nil
}

// link makes the interface, or finds that of a process such as wireguard-go, which does in its place what a kernel may lack.
func (w *wireguard) link(h *netlink.Handle) (netlink.Link, error) {
	have, err := h.LinkByName(w.name)
	if err == nil || ignoreNotFound(err) != nil {
		return have, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = w.name
	err = h.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("this kernel has no WireGuard: load the module wireguard, run \"wireguard-go %s\" before the node starts, or give the node another --pod-network", w.name)
	}
	if err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	return h.LinkByName(w.name)
}

// configure calls change with what the interface has, and makes what it returns so.
func (w *wireguard) configure(change func(have *wgtypes.Device) wgtypes.Config) error {
	client, err := wgctrl.New()
	if err != nil {
		return fmt.Errorf("interface %s: open WireGuard's control: %w", w.name, err)
	}
	defer client.Close()
	have, err := client.Device(w.name)
	if err != nil {
		return fmt.Errorf("interface %s: read its WireGuard configuration: %w: if it is not WireGuard's, rename or delete it", w.name, err)
	}
	want := change(have)
	if want.PrivateKey == nil && want.ListenPort == nil && len(want.Peers) == 0 {
		return nil
	}
	if err := client.ConfigureDevice(w.name, want); err != nil {
		return fmt.Errorf("interface %s: configure WireGuard: %w", w.name, err)
	}
	return nil
}

// identify gives the interface the node's key and port.
func (w *wireguard) identify() error {
	return w.configure(func(have *wgtypes.Device) (want wgtypes.Config) {
		if have.PrivateKey != w.key {
			want.PrivateKey = &w.key
		}
		if port := wireguardPort; have.ListenPort != port {
			want.ListenPort = &port
		}
		return want
	})
}

// meet makes the peers those that the interface sends to, and takes packets from.
func (w *wireguard) meet(peers []peer) error {
	want, err := wireguardPeers(w.key.PublicKey(), peers)
	return errors.Join(err, w.configure(func(have *wgtypes.Device) wgtypes.Config {
		return wgtypes.Config{Peers: peerChanges(want, have.Peers)}
	}))
}

// wireguardPeers says which key each peer has, where it is, and which addresses are behind it. One that cannot be reached so is an error, and left out: what is sent to its
// Pods is refused by the interface, not sent as it is.
func wireguardPeers(own wgtypes.Key, peers []peer) ([]wgtypes.PeerConfig, error) {
	peers = slices.SortedFunc(slices.Values(peers), func(a, b peer) int { return cmp.Compare(a.Name, b.Name) })
	var out []wgtypes.PeerConfig
	var errs []error
	owners, taken := map[wgtypes.Key]string{own: "this node"}, map[netip.Prefix]bool{}
	for _, p := range peers {
		key, err := wgtypes.ParseKey(p.Key)
		switch {
		case p.Key == "":
			err = errors.New("it has published no key: start it with --pod-network wireguard, too")
		case err != nil:
			err = fmt.Errorf("its annotation %s: %w", AnnWireGuardKey, err)
		case owners[key] != "":
			err = fmt.Errorf("it has the key of %s: remove wireguard.key from its data directory's network folder, and start it again", owners[key])
		case !p.Node.IsValid():
			err = errors.New("it has no address of the family of this node's")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("nothing can be sent to Pods of node %s: %w", p.Name, err))
			continue
		}
		owners[key] = "node " + p.Name
		c := wgtypes.PeerConfig{PublicKey: key, Endpoint: net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.Node, wireguardPort)), ReplaceAllowedIPs: true}
		for _, cidr := range p.CIDRs {
			if !taken[cidr] { // two nodes that claim one range are settled by name, as for routes
				taken[cidr] = true
				c.AllowedIPs = append(c.AllowedIPs, *ipNet(cidr))
			}
		}
		out = append(out, c)
	}
	return out, errors.Join(errs...)
}

// peerChanges says what makes the peers those that are wanted. One that is as it should be is not touched: its session would end.
func peerChanges(want []wgtypes.PeerConfig, have []wgtypes.Peer) []wgtypes.PeerConfig {
	var out []wgtypes.PeerConfig
	for _, h := range have {
		if !slices.ContainsFunc(want, func(w wgtypes.PeerConfig) bool { return w.PublicKey == h.PublicKey }) {
			out = append(out, wgtypes.PeerConfig{PublicKey: h.PublicKey, Remove: true})
		}
	}
	for _, w := range want {
		if !slices.ContainsFunc(have, func(h wgtypes.Peer) bool { return samePeer(w, h) }) {
			out = append(out, w)
		}
	}
	return out
}

func samePeer(w wgtypes.PeerConfig, h wgtypes.Peer) bool {
	text := func(list []net.IPNet) []string {
		var out []string
		for _, n := range list {
			out = append(out, n.String())
		}
		slices.Sort(out)
		return out
	}
	return w.PublicKey == h.PublicKey && h.Endpoint.String() == w.Endpoint.String() && slices.Equal(text(w.AllowedIPs), text(h.AllowedIPs))
}

package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
	"golang.zx2c4.com/wireguard/ipc"
	"golang.zx2c4.com/wireguard/tun"
	"golang.zx2c4.com/wireguard/wgctrl"
	"golang.zx2c4.com/wireguard/wgctrl/wgtypes"
	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/test/netns"
)

// standInName is the name under which this test's own program is wireguard-go, which does what a kernel may lack.
const standInName = "test-wireguard"

// standIn serves the interface of the given name until it is killed.
func standIn(name string) error {
	t, err := tun.CreateTUN(name, device.DefaultMTU)
	if err != nil {
		return err
	}
	f, err := ipc.UAPIOpen(name)
	if err != nil {
		return err
	}
	l, err := ipc.UAPIListen(name, f)
	if err != nil {
		return err
	}
	d := device.NewDevice(t, conn.NewDefaultBind(), device.NewLogger(device.LogLevelError, name+": "))
	fmt.Println("ready")
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go d.IpcHandle(c)
	}
}

// kernelEncrypts tells whether this kernel has WireGuard.
func kernelEncrypts(t *testing.T) bool {
	t.Helper()
	err := netns.Do(netns.New(t), func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = wireguardName
		return netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	})
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		t.Fatal(err)
	}
	return err == nil
}

// encrypt has a node's packets to others encrypted: by the kernel, or by wireguard-go where it cannot.
func encrypt(t *testing.T, n *node) {
	t.Helper()
	n.cfg.Mode = WireGuard
	if !kernelEncrypts(t) {
		n.cfg.wireguard = fmt.Sprintf("gt%d-%s", os.Getpid()%1e6, n.name)
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(self, n.cfg.wireguard)
		cmd.Args[0], cmd.Stderr = standInName, os.Stderr
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := netns.Do(n.ns, cmd.Start); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = os.Remove(filepath.Join("/var/run/wireguard", n.cfg.wireguard+".sock"))
			_ = os.Remove("/var/run/wireguard") // unless somebody has sockets there
		})
		if _, err := out.Read(make([]byte, 8)); err != nil {
			t.Fatal("wireguard-go does not start: ", err)
		}
	}
	key, err := WireGuardKey(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.key = key
}

// device is what WireGuard says of a node's interface.
func (n *node) device(t *testing.T) (d *wgtypes.Device) {
	t.Helper()
	err := netns.Do(n.ns, func() error {
		c, err := wgctrl.New()
		if err != nil {
			return err
		}
		defer c.Close()
		d, err = c.Device(n.net.routes.tunnel.name)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestANodeThatCannotEncryptSaysSo(t *testing.T) {
	if kernelEncrypts(t) {
		return // nothing to say
	}
	var err error
	cfg := Config{NodeName: "n1", StateDir: t.TempDir(), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}, ClusterCIDRs: clusterCIDRs, Mode: WireGuard, MTU: 1500}
	if e := netns.Do(netns.New(t), func() error { _, err = New(cfg); return nil }); e != nil {
		t.Fatal(e)
	}
	if err == nil || !strings.Contains(err.Error(), "this kernel has no WireGuard: load the module wireguard") {
		t.Errorf("New: %v", err)
	}
}

func TestAnInterfaceThatIsNotWireGuardsIsRefused(t *testing.T) {
	n := &node{name: "n1", ns: netns.New(t), ip: netip.MustParseAddr("10.90.1.2")}
	n.cfg = Config{NodeName: "n1", StateDir: t.TempDir(), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.1.0/24")}, ClusterCIDRs: clusterCIDRs, Mode: WireGuard, MTU: 1500}
	err := netns.Do(n.ns, func() error {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = wireguardName
		return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs})
	})
	if err != nil {
		t.Fatal(err)
	}
	n.start(t)
	if err := netns.Do(n.ns, func() error { _, err := n.net.routes.tunnel.ensure(n.ip); return err }); err == nil || !strings.Contains(err.Error(), "rename or delete it") {
		t.Errorf("ensure: %v", err)
	}
}

func TestTheKeyIsTheNodesAlone(t *testing.T) {
	cfg := Config{StateDir: filepath.Join(t.TempDir(), "network")}
	first, err := WireGuardKey(cfg)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(cfg.StateDir, "wireguard.key")
	for _, path := range []string{cfg.StateDir, file} {
		if st, err := os.Stat(path); err != nil || st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s is others' to read: %v, %v", path, st.Mode(), err)
		}
	}
	if again, err := WireGuardKey(cfg); err != nil || again != first {
		t.Errorf("the key was %s, is %s: %v", first, again, err)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := WireGuardKey(cfg); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("a damaged key: %v", err)
	}
}

// peersDecision reads lines "node …" as for routes, and "have KEY at ADDRESS:PORT for CIDR,…". Keys are given as a word, which stands for one.
func peersDecision(t *testing.T, d *datadriven.TestData) string {
	words := map[string]string{"": ""}
	key := func(word string) (k wgtypes.Key) {
		copy(k[:], word)
		words[k.String()] = word
		return k
	}
	var have []wgtypes.Peer
	var rest []string
	for line := range strings.Lines(d.Input) {
		f := strings.Fields(line)
		if f[0] != "have" {
			rest = append(rest, line)
			continue
		}
		p := wgtypes.Peer{PublicKey: key(f[1]), Endpoint: net.UDPAddrFromAddrPort(netip.MustParseAddrPort(f[3]))}
		for cidr := range strings.SplitSeq(f[5], ",") {
			p.AllowedIPs = append(p.AllowedIPs, *ipNet(netip.MustParsePrefix(cidr)))
		}
		have = append(have, p)
	}
	nodes, _ := readNodes(t, d, strings.Join(rest, ""))
	for _, n := range nodes {
		if word := n.Annotations[AnnWireGuardKey]; word != "" && word != "broken" {
			n.Annotations[AnnWireGuardKey] = key(word).String()
		}
	}
	var self string
	d.ScanArgs(t, "self", &self)
	want, err := wireguardPeers(key("own"), wantedPeers(func(n *corev1.Node) bool { return n.Name == self }, nodes, true, (&tunnel{mode: WireGuard}).far))
	var b strings.Builder
	for _, c := range peerChanges(want, have) {
		if c.Remove {
			fmt.Fprintf(&b, "remove %s\n", words[c.PublicKey.String()])
			continue
		}
		fmt.Fprintf(&b, "set %s at %s for", words[c.PublicKey.String()], c.Endpoint)
		for _, a := range c.AllowedIPs {
			fmt.Fprintf(&b, " %s", a.String())
		}
		b.WriteByte('\n')
	}
	if err != nil {
		fmt.Fprintf(&b, "%s\n", err)
	}
	return b.String()
}

// overheads tells what the tunnels leave of a packet.
func overheads() string {
	var b strings.Builder
	for _, m := range []Mode{VXLAN, WireGuard} {
		fmt.Fprintf(&b, "%s %d %d\n", m, 1500-m.overhead(netip.IPv4Unspecified()), 1500-m.overhead(netip.IPv6Unspecified()))
	}
	return b.String()
}

// wantEncrypted checks that a node has sent at least so many bytes to the one other through WireGuard, and that it would change nothing of what it has set.
func wantEncrypted(t *testing.T, n, other *node, least int64) {
	t.Helper()
	d := n.device(t)
	if len(d.Peers) != 1 {
		t.Fatalf("%s has the peers %v", n.name, d.Peers)
	}
	if p := d.Peers[0]; p.TransmitBytes < least || p.LastHandshakeTime.IsZero() {
		t.Errorf("%s has sent %d bytes encrypted, want at least %d", n.name, p.TransmitBytes, least)
	}
	own := func(o *corev1.Node) bool { return o.Name == n.name }
	want, err := wireguardPeers(n.net.routes.tunnel.wireguard.key.PublicKey(), wantedPeers(own, []*corev1.Node{object(n), object(other)}, true, n.net.routes.tunnel.far))
	if changes := peerChanges(want, d.Peers); err != nil || len(changes) > 0 {
		t.Errorf("set again, which ends sessions: %v, %v", changes, err)
	}
}

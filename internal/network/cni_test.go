package network

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	types100 "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/gitopsd/gitopsd/test/netns"
)

// pluginName is the name under which this test's own program is a CNI plugin: a small one that joins a Pod to its host by a veth pair.
const pluginName = "test-ptp"

type pluginConf struct {
	types.NetConf
	// Dir is where the plugin notes what it was told, in a file for each call, and which addresses it gave.
	Dir           string `json:"dir"`
	RuntimeConfig struct {
		Bandwidth map[string]uint64 `json:"bandwidth"`
	} `json:"runtimeConfig"`
}

var pluginGateway = netip.MustParseAddr("10.42.9.1")

// plugin does what CNI_COMMAND says (the CNI specification, version 1.0.0).
func plugin() error {
	var conf pluginConf
	if err := json.NewDecoder(os.Stdin).Decode(&conf); err != nil {
		return err
	}
	id, ns := os.Getenv("CNI_CONTAINERID"), os.Getenv("CNI_NETNS")
	given := filepath.Join(conf.Dir, "given", id)
	note := fmt.Sprintln(os.Getenv("CNI_COMMAND"), os.Getenv("CNI_IFNAME"), os.Getenv("CNI_ARGS"), conf.RuntimeConfig.Bandwidth)
	log, err := os.OpenFile(filepath.Join(conf.Dir, "calls"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	if _, err := log.WriteString(note); err != nil {
		return err
	}
	host := hostInterface("cni" + id)
	if os.Getenv("CNI_COMMAND") == "DEL" {
		if l, err := netlink.LinkByName(host); err == nil {
			if err := netlink.LinkDel(l); err != nil {
				return err
			}
		}
		return os.RemoveAll(given)
	}
	others, err := os.ReadDir(filepath.Dir(given))
	if err != nil {
		return err
	}
	ip := netip.AddrFrom4([4]byte{10, 42, 9, byte(2 + len(others))})
	if err := os.WriteFile(given, nil, 0o600); err != nil {
		return err
	}
	f, err := os.Open(ns)
	if err != nil {
		return err
	}
	defer f.Close()
	attrs := netlink.NewLinkAttrs()
	attrs.Name = host
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: os.Getenv("CNI_IFNAME"), PeerNamespace: netlink.NsFd(int(f.Fd()))}); err != nil {
		return err
	}
	l, err := netlink.LinkByName(host)
	if err != nil {
		return err
	}
	if err := netlink.AddrAdd(l, &netlink.Addr{IPNet: hostPrefix(pluginGateway)}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return err
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: hostPrefix(ip)}); err != nil {
		return err
	}
	if err := insideOf(ns, func(h *netlink.Handle) error { return configurePodAddr(h, ip, pluginGateway, l.Attrs().HardwareAddr) }); err != nil {
		return err
	}
	return types.PrintResult(&types100.Result{CNIVersion: "1.0.0", IPs: []*types100.IPConfig{{Address: *hostPrefix(ip), Gateway: pluginGateway.AsSlice()}}}, conf.CNIVersion)
}

// guardNotes is a guard that notes the addresses that the Pod has by then.
func guardNotes(n *node, uid string, notes *[]string) func(context.Context) error {
	return func(context.Context) error {
		if notes != nil {
			for _, ip := range n.net.Places()[uid].IPs {
				*notes = append(*notes, ip.String())
			}
		}
		return nil
	}
}

func TestPluginsMakeTheInterfacesOfPods(t *testing.T) {
	dir := t.TempDir()
	bin, confs := filepath.Join(dir, "bin"), filepath.Join(dir, "net.d")
	for _, d := range []string{bin, confs, filepath.Join(dir, "given")} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(self, filepath.Join(bin, pluginName)); err != nil {
		t.Fatal(err)
	}
	ns, ip := netns.NewLAN(t).Host(t)
	n := &node{name: "n", ns: ns, ip: ip, cfg: Config{
		NodeName: "n", StateDir: t.TempDir(), PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.42.9.0/24")}, ClusterCIDRs: clusterCIDRs,
		CNI: CNI{ConfDir: confs, BinDirs: []string{bin}},
	}}
	n.start(t)
	before := hostInterfaces(t, ns)
	attach := func(uid, pod string, guard *[]string) (Attachment, error) {
		var a Attachment
		err := netns.Do(n.ns, func() (err error) {
			a, err = n.net.Attach(t.Context(), Pod{
				Namespace: "shop", Name: uid, UID: uid, NetNS: pod, HostPorts: []HostPort{{HostPort: 8080, ContainerPort: 80}}, Bandwidth: Bandwidth{Ingress: 1e9},
				Guard: guardNotes(n, uid, guard),
			})
			return err
		})
		return a, err
	}
	if _, err := attach("a", netns.New(t), nil); err == nil || !strings.Contains(err.Error(), "install a network plugin") {
		t.Fatalf("without a configuration: %v", err)
	}
	conf := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": %q, "dir": %q, "capabilities": {"bandwidth": true}}]}`, pluginName, dir)
	if err := os.WriteFile(filepath.Join(confs, "10-test.conflist"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	pod, other := netns.New(t), netns.New(t)
	var guarded []string
	a, err := attach("a", pod, &guarded)
	if err != nil || len(a.IPs) != 1 || a.IPs[0].String() != "10.42.9.2" {
		t.Fatalf("attached as %v, %v", a, err)
	}
	if len(guarded) != 1 || guarded[0] != "10.42.9.2" {
		t.Errorf("the guard was told of %q", guarded)
	}
	b, err := attach("b", other, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer(t, pod, ":80")
	wantAnswer(t, other, a.IPs[0].String()+":80", b.IPs[0].String())
	wantAnswer(t, pod, "127.0.0.1:80", "127.0.0.1")

	// The next process finds both, asks no plugin again, and can undo what the plugins have made, with the configuration that they had.
	n.start(t)
	if again, err := attach("a", pod, nil); err != nil || again.IPs[0] != a.IPs[0] {
		t.Errorf("attached again as %v, %v", again, err)
	}
	if err := os.Remove(filepath.Join(confs, "10-test.conflist")); err != nil {
		t.Fatal(err)
	}
	for _, uid := range n.net.Attached() {
		if err := netns.Do(n.ns, func() error { return n.net.Detach(t.Context(), uid) }); err != nil {
			t.Fatal(err)
		}
	}
	calls, err := os.ReadFile(filepath.Join(dir, "calls"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(string(calls)) {
		got = append(got, strings.Fields(line)[0])
	}
	if s := strings.Join(got, " "); s != "ADD ADD DEL DEL" {
		t.Errorf("the plugin was called for %s", s)
	}
	if !strings.Contains(string(calls), "K8S_POD_NAMESPACE=shop;K8S_POD_NAME=a;") || !strings.Contains(string(calls), "ingressRate:1000000000") {
		t.Errorf("the plugin was told\n%s", calls)
	}
	if after := hostInterfaces(t, ns); strings.Join(after, " ") != strings.Join(before, " ") {
		t.Errorf("interfaces %q, and before %q", after, before)
	}
}

func TestTheFirstConfigurationByNameCounts(t *testing.T) {
	dir := t.TempDir()
	p := newPlugins(CNI{ConfDir: dir}, t.TempDir())
	for _, c := range []struct{ file, content, want string }{
		{"20.conflist", `{"cniVersion": "1.0.0", "name": "list", "plugins": [{"type": "bridge"}, {"type": "tuning"}]}`, "list 1.0.0 bridge tuning"},
		{"10.conf", `{"cniVersion": "0.4.0", "name": "one", "type": "macvlan"}`, "one 0.4.0 macvlan"},
		{"05.conf", `{"name": `, "05.conf"},
	} {
		if err := os.WriteFile(filepath.Join(dir, c.file), []byte(c.content), 0o600); err != nil {
			t.Fatal(err)
		}
		list, err := p.configuration()
		if err != nil {
			if !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: %v", c.file, err)
			}
			continue
		}
		got := list.Name + " " + list.CNIVersion
		for _, plugin := range list.Plugins {
			got += " " + plugin.Network.Type
		}
		if got != c.want {
			t.Errorf("with %s: %s, want %s", c.file, got, c.want)
		}
	}
}

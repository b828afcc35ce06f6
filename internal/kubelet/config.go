package kubelet

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gitopsd/gitopsd/internal/dns"
	"github.com/gitopsd/gitopsd/internal/ingress/proxy"
	"github.com/gitopsd/gitopsd/internal/kubelet/allocatable"
	"github.com/gitopsd/gitopsd/internal/kubelet/cpuset"
	"github.com/gitopsd/gitopsd/internal/kubelet/eviction"
	"github.com/gitopsd/gitopsd/internal/kubelet/identity"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
	"github.com/gitopsd/gitopsd/internal/kubelet/shutdown"
	"github.com/gitopsd/gitopsd/internal/kubelet/sysctl"
	"github.com/gitopsd/gitopsd/internal/network"
)

// Config is a node's command line.
type Config struct {
	Server string // URL of the API server
	Token  string
	// TokenFile has the token instead; it may be gone once the node has joined.
	TokenFile string
	DataDir   string
	// KubeletDir is where the manifests of storage drivers expect the folder of a kubelet; empty for the default of DataDir.
	KubeletDir string
	Name       string
	IP         string // that other nodes reach this one at; empty for the one that leads to the API server
	Containerd string // address of a running containerd; empty to run one of our own
	CgroupRoot string
	PodLogDir  string
	// RegistryHostsDir has a folder for each registry, with its hosts.toml.
	RegistryHostsDir string
	// ProviderConfig and ProviderDir are the configuration and the programs of credential provider plugins; empty for none.
	ProviderConfig, ProviderDir string
	// SerializeImagePulls has one image pulled after the other, else MaxParallelImagePulls at a time; 0 for as many as there are.
	SerializeImagePulls   bool
	MaxParallelImagePulls int
	// AllowedUnsafeSysctls are kernel parameters that Pods may set beyond the safe ones.
	AllowedUnsafeSysctls []string
	// PodManifestPath is the folder of the manifests of static Pods; empty for none.
	PodManifestPath string
	// DevicePluginDir is the folder of device plugins' sockets; empty for one in DataDir.
	DevicePluginDir string
	// CDISpecDirs are the folders of files that describe devices (Container Device Interface).
	CDISpecDirs []string
	// ContainerLogMaxSize and ContainerLogMaxFiles are of a container's log: how large a file becomes, as a quantity, and how many there are.
	ContainerLogMaxSize  string
	ContainerLogMaxFiles int

	// EnableSystemLogHandler has the host's /var/log shown to who may see it (nodes/log).
	EnableSystemLogHandler bool

	Mirror      string
	Bind        string
	Port        int
	Labels      map[string]string
	ClusterCIDR []string
	PodNetwork  string // how packets get to Pods of other nodes: auto, host-gw, vxlan or wireguard
	MTU         int    // of the link between nodes; 0: that of the default route
	// CNIConfDir and CNIBinDirs are where CNI plugins are that make Pods' interfaces in place of the built-in network; empty for that.
	CNIConfDir  string
	CNIBinDirs  []string
	ClusterDNS  []string // addresses of the cluster's DNS; none: those of the Service kube-system/kube-dns; "none": Pods use the host's resolver
	Domain      string
	ResolvConf  string // the host's; empty to find it
	KeepVolumes bool   // the data of volumes stays when the node is cleaned off the host
	JoinTimeout time.Duration
	Shutdown    shutdown.Config
	Eviction    eviction.Config
	Allocatable allocatable.Config
	CPUs        cpuset.Config
	Throttling  float64 // MemoryThrottlingFactor of a KubeletConfiguration; 0 for none
	Images      image.Keeping
	Ingress     Ingress
	Release     string // of this program; the log collector of another one is replaced
	KubeVersion string // that the Node reports, as version of the API it speaks
	// Self is the command that runs this program; its subcommands "logger" and "hold" are processes of their own.
	Self string

	mirror       *url.URL
	providers    *image.Providers
	rotation     logs.Rotation
	clusterCIDRs []netip.Prefix
	stages       []shutdown.Stage
	thresholds   []eviction.Threshold
	share        allocatable.Share
	sysctls      sysctl.Allowed
	clusterDNS   []netip.Addr
	ownDNS       bool // the node answers DNS questions
}

// Defaults of the command line.
func Defaults() Config {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	return Config{
		DataDir: "/var/lib/gitopsd/node", Name: strings.ToLower(name), CgroupRoot: "/gitopsd", PodLogDir: "/var/log/pods", Bind: "0.0.0.0", Port: 10250,
		RegistryHostsDir: "/etc/containerd/certs.d", CDISpecDirs: []string{"/etc/cdi", "/var/run/cdi"},
		ClusterCIDR: []string{"10.42.0.0/16"}, PodNetwork: string(network.Auto), CNIBinDirs: []string{"/opt/cni/bin", "/usr/lib/cni"}, Domain: "cluster.local", JoinTimeout: 5 * time.Minute,
		ContainerLogMaxSize: resource.NewQuantity(logs.DefaultRotation().Size, resource.BinarySI).String(), ContainerLogMaxFiles: logs.DefaultRotation().Files, EnableSystemLogHandler: true,
		Eviction: eviction.Defaults(), Images: image.DefaultKeeping(), Allocatable: allocatable.Defaults(), CPUs: cpuset.Config{Policy: cpuset.None},
		Ingress: Ingress{HTTPPort: 8080, HTTPSPort: 8443, PerClient: proxy.PerClient},
	}
}

// complete checks what was given and works out the rest.
func (c *Config) complete() (err error) {
	if bad := validation.IsDNS1123Subdomain(c.Name); len(bad) > 0 {
		return fmt.Errorf("--name %q: %s", c.Name, strings.Join(bad, "; "))
	}
	server, err := url.Parse(c.Server)
	if err != nil || server.Scheme != "https" || server.Host == "" {
		return fmt.Errorf("--server %q: must be https://host:port, the address of the control plane", c.Server)
	}
	if c.DataDir, err = filepath.Abs(c.DataDir); err != nil {
		return fmt.Errorf("--data-dir: %w", err)
	}
	if err := c.ReadToken(); err != nil {
		return err
	}
	if c.DevicePluginDir == "" {
		c.DevicePluginDir = filepath.Join(c.DataDir, "device-plugins")
	}
	if c.KubeletDir, err = kubeletDir(c.KubeletDir, c.DataDir); err != nil {
		return err
	}
	if c.PodLogDir, err = filepath.Abs(c.PodLogDir); err != nil {
		return fmt.Errorf("--pod-log-dir: %w", err)
	}
	// What is in there and is no Pod's directory is taken for what is left of one.
	if own := podsDir(c.DataDir); mounts.Within(own, c.PodLogDir) {
		return fmt.Errorf("--pod-log-dir %s: must be apart from %s, where the node has its Pods' own directories", c.PodLogDir, own)
	}
	if err := c.Ingress.complete(); err != nil {
		return err
	}
	if c.mirror, err = image.ParseMirror(c.Mirror); err != nil {
		return fmt.Errorf("--mirror: %w", err)
	}
	if c.providers, err = image.LoadProviders(c.ProviderConfig, c.ProviderDir); err != nil {
		return err
	}
	if c.MaxParallelImagePulls < 0 || c.SerializeImagePulls && c.MaxParallelImagePulls > 1 {
		return fmt.Errorf("--max-parallel-image-pulls %d: must be 0 for no limit, or a number of pulls, 1 with --serialize-image-pulls", c.MaxParallelImagePulls)
	}
	if c.rotation, err = c.logRotation(); err != nil {
		return err
	}
	if c.sysctls, err = sysctl.Parse(c.AllowedUnsafeSysctls); err != nil {
		return err
	}
	if c.stages, err = c.Shutdown.Stages(); err != nil {
		return err
	}
	if c.thresholds, err = c.Eviction.Thresholds(); err != nil {
		return err
	}
	if err := c.Images.Check(); err != nil {
		return err
	}
	if c.share, err = c.Allocatable.Check(); err != nil {
		return err
	}
	if c.Throttling < 0 || c.Throttling > 1 {
		return fmt.Errorf("--memory-throttling-factor %v: must be from 0, which is none, to 1", c.Throttling)
	}
	if !slices.Contains(network.Modes, network.Mode(c.PodNetwork)) {
		return fmt.Errorf("--pod-network %q: must be one of %q", c.PodNetwork, network.Modes)
	}
	if c.PodNetwork == string(network.WireGuard) && c.CNIConfDir != "" {
		return fmt.Errorf("--pod-network %s and --cni-conf-dir: packets to other nodes are the plugins': have these encrypt them, or leave one of the two out", c.PodNetwork)
	}
	if c.MTU != 0 && (c.MTU < 1280 || c.MTU > 65535) {
		return fmt.Errorf("--mtu %d: must be from 1280, the least that IPv6 needs, to 65535", c.MTU)
	}
	for _, s := range c.ClusterCIDR {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("--cluster-cidr %q: must be an address range such as 10.42.0.0/16", s)
		}
		c.clusterCIDRs = append(c.clusterCIDRs, p)
	}
	if c.ownDNS = !slices.Equal(c.ClusterDNS, []string{"none"}); c.ownDNS {
		for _, s := range c.ClusterDNS {
			a, err := netip.ParseAddr(s)
			if err != nil || a.IsLoopback() || a.IsUnspecified() || a.IsMulticast() {
				return fmt.Errorf("--cluster-dns %q: must be an address that is nobody's, such as 10.43.0.10, or none", s)
			}
			c.clusterDNS = append(c.clusterDNS, a)
		}
	}
	if bad := validation.IsDNS1123Subdomain(c.Domain); len(bad) > 0 {
		return fmt.Errorf("--cluster-domain %q: %s", c.Domain, strings.Join(bad, "; "))
	}
	if c.ResolvConf == "" {
		c.ResolvConf = dns.HostResolvConf("/")
	}
	for k, v := range c.Labels {
		if bad := append(validation.IsQualifiedName(k), validation.IsValidLabelValue(v)...); len(bad) > 0 {
			return fmt.Errorf("--label %s=%s: %s", k, v, strings.Join(bad, "; "))
		}
	}
	if c.IP == "" {
		if c.IP, err = ownAddress(server); err != nil {
			return err
		}
	}
	if net.ParseIP(c.IP) == nil {
		return fmt.Errorf("--node-ip %q: must be an IP address of this host", c.IP)
	}
	return nil
}

// kubeletDir is where storage drivers find the node: by convention, as their manifests have it; for a node with another data directory than the usual, of which
// there may be several on a host, below that.
func kubeletDir(given, dataDir string) (string, error) {
	switch {
	case given != "":
		dir, err := filepath.Abs(given)
		if err != nil {
			return "", fmt.Errorf("--kubelet-dir: %w", err)
		}
		return dir, nil
	case dataDir == Defaults().DataDir:
		return "/var/lib/kubelet", nil
	}
	return filepath.Join(dataDir, "kubelet"), nil
}

// ReadToken takes the join token out of its file. That it is gone is no error once the node has a certificate: whoever removed it did well.
func (c *Config) ReadToken() error {
	if c.TokenFile == "" {
		return nil
	}
	if c.Token != "" {
		return errors.New("--token and --token-file: give one of them")
	}
	text, err := os.ReadFile(c.TokenFile)
	if errors.Is(err, fs.ErrNotExist) && identity.Joined(pkiDir(c.DataDir)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("--token-file: %w; `gitopsd token create` prints a token to put there", err)
	}
	c.Token = strings.TrimSpace(string(text))
	return nil
}

func pkiDir(dataDir string) string { return filepath.Join(dataDir, "pki") }

func podsDir(dataDir string) string { return filepath.Join(dataDir, "pods") }

// logRotation reads how containers' logs are to be rotated. A log of one file would lose all that was written with each rotation.
func (c *Config) logRotation() (logs.Rotation, error) {
	q, err := resource.ParseQuantity(c.ContainerLogMaxSize)
	if err != nil || q.Value() <= 0 {
		return logs.Rotation{}, fmt.Errorf("--container-log-max-size %q: must be a number of bytes such as 10Mi", c.ContainerLogMaxSize)
	}
	if c.ContainerLogMaxFiles < 2 {
		return logs.Rotation{}, fmt.Errorf("--container-log-max-files %d: must be at least 2", c.ContainerLogMaxFiles)
	}
	return logs.Rotation{Size: q.Value(), Files: c.ContainerLogMaxFiles}, nil
}

// systemLogs is the directory of the host's logs that is shown; empty for none.
func (c *Config) systemLogs() string {
	if c.EnableSystemLogHandler {
		return "/var/log"
	}
	return ""
}

// parallelPulls is how many images are pulled at a time; 0 for as many as there are.
func (c *Config) parallelPulls() int {
	if c.SerializeImagePulls {
		return 1
	}
	return c.MaxParallelImagePulls
}

// ownAddress is the address that packets to the API server leave from. Connecting a UDP socket sends nothing.
func ownAddress(server *url.URL) (string, error) {
	port := server.Port()
	if port == "" {
		port = "443"
	}
	conn, err := net.Dial("udp", net.JoinHostPort(server.Hostname(), port))
	if err != nil {
		return "", fmt.Errorf("finding this host's address: %w; name it with --node-ip", err)
	}
	defer conn.Close()
	ip := conn.LocalAddr().(*net.UDPAddr).IP
	if !ip.IsLoopback() {
		return ip.String(), nil
	}
	// The control plane is on this host: take the first address that others can reach.
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", fmt.Errorf("finding this host's address: %w; name it with --node-ip", err)
	}
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String(), nil
		}
	}
	return ip.String(), nil
}

// lock keeps the data directory for this process, until it ends in whatever way.
func lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", dir, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("--data-dir %s: %w", dir, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("--data-dir %s: is in use by another node daemon; stop that one, or give this one another directory", dir)
		}
		return nil, fmt.Errorf("--data-dir %s: locking it: %w", dir, err)
	}
	return f, nil
}

// listen opens the port of the node's server.
func listen(bind string, port int) (net.Listener, error) {
	addr := net.JoinHostPort(bind, fmt.Sprint(port))
	l, err := net.Listen("tcp", addr)
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("--port %d: is in use on %s, perhaps by another node daemon or a kubelet; stop that one (`ss -ltnp sport = :%d` shows it) or give another port", port, bind, port)
	}
	if err != nil {
		return nil, fmt.Errorf("--bind, --port: listening on %s: %w", addr, err)
	}
	return l, nil
}

package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/component-base/version"

	"github.com/gitopsd/gitopsd/internal/kubelet"
	"github.com/gitopsd/gitopsd/internal/logging"
)

const runUsage = `Usage: node --server https://CONTROL-PLANE:6443 [--token TOKEN | --token-file FILE] [flags]
       node status [flags]
       node images ls|pull|import|prune [flags]
       node install|uninstall [--root DIR] [-- flags]
       node shutdown [flags]
       node clean [flags]
       node version

Join this host to the cluster of a gitopsd control plane and run the Pods bound to it.

The token is needed for the first start only; 'gitopsd token create' prints one. Containers keep running when node
ends, in whatever way; the next start takes them over. 'node shutdown' ends them in order before the host goes down, as
the daemon does by itself where systemd-logind tells it. 'node clean' takes everything off the host.
`

// run is the program itself: the daemon.
func run(ctx context.Context, args []string) error {
	cfg, verbose, err := daemonConfig(args)
	if err != nil {
		return err
	}
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	logging.Setup(os.Stderr, level)
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("finding this program: %w", err)
	}
	cfg.Self = self
	return kubelet.Run(ctx, cfg)
}

// registerCNI adds the flags that say who makes Pods' interfaces.
func registerCNI(f *pflag.FlagSet, cfg *kubelet.Config) {
	f.StringVar(&cfg.CNIConfDir, "cni-conf-dir", "", "folder of CNI configurations, such as /etc/cni/net.d, whose plugins make Pods' interfaces (default: the built-in network does)")
	f.StringSliceVar(&cfg.CNIBinDirs, "cni-bin-dir", cfg.CNIBinDirs, "folders of these plugins")
}

// daemonConfig reads the daemon's flags.
func daemonConfig(args []string) (kubelet.Config, bool, error) {
	cfg := kubelet.Defaults()
	cfg.Release, cfg.KubeVersion = release, version.Get().GitVersion
	f := pflag.NewFlagSet("node", pflag.ContinueOnError)
	f.StringVar(&cfg.Server, "server", "", "URL of the API server, https://host:port")
	f.StringVar(&cfg.Token, "token", "", "join token; needed for the first start only")
	f.StringVar(&cfg.TokenFile, "token-file", "", "file that holds the join token, which other users of this host then cannot see among its processes; it may be removed once the node has joined")
	f.StringVar(&cfg.DataDir, "data-dir", cfg.DataDir, "where the node keeps its state")
	f.StringVar(&cfg.KubeletDir, "kubelet-dir", "", "where storage drivers (CSI) find this node (default: /var/lib/kubelet, as their manifests have it; with another --data-dir, kubelet below that)")
	f.StringVar(&cfg.Name, "name", cfg.Name, "name of the node in the cluster")
	f.StringVar(&cfg.IP, "node-ip", "", "address that other nodes reach this one at (default: the one that leads to the API server)")
	f.StringToStringVar(&cfg.Labels, "label", nil, "label of the Node, key=value; may be repeated")
	f.StringVar(&cfg.Containerd, "containerd-address", "", "socket of a running containerd (default: start one of the node's own)")
	f.StringVar(&cfg.CgroupRoot, "cgroup-root", cfg.CgroupRoot, "control group that all Pods are in, below the hierarchy's mount point")
	f.StringVar(&cfg.PodLogDir, "pod-log-dir", cfg.PodLogDir, "where containers' logs are written")
	f.StringVar(&cfg.ContainerLogMaxSize, "container-log-max-size", cfg.ContainerLogMaxSize, "size from which on a container's log goes on in another file")
	f.BoolVar(&cfg.EnableSystemLogHandler, "enable-system-log-handler", cfg.EnableSystemLogHandler, "show the host's /var/log at /logs/ to whoever has the right nodes/log")
	f.IntVar(&cfg.ContainerLogMaxFiles, "container-log-max-files", cfg.ContainerLogMaxFiles, "files that there are of a container's log at most; the oldest goes first")
	f.StringSliceVar(&cfg.AllowedUnsafeSysctls, "allowed-unsafe-sysctls", nil, "kernel parameters that Pods may set beyond the safe ones; a * at the end stands for any rest")
	f.StringVar(&cfg.PodManifestPath, "pod-manifest-path", "", "folder of manifests of Pods that this node runs by itself (static Pods), a file each")
	f.StringVar(&cfg.DevicePluginDir, "device-plugin-dir", "", "folder where device plugins register and have their sockets (default: device-plugins in the data directory)")
	f.StringSliceVar(&cfg.CDISpecDirs, "cdi-spec-dirs", cfg.CDISpecDirs, "folders of the files that describe devices for containers (CDI)")
	f.StringVar(&cfg.Mirror, "mirror", "", "registry that is tried first for every image, http://host:port")
	f.StringVar(&cfg.RegistryHostsDir, "registry-hosts-dir", cfg.RegistryHostsDir, "folder with a folder for each registry, whose hosts.toml says where its images are asked for")
	f.StringVar(&cfg.ProviderConfig, "image-credential-provider-config", "", "file that says which credential provider plugins are for which images (a kubelet's CredentialProviderConfig)")
	f.StringVar(&cfg.ProviderDir, "image-credential-provider-bin-dir", "", "folder of these plugins")
	f.BoolVar(&cfg.SerializeImagePulls, "serialize-image-pulls", false, "pull one image after the other")
	f.IntVar(&cfg.MaxParallelImagePulls, "max-parallel-image-pulls", 0, "images that are pulled at the same time; 0 for as many as there are")
	f.StringVar(&cfg.Bind, "bind", cfg.Bind, "address that the API server reaches this node's own server at")
	f.IntVar(&cfg.Port, "port", cfg.Port, "port of this node's own server")
	f.StringSliceVar(&cfg.ClusterCIDR, "cluster-cidr", cfg.ClusterCIDR, "where Pod addresses of all nodes come from, as given to the control plane")
	f.StringVar(&cfg.PodNetwork, "pod-network", cfg.PodNetwork, "how packets get to Pods of other nodes: host-gw routes them, vxlan tunnels them, auto routes them to nodes on a common link and tunnels them to those behind a router, wireguard sends them encrypted")
	registerCNI(f, &cfg)
	f.IntVar(&cfg.MTU, "mtu", 0, "largest packet, in bytes, that the network between the nodes carries (default: what the interface of the default route says)")
	f.StringSliceVar(&cfg.ClusterDNS, "cluster-dns", nil, "addresses where this node answers DNS questions, and which its Pods are told (default: those of the Service kube-system/kube-dns; none: Pods use the host's resolver)")
	f.StringVar(&cfg.Domain, "cluster-domain", cfg.Domain, "domain of the cluster's names")
	f.StringVar(&cfg.ResolvConf, "resolv-conf", "", "the host's resolv.conf, whose servers are asked about names outside the cluster (default: /etc/resolv.conf, or what systemd-resolved has where that names itself)")
	f.DurationVar(&cfg.JoinTimeout, "join-timeout", cfg.JoinTimeout, "how long to try to reach the API server when joining")
	f.DurationVar(&cfg.Shutdown.GracePeriod, "shutdown-grace-period", 0, "how long all Pods together have to end when the host shuts down; 0 ends none")
	f.DurationVar(&cfg.Shutdown.GracePeriodCritical, "shutdown-grace-period-critical-pods", 0, "part of it that is kept for critical Pods, which end last")
	f.StringToStringVar(&cfg.Shutdown.ByPodPriority, "shutdown-grace-period-by-pod-priority", nil, "instead of both: PRIORITY=PERIOD,…, for Pods of that priority and above; the lowest end first")
	f.StringVar(&cfg.Eviction.Hard, "eviction-hard", cfg.Eviction.Hard, "what must be left of memory, disks and process numbers: SIGNAL<AMOUNT,…; Pods are ended when it is not")
	f.StringVar(&cfg.Eviction.Soft, "eviction-soft", "", "likewise, when it is not for as long as --eviction-soft-grace-period says")
	f.StringVar(&cfg.Eviction.SoftGracePeriod, "eviction-soft-grace-period", "", "SIGNAL=DURATION,… for each of --eviction-soft")
	f.StringVar(&cfg.Eviction.MinimumReclaim, "eviction-minimum-reclaim", "", "SIGNAL=AMOUNT,… that must be left on top of a threshold before it is no longer met")
	f.IntVar(&cfg.Eviction.MaxPodGracePeriod, "eviction-max-pod-grace-period", 0, "the most seconds that Pods have to end for a soft threshold")
	f.DurationVar(&cfg.Eviction.PressureTransitionPeriod, "eviction-pressure-transition-period", cfg.Eviction.PressureTransitionPeriod, "how long the node still reports a pressure after it is over")
	f.IntVar(&cfg.Images.HighThreshold, "image-gc-high-threshold-percent", cfg.Images.HighThreshold, "percentage of the disk in use from which on unused images are removed; 100 removes none")
	f.IntVar(&cfg.Images.LowThreshold, "image-gc-low-threshold-percent", cfg.Images.LowThreshold, "percentage down to which they are")
	f.DurationVar(&cfg.Images.MinimumAge, "image-minimum-gc-age", cfg.Images.MinimumAge, "how long an unused image is kept at least")
	f.DurationVar(&cfg.Images.MaximumAge, "image-maximum-gc-age", 0, "how long an image may be unused before it is removed in any case; 0 for ever")
	f.StringToStringVar(&cfg.Allocatable.SystemReserved, "system-reserved", nil, "what is kept from Pods for the system, RESOURCE=AMOUNT,… of cpu, memory, ephemeral-storage and pid")
	f.StringToStringVar(&cfg.Allocatable.KubeReserved, "kube-reserved", nil, "likewise, for this daemon and containerd")
	f.StringSliceVar(&cfg.Allocatable.Enforce, "enforce-node-allocatable", cfg.Allocatable.Enforce, "pods: all Pods together are held to what is not reserved; none: they are not")
	f.Int64Var(&cfg.Allocatable.PodPIDsLimit, "pod-pids-limit", cfg.Allocatable.PodPIDsLimit, "how many processes one Pod may have; -1 any number")
	f.Float64Var(&cfg.Throttling, "memory-throttling-factor", 0, "part of the memory between its request and its limit from which on a container is slowed down, with cgroup v2; 0 never")
	f.StringVar(&cfg.CPUs.Policy, "cpu-manager-policy", cfg.CPUs.Policy, "static: containers of Guaranteed Pods that ask for whole processors have them for themselves; none: nobody has")
	f.StringVar(&cfg.CPUs.Reserved, "reserved-cpus", "", "processors that static gives to nobody, like 0-1 (default: as many, from the first, as are reserved of cpu)")
	f.IntVar(&cfg.Ingress.HTTPPort, "ingress-http-port", cfg.Ingress.HTTPPort, "port of this host at which Ingresses are served by HTTP; 0: at none")
	f.IntVar(&cfg.Ingress.HTTPSPort, "ingress-https-port", cfg.Ingress.HTTPSPort, "port of this host at which Ingresses are served by HTTPS; 0: at none")
	f.DurationVar(&cfg.Ingress.HSTS, "ingress-hsts", 0, "how long browsers are told to come by HTTPS only; 0: they are told nothing")
	f.StringSliceVar(&cfg.Ingress.Trusted, "ingress-trusted-proxies", nil, "address ranges of load balancers in front of the ingress, whose word about who the client is is taken")
	f.IntVar(&cfg.Ingress.PerClient, "ingress-connections-per-client", cfg.Ingress.PerClient, "how many connections one client's address may have at a port of the ingress; trusted proxies may have all")
	f.StringVar(&cfg.Ingress.AccessLog, "ingress-access-log", "", "file that gets a line per request of the ingress (default: none)")
	verbose := f.BoolP("verbose", "v", false, "log each action, and what the libraries say")
	if err := parse(f, runUsage, args); err != nil {
		return cfg, false, err
	}
	return cfg, *verbose, nil
}

package main

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ingresscertificate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/nodelifecycle"
	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
	"github.com/gitopsd/gitopsd/internal/logging"
)

// defaultDataDir is where a control plane keeps its state unless told otherwise.
const defaultDataDir = "/var/lib/gitopsd"

// leaseRenewal is how often a node says that it lives.
const leaseRenewal = 10 * time.Second

type serveFlags struct {
	serve.Options
	clusterCIDRs, serviceCIDRs []string
	clusterDNS                 string
	loadBalancers              string
	loadBalancerPools          []string
	acmeCA                     string
	verbose                    bool
}

func (f *serveFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.DataDir, "data-dir", defaultDataDir, "where the control plane keeps its state")
	flags.StringVar(&f.BindAddress, "bind-address", "0.0.0.0", "address to serve the API on")
	flags.IntVar(&f.Port, "https-port", 6443, "port to serve the API on; 0 for any")
	flags.StringVar(&f.Advertise, "advertise-address", "", "address under which nodes reach the API (default: the bind address, or this host's first one)")
	flags.StringSliceVar(&f.Names, "tls-san", nil, "further names and addresses for the API server's certificate")
	flags.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", []string{"10.42.0.0/16"}, "where Pod addresses come from: a /24 of IPv4, a /64 of IPv6 for each node. One range, or one of each family")
	flags.StringSliceVar(&f.serviceCIDRs, "service-cidr", []string{"10.43.0.0/16"}, "where Services' cluster IPs come from at first. One range, or one of each family; the first is that of Services which ask for none")
	flags.StringVar(&f.clusterDNS, "cluster-dns", "", "address where nodes answer DNS questions, of the Service kube-system/kube-dns (default: the tenth of --service-cidr; none: there is no such Service)")
	flags.StringVar(&f.ClusterDomain, "cluster-domain", "cluster.local", "domain of the cluster's names, as given to nodes")
	flags.StringVar(&f.loadBalancers, "load-balancers", "gitopsd", "who gives Services of type LoadBalancer without a loadBalancerClass their addresses: gitopsd, or others, such as a cloud's controller")
	flags.StringSliceVar(&f.loadBalancerPools, "load-balancer-pool", nil, "ranges of addresses, led to the nodes by the network, that such Services are given one of each (default: they are reached at the nodes' own addresses)")
	flags.StringVar(&f.ACME.Email, "acme-email", "", "address of the ACME account by which Ingresses get the certificates that they ask for, whose authority's terms are agreed to by it (default: there are none)")
	flags.StringVar(&f.ACME.Directory, "acme-directory", ingresscertificate.LetsEncrypt, "where the certificate authority's ACME directory is (https)")
	flags.StringVar(&f.acmeCA, "acme-ca-file", "", "certificates by which the authority's own is verified (default: those of this host)")
	flags.DurationVar(&f.NodeMonitorGracePeriod, "node-monitor-grace-period", 40*time.Second, "how long a node may be silent before it counts as lost")
	r := &f.NodeRates
	*r = nodelifecycle.DefaultRates
	flags.Float64Var(&r.NodeEvictionRate, "node-eviction-rate", r.NodeEvictionRate, "lost nodes per second whose Pods are evicted, in each zone")
	flags.Float64Var(&r.SecondaryNodeEvictionRate, "secondary-node-eviction-rate", r.SecondaryNodeEvictionRate, "the same in a large zone of which many nodes are lost; in a smaller one it is none then")
	flags.IntVar(&r.LargeClusterThreshold, "large-cluster-size-threshold", r.LargeClusterThreshold, "a zone of more nodes is large")
	flags.Float64Var(&r.UnhealthyZoneThreshold, "unhealthy-zone-threshold", r.UnhealthyZoneThreshold, "share of a zone's nodes that are many")
	flags.StringVar(&f.EncryptionConfig, "encryption-provider-config", "", "file that says how objects are encrypted in etcd (default: Secrets are, with a key in the data directory)")
	flags.StringVar(&f.Audit.PolicyFile, "audit-policy-file", "", "file that says which requests are written to the audit log")
	flags.StringVar(&f.Audit.LogPath, "audit-log-path", "", "file of the audit log; - is the standard output")
	flags.StringVar(&f.TracingConfig, "tracing-config-file", "", "file that says where OpenTelemetry spans of requests are sent (default: nowhere)")
	registerAccess(flags, &f.Options)
	flags.StringVar(&f.SchedulerConfig, "scheduler-config", "", "file (KubeSchedulerConfiguration) that says which plugins schedule the Pods of which schedulerName (default: all plugins, default-scheduler)")
	flags.StringVar(&f.Repo, "repo", "", "URL of the Git repo that says what is to run")
	flags.StringVar(&f.Branch, "branch", "main", "branch of the repo")
	flags.StringVar(&f.Path, "path", "", "folder in the repo (default: all of it)")
	flags.DurationVar(&f.Interval, "interval", time.Minute, "time between two looks at the repo when no webhook comes")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log what the libraries say too")
}

func (f *serveFlags) complete() error {
	var err error
	if f.ClusterCIDRs, err = ranges("cluster-cidr", f.clusterCIDRs); err != nil {
		return err
	}
	if f.ServiceCIDRs, err = ranges("service-cidr", f.serviceCIDRs); err != nil {
		return err
	}
	if err := addressRanges(f.ClusterCIDRs, f.ServiceCIDRs); err != nil {
		return err
	}
	if f.ClusterDNS, err = clusterDNS(f.clusterDNS, f.ServiceCIDRs[0]); err != nil {
		return err
	}
	if f.LoadBalancers.Others = f.loadBalancers == "others"; f.loadBalancers != "gitopsd" && f.loadBalancers != "others" {
		return fmt.Errorf("--load-balancers %q: must be gitopsd or others", f.loadBalancers)
	}
	for _, s := range f.loadBalancerPools {
		pool, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("--load-balancer-pool %q: must be a range such as 192.0.2.0/24", s)
		}
		if slices.ContainsFunc(slices.Concat(f.ClusterCIDRs, f.ServiceCIDRs), pool.Overlaps) {
			return fmt.Errorf("--load-balancer-pool %s overlaps --cluster-cidr %s or --service-cidr %s", pool, joined(f.ClusterCIDRs), joined(f.ServiceCIDRs))
		}
		f.LoadBalancers.Pools = append(f.LoadBalancers.Pools, pool.Masked())
	}
	if err := f.completeACME(); err != nil {
		return err
	}
	if bad := validation.IsDNS1123Subdomain(f.ClusterDomain); len(bad) > 0 {
		return fmt.Errorf("--cluster-domain %q: %s", f.ClusterDomain, strings.Join(bad, "; "))
	}
	if f.NodeMonitorGracePeriod <= leaseRenewal {
		return fmt.Errorf("--node-monitor-grace-period: %s is too short: nodes renew their Leases every %s, and would count as lost between two renewals", f.NodeMonitorGracePeriod, leaseRenewal)
	}
	if r := f.NodeRates; r.NodeEvictionRate < 0 || r.SecondaryNodeEvictionRate < 0 {
		return fmt.Errorf("--node-eviction-rate, --secondary-node-eviction-rate: %g and %g must not be less than 0", r.NodeEvictionRate, r.SecondaryNodeEvictionRate)
	} else if r.UnhealthyZoneThreshold <= 0 || r.UnhealthyZoneThreshold > 1 {
		return fmt.Errorf("--unhealthy-zone-threshold: %g is not a share of more than 0 and at most 1", r.UnhealthyZoneThreshold)
	}
	if f.Port < 0 || f.Port > 65535 {
		return fmt.Errorf("--https-port: %d is not a port", f.Port)
	}
	if err := errors.Join(f.Authentication.Validate(), f.Authorization.Validate()); err != nil {
		return err
	}
	level := slog.LevelInfo
	if f.verbose {
		level = slog.LevelDebug
	}
	logging.Setup(os.Stderr, level)
	return nil
}

// completeACME looks at what says where certificates come from.
func (f *serveFlags) completeACME() error {
	if f.ACME.Email != "" {
		if _, err := mail.ParseAddress(f.ACME.Email); err != nil {
			return fmt.Errorf("--acme-email %q: not an address: %w", f.ACME.Email, err)
		}
	}
	if u, err := url.Parse(f.ACME.Directory); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("--acme-directory %q: must be a URL that begins with https://", f.ACME.Directory)
	}
	if f.acmeCA == "" {
		return nil
	}
	text, err := os.ReadFile(f.acmeCA)
	if err != nil {
		return fmt.Errorf("--acme-ca-file: %w", err)
	}
	f.ACME.CA = x509.NewCertPool()
	if !f.ACME.CA.AppendCertsFromPEM(text) {
		return fmt.Errorf("--acme-ca-file %s: there is no certificate in it", f.acmeCA)
	}
	return nil
}

// clusterDNS is the address of the cluster's DNS: the tenth of the Services' addresses, where nothing else is said.
func clusterDNS(text string, services netip.Prefix) (netip.Addr, error) {
	switch text {
	case "none":
		return netip.Addr{}, nil
	case "":
		return clusterip.At(services, 10), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || !services.Contains(a) {
		return a, fmt.Errorf("--cluster-dns %q: must be an address of --service-cidr %s, or none", text, services)
	}
	return a, nil
}

func newServeCommand() *cobra.Command {
	var f serveFlags
	c := &cobra.Command{
		Use:   "serve",
		Short: "Run the control plane",
		Example: `  gitopsd serve --repo https://git.example.com/home.git --branch main --path clusters/home
  gitopsd serve --data-dir /srv/gitopsd --bind-address 192.0.2.10`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			return serve.Run(cmd.Context(), f.Options, nil)
		},
	}
	f.register(c.Flags())
	return c
}

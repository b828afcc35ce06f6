package kubelet

import (
	"context"
	"path/filepath"

	"github.com/gitopsd/gitopsd/internal/dns"
	"github.com/gitopsd/gitopsd/internal/network"
)

func dnsDir(dataDir string) string { return filepath.Join(dataDir, "dns") }

// openDNS prepares the node's own DNS, unless it is to have none.
func (d *daemon) openDNS() (err error) {
	if !d.cfg.ownDNS {
		return nil
	}
	interfaces := []string{"lo", network.Bridge}
	if d.cfg.CNIConfDir != "" {
		interfaces = []string{""} // plugins call Pods' interfaces what they like
	}
	d.dns, err = dns.New(dns.Config{
		Domain: d.cfg.Domain, Addresses: d.cfg.clusterDNS, Pods: d.cfg.clusterCIDRs, Interfaces: interfaces,
		ResolvConf: d.cfg.ResolvConf, Dir: dnsDir(d.cfg.DataDir), Informers: d.informers, Client: d.client, Event: d.event,
	})
	return err
}

// clusterDNS is where Pods find the cluster's DNS. The first Pods after the node's first start wait until the cluster has said it; while the API
// is away they are made without.
func (d *daemon) clusterDNS(ctx context.Context) []string {
	if d.dns == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, servicesPatience)
	defer cancel()
	return d.dns.Addresses(ctx)
}

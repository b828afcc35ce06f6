package kubelet

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitopsd/gitopsd/internal/ingress"
)

// Ingress is the part of the command line that is about Ingresses.
type Ingress struct {
	HTTPPort, HTTPSPort int // 0: not listened at
	HSTS                time.Duration
	Trusted             []string
	AccessLog           string
	PerClient           int // connections of one client at a port

	trusted []netip.Prefix
}

// complete checks what was given.
func (i *Ingress) complete() error {
	for flag, port := range map[string]int{"http": i.HTTPPort, "https": i.HTTPSPort} {
		if port < 0 || port > 65535 {
			return fmt.Errorf("--ingress-%s-port %d: must be a port, or 0 to listen at none", flag, port)
		}
	}
	if i.HTTPPort != 0 && i.HTTPPort == i.HTTPSPort {
		return fmt.Errorf("--ingress-http-port and --ingress-https-port are both %d: they must differ", i.HTTPPort)
	}
	if i.PerClient < 1 {
		return fmt.Errorf("--ingress-connections-per-client %d: must be at least 1", i.PerClient)
	}
	for _, s := range i.Trusted {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("--ingress-trusted-proxies %q: must be an address range such as 192.0.2.0/24", s)
		}
		i.trusted = append(i.trusted, p.Masked())
	}
	return nil
}

// ports are those that are listened at.
func (i *Ingress) ports() []int {
	return slices.DeleteFunc([]int{i.HTTPPort, i.HTTPSPort}, func(p int) bool { return p == 0 })
}

// openIngress prepares the node's ingress, unless it is to have none.
func (d *daemon) openIngress() (err error) {
	cfg := &d.cfg.Ingress
	if cfg.HTTPPort == 0 && cfg.HTTPSPort == 0 {
		return nil
	}
	d.ingress, err = ingress.New(ingress.Config{
		HTTPPort: cfg.HTTPPort, HTTPSPort: cfg.HTTPSPort, HSTS: cfg.HSTS, Trusted: cfg.trusted, AccessLog: cfg.AccessLog, PerClient: cfg.PerClient,
		Informers: d.informers, Client: d.client, Event: d.event,
	})
	return err
}

// partMetrics are those that the node's parts keep themselves, some of which it may be without.
func (d *daemon) partMetrics() []prometheus.Collector {
	out := append(d.runtime.Collectors(), d.node.Starts.Collector(), d.proxy.Collector())
	if d.dns != nil {
		out = append(out, d.dns.Collector())
	}
	if d.ingress != nil {
		out = append(out, d.ingress.Collector())
	}
	return out
}

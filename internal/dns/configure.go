package dns

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
)

// configure makes the forwarder anew if its servers have changed: those of the ConfigMap, or the host's.
func (s *Server) configure(ctx context.Context) {
	host, err := os.ReadFile(s.cfg.ResolvConf)
	if err != nil {
		host = nil // a host without one knows no servers
	}
	if s.configs.HasSynced() {
		now := s.configData()
		cfg, err := corefile.Parse(now, s.cfg.Domain)
		switch {
		case err != nil && s.broken != err.Error():
			// The control plane tells of it at the ConfigMap.
			s.broken = err.Error()
			s.log.Error("the ConfigMap is not understood; what it said before holds on", "configmap", corefile.ConfigMapNamespace+"/"+corefile.ConfigMapName, "err", err)
		case err == nil:
			s.broken = ""
			if !maps.Equal(now, s.config) {
				s.config = now
				if err := s.kept.saveJSON(configFile, now); err != nil {
					s.log.Error("the servers of the ConfigMap could not be kept for the next start", "err", err)
				}
			}
			s.forwardTo(ctx, cfg, Nameservers(string(host)))
			return
		}
	}
	cfg, err := corefile.Parse(s.config, s.cfg.Domain)
	if err != nil {
		cfg = corefile.Config{} // of another version of this program
	}
	s.forwardTo(ctx, cfg, Nameservers(string(host)))
}

func (s *Server) configData() map[string]string {
	obj, exists, err := s.configs.GetStore().GetByKey(corefile.ConfigMapNamespace + "/" + corefile.ConfigMapName)
	if err != nil || !exists {
		return nil
	}
	return obj.(*corev1.ConfigMap).Data
}

func (s *Server) forwardTo(ctx context.Context, cfg corefile.Config, hosts []string) {
	own := s.where().Told
	said := fmt.Sprint(cfg, hosts, own)
	if said == s.servers {
		return
	}
	s.servers = said
	s.server.forward.Store(newForwarder(ctx, cfg, hosts, func(address string) bool {
		at, err := netip.ParseAddrPort(address)
		return err == nil && at.Port() == port && slices.Contains(own, at.Addr())
	}))
	s.log.Info("other names are asked from", "servers", strings.Join(s.server.forward.Load().others.names(), " "), "domains", len(cfg.Stubs))
}

func (g group) names() []string {
	var out []string
	for _, u := range g {
		out = append(out, u.addr)
	}
	return out
}

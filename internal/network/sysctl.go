package network

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
)

// setSysctls makes the node a router for its Pods.
//
// Redirects are off: between two Pods of one bridge the node would otherwise tell each that the other is reachable without it, and
// their packets would go past its rules. The kernel sends none only when both "all" and the interface say so.
//
// route_localnet lets 127.0.0.1 be the source of a packet to a Pod before it is masqueraded, so that host ports and NodePorts can be
// reached there; the INPUT rules keep others out.
func setSysctls(cidrs []netip.Prefix, bridged bool) error {
	settings := []struct{ name, value string }{
		{"net/ipv4/ip_forward", "1"},
		{"net/ipv4/conf/all/route_localnet", "1"},
		{"net/ipv4/conf/all/send_redirects", "0"},
	}
	if bridged {
		settings = append(settings, struct{ name, value string }{"net/ipv4/conf/" + bridgeName + "/send_redirects", "0"})
	}
	if slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		settings = append(settings, struct{ name, value string }{"net/ipv6/conf/all/forwarding", "1"})
	}
	for _, s := range settings {
		path := filepath.Join("/proc/sys", s.name)
		// A container or a hardened host may have a read-only /proc/sys with the right value in it already.
		if have, err := os.ReadFile(path); err == nil && string(bytes.TrimSpace(have)) == s.value {
			continue
		}
		if err := os.WriteFile(path, []byte(s.value), 0o644); err != nil {
			return fmt.Errorf("set %s to %s, without which Pods cannot be reached: %w", s.name, s.value, err)
		}
	}
	return nil
}

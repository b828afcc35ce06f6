package dns

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// HostResolvConf finds the resolv.conf that names the host's servers, below root. Where the usual one names only a program of the host itself, which
// a Pod could not reach, that is what systemd-resolved writes beside it.
func HostResolvConf(root string) string {
	usual, upstream := filepath.Join(root, "etc/resolv.conf"), filepath.Join(root, "run/systemd/resolve/resolv.conf")
	text, err := os.ReadFile(usual)
	if err != nil {
		return usual
	}
	list := Nameservers(string(text))
	if len(list) == 0 || slices.ContainsFunc(list, func(s string) bool {
		a, err := netip.ParseAddr(s)
		return err != nil || !a.IsLoopback()
	}) {
		return usual
	}
	if text, err := os.ReadFile(upstream); err == nil && len(Nameservers(string(text))) > 0 {
		return upstream
	}
	return usual
}

// Nameservers are the servers that a resolv.conf names.
func Nameservers(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == "nameserver" {
			if _, err := netip.ParseAddr(f[1]); err == nil {
				out = append(out, f[1])
			}
		}
	}
	return out
}

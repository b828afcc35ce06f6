package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/gitopsd/gitopsd/internal/controlplane/clusterip"
)

// ranges reads a flag that takes a range of addresses, or one of each family.
func ranges(flag string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("--%s: %w", flag, err)
		}
		out = append(out, p.Masked())
	}
	if len(out) == 0 || len(out) > 2 || len(out) == 2 && out[0].Addr().Is4() == out[1].Addr().Is4() {
		return nil, fmt.Errorf("--%s %s: must be one range of addresses, or one of IPv4 and one of IPv6, such as 10.0.0.0/16,fd00::/108", flag, strings.Join(texts, ","))
	}
	return out, nil
}

// addressRanges checks that the ranges of Pods and Services go together.
func addressRanges(cluster, service []netip.Prefix) error {
	for _, s := range service {
		if clusterip.Hosts(s) < 14 {
			return fmt.Errorf("--service-cidr: %s is too small: give at least a /28 of IPv4, or a /124 of IPv6", s)
		}
		family := false
		for _, c := range cluster {
			if c.Overlaps(s) {
				return fmt.Errorf("--cluster-cidr %s and --service-cidr %s overlap", c, s)
			}
			family = family || c.Addr().Is4() == s.Addr().Is4()
		}
		if !family {
			return fmt.Errorf("--service-cidr %s: there are no Pods of that family to answer: add a range of it to --cluster-cidr", s)
		}
	}
	return nil
}

func joined(prefixes []netip.Prefix) string {
	texts := make([]string, len(prefixes))
	for i, p := range prefixes {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}

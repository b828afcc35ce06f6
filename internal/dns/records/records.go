package records

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/utils/ptr"
)

// TTL of every record, in seconds: that of CoreDNS. Asking anew costs little, as the answer comes from the client's own node.
const TTL = 5

// Version of the specification that is followed, as the cluster tells at dns-version (section 2.2).
const Version = "1.1.0"

// builder collects the records of one domain.
type builder struct {
	domain string
	list   []dns.RR
}

// Build returns the records of svc, sorted and each once. domain is the cluster's, such as "cluster.local.". A nil Service
// has none.
func Build(domain string, svc *corev1.Service, endpoints []*discoveryv1.EndpointSlice) []dns.RR {
	if svc == nil {
		return nil
	}
	b := &builder{domain: domain}
	name := strings.ToLower(svc.Name + "." + svc.Namespace + ".svc." + domain)
	switch {
	case svc.Spec.Type == corev1.ServiceTypeExternalName:
		b.alias(name, svc.Spec.ExternalName)
	case svc.Spec.ClusterIP == corev1.ClusterIPNone:
		b.headless(name, endpoints)
	default:
		b.virtual(name, svc)
	}
	return unique(b.list)
}

// Zone returns the records by which the domain tells about itself; addresses are where it is served.
func Zone(domain string, addresses []netip.Addr) []dns.RR {
	b := &builder{domain: domain}
	server := "ns.dns." + domain
	b.add(&dns.NS{Hdr: header(domain, dns.TypeNS), Ns: server})
	b.add(&dns.TXT{Hdr: header("dns-version."+domain, dns.TypeTXT), Txt: []string{Version}})
	for _, ip := range addresses {
		b.address(server, ip)
	}
	return b.list
}

// Authority is the domain's start of authority. Its last field is how long resolvers may keep that a name does not exist (RFC 2308).
func Authority(domain string, serial uint32) *dns.SOA {
	return &dns.SOA{Hdr: header(domain, dns.TypeSOA), Ns: "ns.dns." + domain, Mbox: "hostmaster." + domain, Serial: serial, Refresh: 7200, Retry: 1800, Expire: 86400, Minttl: TTL}
}

// Pod returns the address that a Pod's name "10-42-0-7" stands for; it is invalid when it stands for none.
func Pod(label string) netip.Addr {
	if strings.Count(label, "-") == 3 {
		if ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ".")); err == nil {
			return ip
		}
	}
	ip, err := netip.ParseAddr(strings.ReplaceAll(label, "-", ":"))
	if err != nil {
		return netip.Addr{}
	}
	return ip
}

// alias is section 2.5: ExternalName Services.
func (b *builder) alias(name, target string) {
	if _, ok := dns.IsDomainName(target); ok && target != "" {
		b.add(&dns.CNAME{Hdr: header(name, dns.TypeCNAME), Target: dns.Fqdn(target)})
	}
}

// virtual is section 2.3: Services with a cluster IP.
func (b *builder) virtual(name string, svc *corev1.Service) {
	ips := svc.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{svc.Spec.ClusterIP}
	}
	served := false
	for _, text := range ips {
		if ip, err := netip.ParseAddr(text); err == nil {
			b.address(name, ip)
			b.reverse(ip, name)
			served = true
		}
	}
	for i := range svc.Spec.Ports {
		if p := &svc.Spec.Ports[i]; served {
			b.service(name, p.Name, p.Protocol, p.Port, name)
		}
	}
}

// headless is section 2.4: Services without one, whose endpoints are told. Only ready ones are, and which are ready is what the slices
// say: those of a Service with publishNotReadyAddresses say it of all.
func (b *builder) headless(name string, list []*discoveryv1.EndpointSlice) {
	for _, slice := range list {
		if slice.AddressType == discoveryv1.AddressTypeFQDN {
			continue
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if len(e.Addresses) == 0 || !ptr.Deref(e.Conditions.Ready, true) {
				continue
			}
			// Only the first address means anything; the API keeps more for history's sake.
			ip, err := netip.ParseAddr(e.Addresses[0])
			if err != nil {
				continue
			}
			host := strings.ToLower(ptr.Deref(e.Hostname, "")) + "." + name
			if ptr.Deref(e.Hostname, "") == "" {
				host = dashed(ip) + "." + name
			}
			b.address(name, ip)
			b.address(host, ip)
			b.reverse(ip, host)
			for j := range slice.Ports {
				if p := &slice.Ports[j]; p.Port != nil {
					b.service(name, ptr.Deref(p.Name, ""), ptr.Deref(p.Protocol, corev1.ProtocolTCP), *p.Port, host)
				}
			}
		}
	}
}

// dashed is the name of an endpoint that has none of its own.
func dashed(ip netip.Addr) string {
	return strings.NewReplacer(".", "-", ":", "-").Replace(ip.WithZone("").String())
}

func (b *builder) address(name string, ip netip.Addr) {
	if ip.Is4() {
		b.add(&dns.A{Hdr: header(name, dns.TypeA), A: ip.AsSlice()})
	} else {
		b.add(&dns.AAAA{Hdr: header(name, dns.TypeAAAA), AAAA: ip.AsSlice()})
	}
}

func (b *builder) reverse(ip netip.Addr, name string) {
	if arpa, err := dns.ReverseAddr(ip.WithZone("").String()); err == nil {
		b.add(&dns.PTR{Hdr: header(arpa, dns.TypePTR), Ptr: name})
	}
}

// service adds a port, which only has a name of its own when it has a name. At the Service's name all its ports are told, as CoreDNS does.
func (b *builder) service(name, port string, protocol corev1.Protocol, number int32, target string) {
	owners := []string{name}
	if port != "" {
		owners = append(owners, strings.ToLower("_"+port+"._"+string(protocol)+"."+name))
	}
	for _, owner := range owners {
		b.add(&dns.SRV{Hdr: header(owner, dns.TypeSRV), Weight: 100, Port: uint16(number), Target: target})
	}
}

func (b *builder) add(rr dns.RR) {
	if _, ok := dns.IsDomainName(rr.Header().Name); ok {
		b.list = append(b.list, rr)
	}
}

func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET, Ttl: TTL}
}

// unique sorts records and drops repetitions: an endpoint may be in two slices while it moves between them.
func unique(list []dns.RR) []dns.RR {
	type line struct {
		text string
		rr   dns.RR
	}
	lines := make([]line, len(list))
	for i, rr := range list {
		lines[i] = line{rr.String(), rr}
	}
	slices.SortFunc(lines, func(a, b line) int { return strings.Compare(a.text, b.text) })
	lines = slices.CompactFunc(lines, func(a, b line) bool { return a.text == b.text })
	out := make([]dns.RR, len(lines))
	for i := range lines {
		out[i] = lines[i].rr
	}
	return out
}

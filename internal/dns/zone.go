package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miekg/dns"

	"github.com/gitopsd/gitopsd/internal/dns/records"
)

// zone is the cluster's domain, and the reverse names of what is in it. Many read it at once; a change concerns the names of one Service.
type zone struct {
	domain string // in presentation form, with the final dot
	apex   []byte // the same in wire form
	pods   []netip.Prefix

	soa                       *dns.SOA
	nodata, nxdomain, unknown *reply

	mu    sync.RWMutex
	names map[string]*node    // by name in wire form, in lower case
	owned map[string][]string // which names each owner has records of

	// known says that the records are those of the cluster, if perhaps of a while ago.
	known atomic.Bool
}

// node is a name. One without records is there because names below it are.
type node struct {
	parts    []part
	sets     map[uint16]*reply
	alias    string // where a CNAME leads
	children int
}

// part is the records of a name that one owner brought.
type part struct {
	owner   string
	records []dns.RR
}

// zoneOwner owns the records by which the zone tells about itself.
const zoneOwner = ""

func newZone(domain string, pods []netip.Prefix, serial uint32) (*zone, error) {
	z := &zone{domain: domain, apex: wire(domain), pods: pods, names: map[string]*node{}, owned: map[string][]string{}}
	if len(z.apex) < 2 {
		return nil, fmt.Errorf("domain %q: not a domain name", domain)
	}
	z.soa = records.Authority(domain, serial)
	var err error
	if z.nodata, err = makeReply("", dns.RcodeSuccess, nil, []dns.RR{z.soa}, nil); err != nil {
		return nil, fmt.Errorf("domain %q: %w", domain, err)
	}
	no, unknown := *z.nodata, reply{rcode: dns.RcodeServerFailure}
	no.rcode = dns.RcodeNameError
	z.nxdomain, z.unknown = &no, &unknown
	z.grow(z.apex, 1) // these three exist without anything below them
	for _, name := range []string{"svc.", "pod."} {
		z.grow(wire(name+domain), 1)
	}
	z.servedAt(nil)
	return z, nil
}

// servedAt says where the zone is served.
func (z *zone) servedAt(addresses []netip.Addr) {
	z.set(zoneOwner, append(records.Zone(z.domain, addresses), z.soa))
}

// set replaces the records of an owner; none removes it.
func (z *zone) set(owner string, list []dns.RR) {
	names := map[string][]dns.RR{}
	addresses := map[string][]dns.RR{}
	for _, rr := range list {
		h := rr.Header()
		names[h.Name] = append(names[h.Name], rr)
		if h.Rrtype == dns.TypeA || h.Rrtype == dns.TypeAAAA {
			addresses[h.Name] = append(addresses[h.Name], rr)
		}
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, name := range z.owned[owner] {
		if _, stays := names[name]; !stays {
			z.put(owner, name, nil, nil)
		}
	}
	delete(z.owned, owner)
	for name, rrs := range names {
		if z.put(owner, name, rrs, addresses) {
			z.owned[owner] = append(z.owned[owner], name)
		}
	}
}

// put replaces what an owner says of one name, unless that is none.
func (z *zone) put(owner, name string, list []dns.RR, addresses map[string][]dns.RR) bool {
	key := wire(name)
	if key == nil {
		return false
	}
	n := z.names[string(key)]
	if n == nil {
		n = &node{}
		z.names[string(key)] = n
	}
	had := len(n.parts) > 0
	at := slices.IndexFunc(n.parts, func(p part) bool { return p.owner == owner })
	switch {
	case at >= 0 && same(n.parts[at].records, list):
		return true
	case at >= 0 && len(list) == 0:
		n.parts = slices.Delete(n.parts, at, at+1)
	case at >= 0:
		n.parts[at].records = list
	case len(list) > 0:
		n.parts = append(n.parts, part{owner, list})
	}
	n.build(name, addresses)
	if has := len(n.parts) > 0; has != had {
		by := 1
		if !has {
			by = -1
		}
		z.growParents(key, by)
	}
	z.drop(key)
	return true
}

// build makes the replies of a name.
func (n *node) build(name string, addresses map[string][]dns.RR) {
	n.sets, n.alias = nil, ""
	kinds := map[uint16][]dns.RR{}
	for i, p := range n.parts {
		for _, rr := range p.records {
			list := kinds[rr.Header().Rrtype]
			// A Pod that is an endpoint of two Services is told of by each.
			if i > 0 && slices.ContainsFunc(list, func(o dns.RR) bool { return dns.IsDuplicate(o, rr) }) {
				continue
			}
			kinds[rr.Header().Rrtype] = append(list, rr)
		}
	}
	for kind, list := range kinds {
		var more []dns.RR
		for _, rr := range list {
			switch r := rr.(type) {
			case *dns.SRV:
				more = append(more, addresses[r.Target]...)
			case *dns.CNAME:
				n.alias = r.Target
			}
		}
		r, err := makeReply(name, dns.RcodeSuccess, list, nil, more)
		if err != nil {
			continue // a record that cannot be packed cannot be told
		}
		r.rotates = true
		if n.sets == nil {
			n.sets = map[uint16]*reply{}
		}
		n.sets[kind] = r
	}
}

// same tells whether records would be told alike. With those of ports the addresses of others are told, which may have changed.
func same(a, b []dns.RR) bool {
	return slices.EqualFunc(a, b, func(a, b dns.RR) bool {
		_, port := a.(*dns.SRV)
		return !port && dns.IsDuplicate(a, b)
	})
}

// growParents counts a name at all names above it, up to the zone's. Names outside the zone have none that matter.
func (z *zone) growParents(key []byte, by int) {
	if len(key) <= len(z.apex) || string(key[len(key)-len(z.apex):]) != string(z.apex) {
		return
	}
	for len(key) > len(z.apex) {
		key = key[1+int(key[0]):]
		z.grow(key, by)
	}
}

func (z *zone) grow(key []byte, by int) {
	n := z.names[string(key)]
	if n == nil {
		n = &node{}
		z.names[string(key)] = n
	}
	n.children += by
	z.drop(key)
}

// drop forgets a name with nothing at it nor below it.
func (z *zone) drop(key []byte) {
	if n := z.names[string(key)]; n != nil && len(n.parts) == 0 && n.children <= 0 {
		delete(z.names, string(key))
	}
}

// owners lists who has records.
func (z *zone) owners() []string {
	z.mu.RLock()
	defer z.mu.RUnlock()
	out := make([]string, 0, len(z.owned))
	for o := range z.owned {
		out = append(out, o)
	}
	return out
}

// all lists every record by its owner, but those that the zone tells of itself.
func (z *zone) all() map[string][]dns.RR {
	z.mu.RLock()
	defer z.mu.RUnlock()
	out := map[string][]dns.RR{}
	for _, n := range z.names {
		for _, p := range n.parts {
			if p.owner != zoneOwner {
				out[p.owner] = append(out[p.owner], p.records...)
			}
		}
	}
	return out
}

// of lists an owner's records.
func (z *zone) of(owner string) (out []dns.RR) {
	z.mu.RLock()
	defer z.mu.RUnlock()
	for _, name := range z.owned[owner] {
		for _, p := range z.names[string(wire(name))].parts {
			if p.owner == owner {
				out = append(out, p.records...)
			}
		}
	}
	return out
}

// lookup answers a question from what the zone knows. mine says whether it is the zone's to answer; alias, if there is one, is where to
// ask on.
func (z *zone) lookup(q *query) (r *reply, alias string, mine bool) {
	labels, in := q.below(z.apex)
	if !in {
		return z.reverse(q)
	}
	z.mu.RLock()
	n := z.names[string(q.lower())]
	if n != nil {
		r, alias = n.choose(q.kind)
	}
	z.mu.RUnlock()
	switch {
	case r != nil || alias != "":
		return r, alias, true
	case labels >= 2 && string(q.label(labels-1)) == "pod":
		return z.pod(q, labels), "", true
	case !z.known.Load():
		return z.unknown, "", true
	case n != nil:
		return z.nodata, "", true
	}
	return z.nxdomain, "", true
}

// choose picks the records of a type. Who asks for any is told some (RFC 8482, section 4.1).
func (n *node) choose(kind uint16) (*reply, string) {
	if n.alias != "" && kind != dns.TypeCNAME && kind != dns.TypeANY {
		return nil, n.alias
	}
	if kind == dns.TypeANY {
		for _, r := range n.sets {
			return r, ""
		}
	}
	return n.sets[kind], ""
}

// reverse answers for an address of a Service or an endpoint. Other Pods' addresses have no name, which nobody else would know better.
func (z *zone) reverse(q *query) (r *reply, alias string, mine bool) {
	ip, ok := arpa(q)
	if !ok {
		return nil, "", false
	}
	z.mu.RLock()
	n := z.names[string(q.lower())]
	if n != nil {
		r, _ = n.choose(q.kind)
	}
	z.mu.RUnlock()
	switch {
	case r != nil:
		return r, "", true
	case n != nil:
		return &reply{authoritative: true}, "", true
	case slices.ContainsFunc(z.pods, func(p netip.Prefix) bool { return p.Contains(ip) }):
		if !z.known.Load() {
			return z.unknown, "", true
		}
		return &reply{authoritative: true, rcode: dns.RcodeNameError}, "", true
	}
	return nil, "", false
}

// pod answers for a name such as 10-42-0-7.shop.pod.cluster.local: for each address that a Pod may have, whether or not one has it. That is
// what CoreDNS calls insecure, but for addresses outside the ranges of Pods, which have no such name here.
func (z *zone) pod(q *query, labels int) *reply {
	if labels == 2 {
		return z.nodata // a namespace
	}
	if labels > 3 {
		return z.nxdomain
	}
	ip := records.Pod(string(q.label(0)))
	if !slices.ContainsFunc(z.pods, func(p netip.Prefix) bool { return p.Contains(ip) }) {
		return z.nxdomain
	}
	h := dns.RR_Header{Name: ".", Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: records.TTL}
	var rr dns.RR = &dns.A{Hdr: h, A: ip.AsSlice()}
	if ip.Is6() {
		h.Rrtype = dns.TypeAAAA
		rr = &dns.AAAA{Hdr: h, AAAA: ip.AsSlice()}
	}
	if q.kind != h.Rrtype && q.kind != dns.TypeANY {
		return z.nodata
	}
	r, err := makeReply(".", dns.RcodeSuccess, []dns.RR{rr}, nil, nil)
	if err != nil {
		return z.unknown
	}
	return r
}

// size counts the names.
func (z *zone) size() int {
	z.mu.RLock()
	defer z.mu.RUnlock()
	return len(z.names)
}

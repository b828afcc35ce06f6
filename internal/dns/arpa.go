package dns

import (
	"net/netip"
	"strconv"
)

var (
	arpa4 = wire("in-addr.arpa.")
	arpa6 = wire("ip6.arpa.")
)

// arpa is the address whose reverse name a question has.
func arpa(q *query) (netip.Addr, bool) {
	if labels, ok := q.below(arpa4); ok {
		if labels != 4 {
			return netip.Addr{}, false
		}
		var a [4]byte
		for i := range a {
			n, err := strconv.ParseUint(string(q.label(3-i)), 10, 8)
			if err != nil {
				return netip.Addr{}, false
			}
			a[i] = byte(n)
		}
		return netip.AddrFrom4(a), true
	}
	if labels, ok := q.below(arpa6); !ok || labels != 32 {
		return netip.Addr{}, false
	}
	var a [16]byte
	for i := range 32 {
		n, err := strconv.ParseUint(string(q.label(31-i)), 16, 4)
		if err != nil {
			return netip.Addr{}, false
		}
		a[i/2] = a[i/2]<<4 | byte(n)
	}
	return netip.AddrFrom16(a), true
}

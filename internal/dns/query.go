package dns

import (
	"encoding/binary"

	"github.com/miekg/dns"
)

// Sizes of RFC 1035 and RFC 6891.
const (
	headerSize = 12
	maxName    = 255
	maxLabels  = 128
	// plainSize is what a client takes by UDP that says nothing about it.
	plainSize = 512
	// maxUDP bounds an answer by UDP, so that it is not cut into fragments on any path (DNS flag day 2020).
	maxUDP = 1232
	maxTCP = 65535
	// optSize is an OPT record without options.
	optSize = 11
)

// Bits of the header's third and fourth byte.
const (
	bitQR = 0x80
	bitAA = 0x04
	bitTC = 0x02
	bitRD = 0x01
	bitRA = 0x80
	bitCD = 0x10
)

// query is a question as it came, taken apart without copying but for the name in lower case.
type query struct {
	id       uint16
	rd, cd   bool
	question []byte // of the message: name, type and class, as the client spelled them
	kind     uint16
	class    uint16

	name   [maxName]byte // the name in wire form, in lower case
	length int
	labels [maxLabels]uint8 // where each label of name begins, the root's last
	count  int              // of labels, with the root

	edns    bool
	version uint8
	do      bool
	size    int // of the largest answer by UDP
}

// lower is the name in lower case, in wire form.
func (q *query) lower() []byte { return q.name[:q.length] }

// below says whether the name is the zone or below it, and of how many labels the part before the zone is.
func (q *query) below(zone []byte) (labels int, ok bool) {
	at := q.length - len(zone)
	if at < 0 || string(q.name[at:q.length]) != string(zone) {
		return 0, false
	}
	for i := q.count - 1; i >= 0; i-- {
		switch l := int(q.labels[i]); {
		case l == at:
			return i, true
		case l < at:
			return 0, false
		}
	}
	return 0, false
}

// label is the i-th label of the name, without its length.
func (q *query) label(i int) []byte {
	at := int(q.labels[i])
	return q.name[at+1 : at+1+int(q.name[at])]
}

// verdict says what becomes of a message.
type verdict int

const (
	drop   verdict = iota // nobody is told anything
	refuse                // the client is told the code
	answer                // it is a question
)

// parse takes a message apart. An answer to somebody is never answered: two servers would talk to each other for ever.
func (q *query) parse(msg []byte) (verdict, int) {
	if len(msg) < headerSize || msg[2]&bitQR != 0 {
		return drop, 0
	}
	*q = query{id: binary.BigEndian.Uint16(msg), rd: msg[2]&bitRD != 0, cd: msg[3]&bitCD != 0, size: plainSize}
	if opcode := msg[2] >> 3 & 0xf; opcode != dns.OpcodeQuery {
		return refuse, dns.RcodeNotImplemented
	}
	count := func(i int) int { return int(binary.BigEndian.Uint16(msg[4+2*i:])) }
	if count(0) != 1 || count(1) != 0 || count(2) != 0 {
		return refuse, dns.RcodeFormatError
	}
	at, ok := q.readName(msg)
	if !ok || at+4 > len(msg) {
		return refuse, dns.RcodeFormatError
	}
	q.kind, q.class = binary.BigEndian.Uint16(msg[at:]), binary.BigEndian.Uint16(msg[at+2:])
	at += 4
	question := msg[headerSize:at]
	for range count(3) {
		if at, ok = q.readAdditional(msg, at); !ok {
			return refuse, dns.RcodeFormatError
		}
	}
	if at != len(msg) {
		return refuse, dns.RcodeFormatError
	}
	q.question = question
	switch {
	case q.edns && q.version != 0:
		return refuse, dns.RcodeBadVers
	case q.class != dns.ClassINET && q.class != dns.ClassANY, q.kind == dns.TypeAXFR, q.kind == dns.TypeIXFR:
		return refuse, dns.RcodeRefused
	}
	return answer, 0
}

// readName reads the question's name, which stands behind the header and has nothing that it could point at.
func (q *query) readName(msg []byte) (end int, ok bool) {
	at := headerSize
	for {
		if at >= len(msg) || q.length >= maxName {
			return 0, false
		}
		n := int(msg[at])
		if n > 63 || at+1+n > len(msg) || q.length+1+n > maxName {
			return 0, false
		}
		q.labels[q.count] = uint8(q.length)
		q.count++
		// A label's length is less than any letter, so that all bytes can be treated alike.
		for _, c := range msg[at : at+1+n] {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			q.name[q.length] = c
			q.length++
		}
		at += 1 + n
		if n == 0 {
			return at, true
		}
	}
}

// readAdditional reads a record behind the question, of which only OPT says anything.
func (q *query) readAdditional(msg []byte, at int) (end int, ok bool) {
	root := at < len(msg) && msg[at] == 0
	if at, ok = skipName(msg, at); !ok || at+10 > len(msg) {
		return 0, false
	}
	kind, size, ttl := binary.BigEndian.Uint16(msg[at:]), binary.BigEndian.Uint16(msg[at+2:]), msg[at+4:at+8]
	end = at + 10 + int(binary.BigEndian.Uint16(msg[at+8:]))
	if end > len(msg) {
		return 0, false
	}
	if kind == dns.TypeOPT {
		if q.edns || !root {
			return 0, false
		}
		q.edns, q.version, q.do = true, ttl[1], ttl[2]&0x80 != 0
		q.size = min(max(int(size), plainSize), maxUDP)
	}
	return end, true
}

// skipName returns where a name ends, which may end in a pointer.
func skipName(msg []byte, at int) (end int, ok bool) {
	for at < len(msg) {
		switch n := int(msg[at]); {
		case n == 0:
			return at + 1, true
		case n >= 0xc0:
			return at + 2, at+2 <= len(msg)
		case n > 63:
			return 0, false
		default:
			at += 1 + n
		}
	}
	return 0, false
}

// wire is a name in wire form.
func wire(name string) []byte {
	buf := make([]byte, maxName+1)
	n, err := dns.PackDomainName(dns.CanonicalName(name), buf, 0, nil, false)
	if err != nil {
		return nil
	}
	return buf[:n]
}

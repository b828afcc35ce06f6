package dns

import (
	"encoding/binary"
	"time"

	"github.com/miekg/dns"
)

// reply is what is said to a question, in the form in which it is sent: only the header, the question itself and, of cached replies, the
// TTLs differ from client to client. Names in it may point at the question's, which begins at the same place in every message.
type reply struct {
	rcode         int
	authoritative bool
	body          []byte // all records
	answers       int
	authority     int
	additional    int
	ends          []int // of each answer in body
	rotates       bool  // answers may be told in any order, and each client is told another first
	// Of a cached reply:
	ttls    []int // where they are in body
	stored  time.Time
	expires time.Time
}

// to writes the reply to a query into out, which has room for the largest message of limit bytes, and returns the message. turn is another
// number for each client. What is too large is cut short and marked so: the client then asks by TCP.
func (r *reply) to(q *query, out []byte, limit int, turn uint32, now time.Time) []byte {
	room := limit
	if q.edns {
		room -= optSize
	}
	out = start(q, out, r.rcode)
	if r.authoritative {
		out[2] |= bitAA
	}
	begin := len(out)
	answers := 0
	if r.answers > 0 {
		answers = r.ends[r.answers-1]
	}
	counts := [3]int{r.answers, r.authority, r.additional}
	switch {
	case begin+len(r.body) <= room:
		out = r.appendAnswers(out, answers, turn)
		out = append(out, r.body[answers:]...)
	case begin+answers <= room && r.answers > 0: // what was not asked for is left out without a word (RFC 2181, section 9)
		out = r.appendAnswers(out, answers, turn)
		counts[1], counts[2] = 0, 0
	default:
		n := 0
		for n < r.answers && begin+r.ends[n] <= room {
			n++
		}
		if n > 0 {
			out = append(out, r.body[:r.ends[n-1]]...)
		}
		counts = [3]int{n, 0, 0}
		out[2] |= bitTC
	}
	if len(r.ttls) > 0 {
		age := uint32(max(0, now.Sub(r.stored)/time.Second))
		for _, at := range r.ttls {
			if begin+at+4 > len(out) {
				break
			}
			ttl := binary.BigEndian.Uint32(r.body[at:])
			binary.BigEndian.PutUint32(out[begin+at:], ttl-min(age, ttl))
		}
	}
	for i, n := range counts {
		binary.BigEndian.PutUint16(out[6+2*i:], uint16(n))
	}
	return finish(q, out, r.rcode)
}

// appendAnswers appends the answers, from another one on each time.
func (r *reply) appendAnswers(out []byte, size int, turn uint32) []byte {
	if !r.rotates || r.answers < 2 {
		return append(out, r.body[:size]...)
	}
	from := 0
	if k := int(turn % uint32(r.answers)); k > 0 {
		from = r.ends[k-1]
	}
	out = append(out, r.body[from:size]...)
	return append(out, r.body[:from]...)
}

// start writes header and question.
func start(q *query, out []byte, rcode int) []byte {
	out = out[:headerSize]
	clear(out)
	binary.BigEndian.PutUint16(out, q.id)
	out[2], out[3] = bitQR, bitRA|byte(rcode&0xf)
	if q.rd {
		out[2] |= bitRD
	}
	if q.cd {
		out[3] |= bitCD
	}
	if len(q.question) > 0 {
		out[5] = 1
		out = append(out, q.question...)
	}
	return out
}

// finish adds the OPT record that an answer to one with OPT has.
func finish(q *query, out []byte, rcode int) []byte {
	if !q.edns {
		return out
	}
	binary.BigEndian.PutUint16(out[10:], binary.BigEndian.Uint16(out[10:])+1)
	flags := byte(0)
	if q.do {
		flags = 0x80
	}
	return append(out, 0, 0, byte(dns.TypeOPT), maxUDP>>8, maxUDP&0xff, byte(rcode>>4), 0, flags, 0, 0, 0)
}

// failure is a message without records.
func failure(q *query, out []byte, rcode int) []byte { return finish(q, start(q, out, rcode), rcode) }

// makeReply packs records for the question of a name. It is for what is told often: names of answers that are the question's own point there.
func makeReply(name string, rcode int, answers, authority, additional []dns.RR) (*reply, error) {
	r := &reply{rcode: rcode, authoritative: true, authority: len(authority), additional: len(additional)}
	buf := make([]byte, 0, 64)
	for i, rr := range answers {
		at := len(buf)
		var err error
		if buf, err = appendRecord(buf, name, rr); err != nil {
			return nil, err
		}
		if len(buf) > maxTCP-headerSize-maxName-4-optSize { // no message holds more
			buf, r.authority, r.additional = buf[:at], 0, 0
			authority, additional = nil, nil
			answers = answers[:i]
			break
		}
		r.ends = append(r.ends, len(buf))
	}
	r.answers = len(answers)
	for _, list := range [][]dns.RR{authority, additional} {
		for _, rr := range list {
			var err error
			if buf, err = appendRecord(buf, name, rr); err != nil {
				return nil, err
			}
		}
	}
	r.body = buf
	return r, nil
}

// appendRecord packs a record, whose owner is a pointer to the question's name if it is the same.
func appendRecord(buf []byte, name string, rr dns.RR) ([]byte, error) {
	packed := make([]byte, dns.Len(rr)+1)
	n, err := dns.PackRR(rr, packed, 0, nil, false)
	if err != nil {
		return buf, err
	}
	packed = packed[:n]
	if rr.Header().Name == name {
		own, _ := skipName(packed, 0)
		return append(append(buf, 0xc0, headerSize), packed[own:]...), nil
	}
	return append(buf, packed...), nil
}

package dns

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// message is a question about a.example. A, with a number of 0x1234, changed by edit.
func message(t *testing.T, edit func(m []byte) []byte) []byte {
	t.Helper()
	packed, err := (&dns.Msg{MsgHdr: dns.MsgHdr{Id: 0x1234, RecursionDesired: true}, Question: []dns.Question{{Name: "a.example.", Qtype: dns.TypeA, Qclass: dns.ClassINET}}}).Pack()
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		packed = edit(packed)
	}
	return packed
}

func TestWhatIsNoQuestionIsRefusedOrDropped(t *testing.T) {
	opt := []byte{0, 0, byte(dns.TypeOPT), 4, 0xd0, 0, 0, 0, 0, 0, 0}
	additional := func(m []byte, n byte, more ...byte) []byte { m[11] = n; return append(m, more...) }
	for _, c := range []struct {
		name string
		edit func(m []byte) []byte
		want int // -1: nobody is told anything
	}{
		{"an answer", func(m []byte) []byte { m[2] |= bitQR; return m }, -1},
		{"a header cut short", func(m []byte) []byte { return m[:11] }, -1},
		{"no question", func(m []byte) []byte { m[5] = 0; return m[:12] }, dns.RcodeFormatError},
		{"two questions", func(m []byte) []byte { m[5] = 2; return append(m, m[12:]...) }, dns.RcodeFormatError},
		{"a name cut short", func(m []byte) []byte { return m[:15] }, dns.RcodeFormatError},
		{"a name that points at itself", func(m []byte) []byte { m[12], m[13] = 0xc0, 12; return m }, dns.RcodeFormatError},
		{"a label of 64 bytes", func(m []byte) []byte { m[12] = 64; return m }, dns.RcodeFormatError},
		{"a name of more than 255 bytes", func(m []byte) []byte {
			long := strings.Repeat("\x3f"+strings.Repeat("x", 63), 4)
			return append(append(m[:12], long...), 0, 0, 1, 0, 1)
		}, dns.RcodeFormatError},
		{"something behind the end", func(m []byte) []byte { return append(m, 0) }, dns.RcodeFormatError},
		{"an answer in the question", func(m []byte) []byte { m[7] = 1; return m }, dns.RcodeFormatError},
		{"more records than there are", func(m []byte) []byte { return additional(m, 3, opt...) }, dns.RcodeFormatError},
		{"two OPT records", func(m []byte) []byte { return additional(m, 2, append(opt, opt...)...) }, dns.RcodeFormatError},
		{"an OPT record of a name", func(m []byte) []byte { return additional(m, 1, append([]byte{0xc0, 12}, opt[1:]...)...) }, dns.RcodeFormatError},
		{"EDNS 1", func(m []byte) []byte { o := append([]byte{}, opt...); o[6] = 1; return additional(m, 1, o...) }, dns.RcodeBadVers},
		{"an update", func(m []byte) []byte { m[2] |= dns.OpcodeUpdate << 3; return m }, dns.RcodeNotImplemented},
		{"a zone transfer", func(m []byte) []byte { m[len(m)-3] = byte(dns.TypeAXFR); return m }, dns.RcodeRefused},
		{"another class", func(m []byte) []byte { m[len(m)-1] = dns.ClassCHAOS; return m }, dns.RcodeRefused},
	} {
		s, q := testServer(t), query{}
		resp, wait := s.quick(&q, message(t, c.edit), make([]byte, 0, 512), transport{family: 4})
		if wait {
			t.Errorf("%s: is asked from others", c.name)
		}
		if c.want < 0 {
			if resp != nil {
				t.Errorf("%s: is answered with %x", c.name, resp)
			}
			continue
		}
		var m dns.Msg
		if err := m.Unpack(resp); err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if m.Rcode != c.want || m.Id != 0x1234 || !m.RecursionDesired {
			t.Errorf("%s: %s, id %x, want %s", c.name, dns.RcodeToString[m.Rcode], m.Id, dns.RcodeToString[c.want])
		}
	}
}

// endpoints is a headless Service of n endpoints.
func endpoints(n int) string {
	var b strings.Builder
	b.WriteString("metadata: {namespace: shop, name: big}\nspec: {clusterIP: None}\n---\nports: [{name: http, port: 80, protocol: TCP}]\nendpoints:\n")
	for i := range n {
		fmt.Fprintf(&b, "- {addresses: [10.42.%d.%d], hostname: big-%d}\n", i/200, i%200, i)
	}
	return b.String()
}

func TestAnswersAreCutToWhatTheClientTakes(t *testing.T) {
	s := testServer(t)
	put(t, s, endpoints(300))
	question := func() *dns.Msg { return new(dns.Msg).SetQuestion("big.shop.svc.cluster.local.", dns.TypeA) }
	for _, c := range []struct {
		name    string
		edns    uint16
		proto   int
		answers int // as many as fit
	}{
		{"plain", 0, protoUDP, (512 - 12 - 32) / 16},
		{"EDNS", 1000, protoUDP, (1000 - 12 - 32 - optSize) / 16},
		{"EDNS of more than a packet", 8000, protoUDP, (maxUDP - 12 - 32 - optSize) / 16},
		{"TCP", 0, protoTCP, 300},
	} {
		m := question()
		if c.edns > 0 {
			m.SetEdns0(c.edns, true)
		}
		got := ask(t, s, m, c.proto)
		if len(got.Answer) != c.answers || got.Truncated != (c.answers < 300) {
			t.Errorf("%s: %d answers, truncated %v; want %d", c.name, len(got.Answer), got.Truncated, c.answers)
		}
		opt := got.IsEdns0()
		if (opt != nil) != (c.edns > 0) || opt != nil && (opt.UDPSize() != maxUDP || !opt.Do()) {
			t.Errorf("%s: OPT %v", c.name, opt)
		}
	}
}

func TestEachClientIsToldAnotherEndpointFirst(t *testing.T) {
	s := testServer(t)
	put(t, s, endpoints(3))
	first := map[string]int{}
	for range 30 {
		got := ask(t, s, new(dns.Msg).SetQuestion("big.shop.svc.cluster.local.", dns.TypeA), protoUDP)
		if len(got.Answer) != 3 {
			t.Fatalf("%d answers, want 3", len(got.Answer))
		}
		first[got.Answer[0].(*dns.A).A.String()]++
	}
	for ip, n := range first {
		if n != 10 {
			t.Errorf("%s was first %d of 30 times, want 10", ip, n)
		}
	}
}

func TestNoMemoryIsAskedForToAnswer(t *testing.T) {
	s := testServer(t)
	put(t, s, endpoints(3))
	packed, err := new(dns.Msg).SetQuestion("big.shop.svc.cluster.local.", dns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	q, out := query{}, make([]byte, 0, 2*maxUDP)
	if n := testing.AllocsPerRun(1000, func() { s.quick(&q, packed, out, transport{family: 4}) }); n > 0 {
		t.Errorf("%v allocations per question", n)
	}
}

// Whatever comes, the answer is a message that can be read, is the client's own, and is no larger than it may be; and where the library
// reads a question too, both read the same one.
func FuzzAnyMessageIsAnsweredOrDropped(f *testing.F) {
	for _, name := range []string{"big.shop.svc.cluster.local.", "10-42-0-7.shop.pod.cluster.local.", "2.0.42.10.in-addr.arpa.", "www.example.org."} {
		m := new(dns.Msg).SetQuestion(name, dns.TypeA)
		m.SetEdns0(4096, true)
		packed, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed)
	}
	f.Add([]byte{})
	if b, err := hex.DecodeString("123401000001000000000000c00c00010001"); err == nil {
		f.Add(b)
	}
	s := testServer(f)
	put(f, s, endpoints(100))
	f.Fuzz(func(t *testing.T, msg []byte) {
		var q query
		resp, wait := s.quick(&q, msg, make([]byte, 0, 512), transport{family: 4})
		if s.count.panics.Load() > 0 {
			t.Fatal("panic")
		}
		if wait || len(resp) == 0 {
			return
		}
		if len(resp) > max(plainSize, q.size) {
			t.Errorf("%d bytes to a client that takes %d", len(resp), q.size)
		}
		var out, in dns.Msg
		if err := out.Unpack(resp); err != nil {
			t.Fatalf("unreadable answer %x: %v", resp, err)
		}
		if resp[0] != msg[0] || resp[1] != msg[1] {
			t.Error("the answer is to another question")
		}
		if in.Unpack(msg) == nil && len(in.Question) == 1 && len(out.Question) == 1 && in.Question[0] != out.Question[0] {
			t.Errorf("asked %v, answered %v", in.Question[0], out.Question[0])
		}
	})
}

package dns

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/gitopsd/gitopsd/internal/dns/corefile"
)

// serveNames is a real server on the loopback interface, by UDP and TCP, and counts its questions.
func serveNames(t *testing.T, answer dns.HandlerFunc) (address string, asked *atomic.Int64) {
	t.Helper()
	asked = &atomic.Int64{}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", pc.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		asked.Add(1)
		answer(w, m)
	})
	for _, srv := range []*dns.Server{{PacketConn: pc, Handler: h}, {Listener: l, Handler: h}} {
		var wg sync.WaitGroup
		up := make(chan struct{})
		srv.NotifyStartedFunc = func() { close(up) }
		wg.Go(func() { _ = srv.ActivateAndServe() })
		<-up
		t.Cleanup(func() {
			if err := srv.Shutdown(); err != nil {
				t.Error(err)
			}
			wg.Wait()
		})
	}
	return pc.LocalAddr().String(), asked
}

// says answers every question about an address with ip.
func says(ip string, ttl uint32) dns.HandlerFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) {
		out := new(dns.Msg).SetReply(m)
		out.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: ttl}, A: net.ParseIP(ip)}}
		_ = w.WriteMsg(out)
	}
}

func silent(dns.ResponseWriter, *dns.Msg) {}

func fails(code int) dns.HandlerFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) { _ = w.WriteMsg(new(dns.Msg).SetRcode(m, code)) }
}

// forwarding is a server that asks the given ones.
func forwarding(t *testing.T, cfg corefile.Config, hosts ...string) *server {
	t.Helper()
	s := testServer(t)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s.forward.Store(newForwarder(ctx, cfg, hosts, func(string) bool { return false }))
	return s
}

func lookUp(t *testing.T, s *server, name string) *dns.Msg {
	t.Helper()
	return ask(t, s, new(dns.Msg).SetQuestion(name, dns.TypeA), protoUDP)
}

func address(m *dns.Msg) string {
	for _, rr := range m.Answer {
		if a, ok := rr.(*dns.A); ok {
			return a.A.String()
		}
	}
	return dns.RcodeToString[m.Rcode]
}

func TestOthersAreAskedOnceForAsLongAsTheySaid(t *testing.T) {
	host, asked := serveNames(t, says("192.0.2.1", 300))
	s := forwarding(t, corefile.Config{}, host)
	for range 3 {
		m := lookUp(t, s, "www.example.org.")
		if got := address(m); got != "192.0.2.1" || m.Authoritative {
			t.Errorf("got %s, authoritative %v", got, m.Authoritative)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
	short, again := serveNames(t, says("192.0.2.1", 0))
	s = forwarding(t, corefile.Config{}, short)
	lookUp(t, s, "www.example.org.")
	lookUp(t, s, "www.example.org.")
	if n := again.Load(); n != 2 {
		t.Errorf("what may not be kept was asked %d times, want twice", n)
	}
}

func TestThatANameDoesNotExistIsKeptAsLongAsItsZoneSays(t *testing.T) {
	host, asked := serveNames(t, func(w dns.ResponseWriter, m *dns.Msg) {
		out := new(dns.Msg).SetRcode(m, dns.RcodeNameError)
		out.Ns = []dns.RR{&dns.SOA{Hdr: dns.RR_Header{Name: "example.org.", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: 300}, Ns: "ns.", Mbox: "m.", Minttl: 60}}
		_ = w.WriteMsg(out)
	})
	s := forwarding(t, corefile.Config{}, host)
	for range 3 {
		if m := lookUp(t, s, "nobody.example.org."); m.Rcode != dns.RcodeNameError || len(m.Ns) != 1 {
			t.Errorf("got %s", show(m))
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times, want once", n)
	}
}

func TestADomainsOwnServersAreAsked(t *testing.T) {
	host, _ := serveNames(t, says("192.0.2.1", 300))
	corp, _ := serveNames(t, says("192.0.2.2", 300))
	lab, _ := serveNames(t, says("192.0.2.3", 300))
	other, _ := serveNames(t, says("192.0.2.4", 300))
	cfg := corefile.Config{Stubs: []corefile.Stub{{Domain: "corp.example.", Forward: []string{corp}}, {Domain: "lab.corp.example.", Forward: []string{lab}}}}
	s := forwarding(t, cfg, host)
	for name, want := range map[string]string{
		"www.example.org.": "192.0.2.1", "corp.example.": "192.0.2.2", "a.corp.example.": "192.0.2.2", "a.lab.corp.example.": "192.0.2.3", "notcorp.example.": "192.0.2.1",
	} {
		if got := address(lookUp(t, s, name)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	cfg.Forward = []string{other}
	if got := address(lookUp(t, forwarding(t, cfg, host), "www.example.org.")); got != "192.0.2.4" {
		t.Errorf("with other servers than the host's: %s", got)
	}
}

func TestAServerThatDoesNotAnswerCostsLittleOnceAndNothingThen(t *testing.T) {
	dead, asked := serveNames(t, silent)
	alive, _ := serveNames(t, says("192.0.2.1", 0))
	s := forwarding(t, corefile.Config{}, dead, alive)
	for i := range 5 {
		if got := address(lookUp(t, s, "www.example.org.")); got != "192.0.2.1" {
			t.Fatalf("question %d: %s", i, got)
		}
	}
	if n := asked.Load(); n != 1 {
		t.Errorf("the server that does not answer was asked %d times, want once", n)
	}
	if n := s.forward.Load().others[0].broken.Load(); n == 0 {
		t.Error("it does not count as down")
	}
}

func TestAServerThatFailsIsNotTheLastWord(t *testing.T) {
	for _, code := range []int{dns.RcodeServerFailure, dns.RcodeRefused} {
		bad, _ := serveNames(t, fails(code))
		good, _ := serveNames(t, says("192.0.2.1", 0))
		if got := address(lookUp(t, forwarding(t, corefile.Config{}, bad, good), "www.example.org.")); got != "192.0.2.1" {
			t.Errorf("after %s: %s", dns.RcodeToString[code], got)
		}
		if got := address(lookUp(t, forwarding(t, corefile.Config{}, bad), "www.example.org.")); got != dns.RcodeToString[code] {
			t.Errorf("alone it is told as %s, want %s", got, dns.RcodeToString[code])
		}
	}
}

func TestClientsAreToldBeforeTheyGiveUp(t *testing.T) {
	dead, _ := serveNames(t, silent)
	s := forwarding(t, corefile.Config{}, dead)
	began := time.Now()
	if got := address(lookUp(t, s, "www.example.org.")); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
	if took := time.Since(began); took > 5*time.Second { // resolv.conf(5): timeout
		t.Errorf("it took %s", took)
	}
	began = time.Now()
	lookUp(t, s, "other.example.org.")
	if took := time.Since(began); took > 2*downDeadline {
		t.Errorf("when it was known to be down it took %s", took)
	}
}

func TestALongAnswerIsFetchedByTCP(t *testing.T) {
	host, _ := serveNames(t, func(w dns.ResponseWriter, m *dns.Msg) {
		out := new(dns.Msg).SetReply(m)
		for i := range 200 {
			out.Answer = append(out.Answer, &dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60}, A: net.IPv4(192, 0, 2, byte(i))})
		}
		if _, udp := w.RemoteAddr().(*net.UDPAddr); udp {
			out.Truncate(dns.MinMsgSize)
		}
		_ = w.WriteMsg(out)
	})
	s := forwarding(t, corefile.Config{}, host)
	m := ask(t, s, new(dns.Msg).SetQuestion("www.example.org.", dns.TypeA), protoTCP)
	if len(m.Answer) != 200 {
		t.Errorf("%d answers, want 200", len(m.Answer))
	}
	if m = lookUp(t, s, "www.example.org."); !m.Truncated || len(m.Answer) == 0 {
		t.Errorf("by UDP: truncated %v, %d answers", m.Truncated, len(m.Answer))
	}
}

func TestAnAliasOfTheClusterLeadsOutside(t *testing.T) {
	host, _ := serveNames(t, says("192.0.2.1", 300))
	s := forwarding(t, corefile.Config{}, host)
	put(t, s, "metadata: {namespace: shop, name: mail}\nspec: {type: ExternalName, externalName: mail.example.org}\n")
	m := lookUp(t, s, "mail.shop.svc.cluster.local.")
	if len(m.Answer) != 2 || address(m) != "192.0.2.1" || m.Answer[0].(*dns.CNAME).Target != "mail.example.org." {
		t.Errorf("got %s", show(m))
	}
}

// A server that asks this one in turn would have one question go round for ever.
func TestAQuestionThatComesBackGoesNoFurther(t *testing.T) {
	var asks atomic.Pointer[server]
	var asked atomic.Int64
	host, _ := serveNames(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if asked.Add(1) > 10 {
			return
		}
		packed, err := m.Pack()
		if err != nil {
			return
		}
		_, _ = w.Write(asks.Load().slow(packed, make([]byte, 0, 512), transport{family: 4}))
	})
	s := forwarding(t, corefile.Config{}, host)
	asks.Store(s)
	if got := address(lookUp(t, s, "www.example.org.")); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
	if n := asked.Load(); n > 2 {
		t.Errorf("it went round %d times", n)
	}
}

func TestTheCacheIsBounded(t *testing.T) {
	c := newCache()
	for i := range 3 * cacheEntries {
		var q query
		if v, _ := q.parse(message(t, func(m []byte) []byte {
			m[13] = byte(i) // the label "a"
			return append(append(append([]byte{}, m[:12]...), 3, byte(i), byte(i>>8), 'x'), m[12:]...)
		})); v != answer {
			continue
		}
		c.put(&q, &reply{answers: 1})
	}
	success, denial := c.size()
	if n := success + denial; n > cacheEntries || n < cacheEntries/2 {
		t.Errorf("%d entries, want at most %d", n, cacheEntries)
	}
	var q query
	if v, _ := q.parse(message(t, func(m []byte) []byte { return m })); v != answer {
		t.Fatal("the question cannot be read")
	}
	for size, kept := range map[int]bool{maxKept: true, maxKept + 1: false} {
		c, now := newCache(), time.Now()
		c.put(&q, &reply{answers: 1, body: make([]byte, size), expires: now.Add(time.Hour)})
		if got := c.get(&q, now) != nil; got != kept {
			t.Errorf("an answer of %d bytes: kept: %v, want %v", size, got, kept)
		}
	}
}

package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/dns/records"
)

const testDomain = "cluster.local."

// testServer serves the Services of YAML documents, without a socket.
func testServer(t testing.TB) *server {
	t.Helper()
	z, err := newZone(testDomain, []netip.Prefix{netip.MustParsePrefix("10.42.0.0/16"), netip.MustParsePrefix("fd42::/56")}, 7)
	if err != nil {
		t.Fatal(err)
	}
	z.known.Store(true)
	return newServer(z)
}

// put takes in a Service and its EndpointSlices as YAML documents.
func put(t testing.TB, s *server, text string) {
	t.Helper()
	docs := strings.Split(text, "---\n")
	svc := &corev1.Service{}
	if err := yaml.UnmarshalStrict([]byte(docs[0]), svc); err != nil {
		t.Fatalf("%v in\n%s", err, docs[0])
	}
	var list []*discoveryv1.EndpointSlice
	for _, doc := range docs[1:] {
		e := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4}
		if err := yaml.UnmarshalStrict([]byte(doc), e); err != nil {
			t.Fatalf("%v in\n%s", err, doc)
		}
		list = append(list, e)
	}
	s.zone.set(svc.Namespace+"/"+svc.Name, records.Build(testDomain, svc, list))
}

// ask puts a question and returns the answer as it would be sent.
func ask(t testing.TB, s *server, m *dns.Msg, proto int) *dns.Msg {
	t.Helper()
	packed, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q query
	tr := transport{proto: proto, family: 4}
	resp, wait := s.quick(&q, packed, make([]byte, 0, 512), tr)
	if wait {
		resp = s.slow(packed, make([]byte, 0, 512), tr)
	}
	if len(resp) == 0 {
		return nil
	}
	out := &dns.Msg{}
	if err := out.Unpack(resp); err != nil {
		t.Fatalf("the answer to %v cannot be read: %v", m.Question, err)
	}
	if out.Id != m.Id || !out.Response {
		t.Fatalf("the answer is to question %d, want %d", out.Id, m.Id)
	}
	return out
}

// show prints an answer: its code and flags, and each section's records on lines of their own.
func show(m *dns.Msg) string {
	if m == nil {
		return "no answer\n"
	}
	var b strings.Builder
	b.WriteString(dns.RcodeToString[m.Rcode])
	for _, f := range []struct {
		name string
		set  bool
	}{{"aa", m.Authoritative}, {"tc", m.Truncated}, {"ra", m.RecursionAvailable}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteByte('\n')
	for _, section := range []struct {
		name string
		list []dns.RR
	}{{"", m.Answer}, {"authority ", m.Ns}, {"additional ", m.Extra}} {
		for _, rr := range section.list {
			if rr.Header().Rrtype != dns.TypeOPT {
				b.WriteString(section.name + strings.ReplaceAll(rr.String(), "\t", " ") + "\n")
			}
		}
	}
	return b.String()
}

// The files under testdata show what is said to whom.
func TestAnswers(t *testing.T) {
	datadriven.Walk(t, "testdata/answers", func(t *testing.T, path string) {
		s := testServer(t)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			switch d.Cmd {
			case "service":
				put(t, s, d.Input)
				return ""
			case "remove":
				s.zone.set(strings.TrimSpace(d.Input), nil)
				return ""
			case "unknown":
				s.zone.known.Store(false)
				return ""
			case "ask":
				var out strings.Builder
				for line := range strings.Lines(d.Input) {
					kind, name, _ := strings.Cut(strings.TrimSpace(line), " ")
					m := new(dns.Msg).SetQuestion(name, dns.StringToType[kind])
					out.WriteString(show(ask(t, s, m, protoUDP)))
				}
				return out.String()
			}
			d.Fatalf(t, "unknown command %q", d.Cmd)
			return ""
		})
	})
}

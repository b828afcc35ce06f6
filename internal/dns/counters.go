package dns

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	protoUDP = iota
	protoTCP
	protos
)

// zones and plugins are what CoreDNS would call where an answer came from.
const (
	zoneDropped = iota // no question that is answered
	zoneCluster
	zoneOthers
	zones
)

const (
	pluginNone = iota
	pluginKubernetes
	pluginCache
	pluginForward
	plugins
)

var (
	protoNames  = [protos]string{"udp", "tcp"}
	familyNames = [2]string{"1", "2"} // as CoreDNS has them: IPv4, IPv6
	pluginNames = [plugins]string{"", "kubernetes", "cache", "forward"}
	// kinds are those that are counted by name; all others are one.
	kinds = [...]uint16{dns.TypeA, dns.TypeAAAA, dns.TypeCNAME, dns.TypeMX, dns.TypeNS, dns.TypePTR, dns.TypeSOA, dns.TypeSRV, dns.TypeTXT, dns.TypeHTTPS, dns.TypeANY}
	// sizes are CoreDNS' buckets for bytes.
	sizes = [...]int{0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16000, 32000, 48000, 64000}
)

const rcodes = 24 // BADVERS is 16, and 23 the last that has a name

// counters count for Prometheus, under the names that CoreDNS' dashboards read. Counting takes no lock and no memory: it is done for every
// question, and the text is made when somebody asks for it.
type counters struct {
	requests  [zones][protos][2][len(kinds) + 1]atomic.Uint64
	responses [zones][plugins][rcodes]atomic.Uint64
	durations [zones]histogram
	asked     [zones][protos]byteSizes
	answered  [zones]byteSizes
	hits      [2]atomic.Uint64 // successes, denials
	misses    atomic.Uint64
	rejected  atomic.Uint64
	panics    atomic.Uint64
	dropped   atomic.Uint64
}

type byteSizes struct {
	counts [len(sizes) + 1]atomic.Uint64
	sum    atomic.Uint64
}

func (b *byteSizes) observe(n int) {
	i := 0
	for i < len(sizes) && n > sizes[i] {
		i++
	}
	b.counts[i].Add(1)
	b.sum.Add(uint64(n))
}

func (b *byteSizes) snapshot() (count uint64, sum float64, cumulative map[float64]uint64) {
	cumulative = make(map[float64]uint64, len(sizes))
	for i, s := range sizes {
		count += b.counts[i].Load()
		cumulative[float64(s)] = count
	}
	return count + b.counts[len(sizes)].Load(), float64(b.sum.Load()), cumulative
}

func (c *counters) request(q *query, t transport, zone, size int) {
	kind := slices.Index(kinds[:], q.kind)
	if kind < 0 {
		kind = len(kinds)
	}
	family := 0
	if t.family == 6 {
		family = 1
	}
	c.requests[zone][t.proto][family][kind].Add(1)
	c.asked[zone][t.proto].observe(size)
}

func (c *counters) response(zone, rcode, plugin, size int, took time.Duration) {
	c.responses[zone][plugin][min(rcode, rcodes-1)].Add(1)
	c.durations[zone].observe(took)
	c.answered[zone].observe(size)
}

func (c *counters) cached(r *reply) {
	if r.answers > 0 {
		c.hits[0].Add(1)
	} else {
		c.hits[1].Add(1)
	}
}

// collector tells a server's counters.
type collector struct{ s *Server }

var _ prometheus.Collector = collector{}

const serverLabel = "dns://:53"

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("coredns_"+name, help, labels, nil)
}

var (
	requestsDesc  = desc("dns_requests_total", "Questions that came", "server", "zone", "view", "proto", "family", "type")
	responsesDesc = desc("dns_responses_total", "Answers that were given", "server", "zone", "view", "rcode", "plugin")
	durationDesc  = desc("dns_request_duration_seconds", "How long answering took, in seconds", "server", "zone", "view")
	askedDesc     = desc("dns_request_size_bytes", "Size of questions", "server", "zone", "view", "proto")
	answeredDesc  = desc("dns_response_size_bytes", "Size of answers", "server", "zone", "view")
	panicsDesc    = desc("panics_total", "Messages that made the server panic")
	entriesDesc   = desc("cache_entries", "Answers of other servers that are kept", "server", "type", "zones", "view")
	hitsDesc      = desc("cache_hits_total", "Questions that were answered from them", "server", "type", "zones", "view")
	missesDesc    = desc("cache_misses_total", "Questions that were not", "server", "zones", "view")
	forwardDesc   = desc("proxy_request_duration_seconds", "How long other servers took to answer, in seconds", "proxy_name", "to", "rcode")
	brokenDesc    = desc("forward_healthcheck_broken_total", "How often another server was found not to answer", "to")
	rejectedDesc  = desc("forward_max_concurrent_rejects_total", "Questions that were turned down because too many waited for other servers")
	servicesDesc  = prometheus.NewDesc("gitopsd_dns_names", "Names of the cluster that are answered for", nil, nil)
	knownDesc     = prometheus.NewDesc("gitopsd_dns_known", "Whether the node knows the cluster's names: 1, or 0 while it has none of now or of before", nil, nil)
)

func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, responsesDesc, durationDesc, askedDesc, answeredDesc, panicsDesc, entriesDesc, hitsDesc, missesDesc,
		forwardDesc, brokenDesc, rejectedDesc, servicesDesc, knownDesc} {
		out <- d
	}
}

func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.s.server
	n, names := &s.count, [zones]string{"dropped", s.zone.domain, "."}
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		if v > 0 {
			out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
		}
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	histogram := func(d *prometheus.Desc, snapshot func() (uint64, float64, map[float64]uint64), labels ...string) {
		if count, sum, buckets := snapshot(); count > 0 {
			out <- prometheus.MustNewConstHistogram(d, count, sum, buckets, labels...)
		}
	}
	for z, zone := range names {
		for p, proto := range protoNames {
			for f, family := range familyNames {
				for k := range n.requests[z][p][f] {
					kind := "other"
					if k < len(kinds) {
						kind = dns.TypeToString[kinds[k]]
					}
					count(requestsDesc, n.requests[z][p][f][k].Load(), serverLabel, zone, "", proto, family, kind)
				}
			}
			histogram(askedDesc, n.asked[z][p].snapshot, serverLabel, zone, "", proto)
		}
		for p, plugin := range pluginNames {
			for r := range n.responses[z][p] {
				count(responsesDesc, n.responses[z][p][r].Load(), serverLabel, zone, "", dns.RcodeToString[r], plugin)
			}
		}
		histogram(durationDesc, n.durations[z].snapshot, serverLabel, zone, "")
		histogram(answeredDesc, n.answered[z].snapshot, serverLabel, zone, "")
	}
	out <- prometheus.MustNewConstMetric(panicsDesc, prometheus.CounterValue, float64(n.panics.Load()))
	count(rejectedDesc, n.rejected.Load())
	count(missesDesc, n.misses.Load(), serverLabel, ".", "")
	var entries [2]int
	if f := s.forward.Load(); f != nil {
		entries[0], entries[1] = f.cache.size()
		seen := map[*upstream]bool{}
		for _, g := range f.groups() {
			for _, u := range g {
				if !seen[u] {
					seen[u] = true
					histogram(forwardDesc, u.seconds.snapshot, "forward", u.addr, "")
					count(brokenDesc, u.broken.Load(), u.addr)
				}
			}
		}
	}
	for i, kind := range []string{"success", "denial"} {
		count(hitsDesc, n.hits[i].Load(), serverLabel, kind, ".", "")
		gauge(entriesDesc, entries[i], serverLabel, kind, ".", "")
	}
	gauge(servicesDesc, s.zone.size())
	known := 0
	if s.zone.known.Load() {
		known = 1
	}
	gauge(knownDesc, known)
}

package proxy

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/gitopsd/gitopsd/internal/ingress/routes"
)

// buckets are ingress-nginx' for durations, in seconds.
var buckets = [...]float64{0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}

// statuses are those that are counted one by one; all others as the first of their hundred.
var statuses = [...]int{100, 101, 200, 201, 202, 204, 206, 300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 408, 409, 413, 417, 421, 422, 429, 431, 499, 500, 501, 502, 503, 504, 505}

// slots finds a status in them.
var slots = func() (out [600]uint8) {
	at := map[int]int{}
	for i, s := range statuses {
		at[s] = i
	}
	for code := range out {
		slot, ok := at[code]
		if !ok {
			slot = at[code/100*100]
		}
		out[code] = uint8(slot)
	}
	return out
}()

// statsKey is what requests are counted by.
type statsKey struct{ owner, host, backend string }

// stats count the requests of a route, without a lock.
type stats struct {
	key   statsKey
	codes [len(statuses)]atomic.Uint64
	times [len(buckets) + 1]atomic.Uint64
	nanos atomic.Uint64
	bytes atomic.Uint64
}

func (s *stats) observe(status int, took time.Duration, sent int64) {
	if status < 100 || status > 599 {
		status = statusGone
	}
	s.codes[slots[status]].Add(1)
	i, sec := 0, took.Seconds()
	for i < len(buckets) && sec > buckets[i] {
		i++
	}
	s.times[i].Add(1)
	s.nanos.Add(uint64(took))
	s.bytes.Add(uint64(sent))
}

// counters count for Prometheus, under the names that ingress-nginx' dashboards read where there are any.
type counters struct {
	active, tunnels  atomic.Int64
	retries, refused atomic.Uint64
	none             *stats

	mu  sync.Mutex
	all map[statsKey]*stats
}

func (c *counters) init() {
	c.all = map[statsKey]*stats{}
	c.none = &stats{}
	c.all[c.none.key] = c.none
}

// of finds or makes the stats of a route. They outlive the table, as counters never go back.
func (c *counters) of(r *routes.Route) *stats {
	k := statsKey{r.Owner, r.Host, r.Backend.Key}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.all[k] == nil {
		c.all[k] = &stats{key: k}
	}
	return c.all[k]
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	routeLabels   = []string{"namespace", "ingress", "host", "service"}
	requestsDesc  = desc("nginx_ingress_controller_requests", "Requests that were answered", append([]string{"status"}, routeLabels...)...)
	durationDesc  = desc("nginx_ingress_controller_request_duration_seconds", "How long answering took, in seconds", routeLabels...)
	bytesDesc     = desc("nginx_ingress_controller_bytes_sent", "Bytes of bodies of answers", routeLabels...)
	activeDesc    = desc("gitopsd_ingress_requests_active", "Requests under way")
	tunnelsDesc   = desc("gitopsd_ingress_upgraded_connections", "Connections that were taken over, such as WebSockets")
	retriesDesc   = desc("gitopsd_ingress_retries_total", "Requests that were sent again, to the same endpoint or another")
	refusedDesc   = desc("gitopsd_ingress_connections_refused_total", "Connections that were closed at once, because there were too many")
	endpointsDesc = desc("gitopsd_ingress_endpoints", "Addresses that requests are passed on to")
)

// collector tells a Proxy's counters.
type collector struct{ p *Proxy }

// Collector tells metrics.
func (p *Proxy) Collector() prometheus.Collector { return collector{p} }

// Describe implements prometheus.Collector.
func (collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{requestsDesc, durationDesc, bytesDesc, activeDesc, tunnelsDesc, retriesDesc, refusedDesc, endpointsDesc} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	n := &c.p.count
	value := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	n.mu.Lock()
	all := make([]*stats, 0, len(n.all))
	for _, s := range n.all {
		all = append(all, s)
	}
	n.mu.Unlock()
	for _, s := range all {
		namespace, ingress, _ := strings.Cut(s.key.owner, "/")
		_, service, _ := strings.Cut(s.key.backend, "/")
		service, _, _ = strings.Cut(service, ":")
		labels := []string{namespace, ingress, s.key.host, service}
		for i := range s.codes {
			if v := s.codes[i].Load(); v > 0 {
				value(requestsDesc, prometheus.CounterValue, float64(v), append([]string{strconv.Itoa(statuses[i])}, labels...)...)
			}
		}
		cumulative, count := map[float64]uint64{}, uint64(0)
		for i, b := range buckets {
			count += s.times[i].Load()
			cumulative[b] = count
		}
		if count += s.times[len(buckets)].Load(); count > 0 {
			out <- prometheus.MustNewConstHistogram(durationDesc, count, float64(s.nanos.Load())/1e9, cumulative, labels...)
			value(bytesDesc, prometheus.CounterValue, float64(s.bytes.Load()), labels...)
		}
	}
	value(activeDesc, prometheus.GaugeValue, float64(n.active.Load()))
	value(tunnelsDesc, prometheus.GaugeValue, float64(n.tunnels.Load()))
	value(retriesDesc, prometheus.CounterValue, float64(n.retries.Load()))
	value(refusedDesc, prometheus.CounterValue, float64(n.refused.Load()))
	c.p.mu.Lock()
	endpoints := len(c.p.endpoints)
	c.p.mu.Unlock()
	value(endpointsDesc, prometheus.GaugeValue, float64(endpoints))
}

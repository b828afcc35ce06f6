package stats

import (
	goruntime "runtime"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
)

// Cadvisor collects what dashboards read of containers, under the names and labels that cAdvisor gave them: /metrics/cadvisor. A series of a container
// has its name, image and ID; one of a Pod as a whole (its network, and the sum of its containers) has those labels empty; one of the machine all of them.
type Cadvisor struct{ Source *Source }

var _ prometheus.Collector = Cadvisor{}

// Describe leaves out what depends on the Pods: the collector is unchecked.
func (Cadvisor) Describe(chan<- *prometheus.Desc) {}

// series is a metric of a group.
type series struct {
	name, help string
	kind       prometheus.ValueType
	// label is one more label, with the value that this series has of it.
	label, value string
	of           func(u cgroup.Usage, d cgroup.Detail) float64
}

const (
	counter = prometheus.CounterValue
	gauge   = prometheus.GaugeValue
)

func seconds(nanos uint64) float64 { return float64(nanos) / 1e9 }

// groupSeries are those of every group.
var groupSeries = []series{
	{"container_cpu_usage_seconds_total", "Processor time used, in core-seconds", counter, "cpu", "total", func(u cgroup.Usage, _ cgroup.Detail) float64 { return seconds(u.CPUNanos) }},
	{"container_cpu_user_seconds_total", "Processor time used by programs, in core-seconds", counter, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return seconds(d.UserNanos) }},
	{"container_cpu_system_seconds_total", "Processor time used by the kernel, in core-seconds", counter, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return seconds(d.SystemNanos) }},
	{"container_memory_usage_bytes", "Memory used, with all that could be given up, in bytes", gauge, "", "", func(u cgroup.Usage, _ cgroup.Detail) float64 { return float64(u.Memory) }},
	{"container_memory_working_set_bytes", "Memory used that cannot be given up at once, in bytes", gauge, "", "", func(u cgroup.Usage, _ cgroup.Detail) float64 { return float64(u.WorkingSet) }},
	{"container_memory_rss", "Anonymous memory, in bytes", gauge, "", "", func(u cgroup.Usage, _ cgroup.Detail) float64 { return float64(u.RSS) }},
	{"container_memory_cache", "Page cache, in bytes", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Cache) }},
	{"container_memory_mapped_file", "Mapped files, in bytes", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.MappedFile) }},
	{"container_memory_swap", "Swapped memory, in bytes", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Swap) }},
	{"container_memory_max_usage_bytes", "Most memory ever used, in bytes", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Peak) }},
	{"container_memory_failcnt", "How often the memory limit was met", counter, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Failures) }},
	{"container_oom_events_total", "Processes killed for want of memory", counter, "", "", func(u cgroup.Usage, _ cgroup.Detail) float64 { return float64(u.OOMKills) }},
	{"container_processes", "Processes that run", gauge, "", "", func(u cgroup.Usage, _ cgroup.Detail) float64 { return float64(u.PIDs) }},
	{"container_fs_reads_bytes_total", "Bytes read from block devices", counter, "device", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.ReadBytes) }},
	{"container_fs_writes_bytes_total", "Bytes written to block devices", counter, "device", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.WriteBytes) }},
	{"container_fs_reads_total", "Reads from block devices", counter, "device", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Reads) }},
	{"container_fs_writes_total", "Writes to block devices", counter, "device", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Writes) }},
	{"container_spec_cpu_shares", "CPU shares", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Shares) }},
	{"container_spec_cpu_period", "CPU period, in microseconds", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Period) }},
	{"container_spec_memory_limit_bytes", "Memory limit, in bytes; 0 is none", gauge, "", "", func(u cgroup.Usage, _ cgroup.Detail) float64 {
		if u.Limit >= unlimited {
			return 0
		}
		return float64(u.Limit)
	}},
}

// unlimited and more is how a kernel of control groups version 1 shows no memory limit: a number of pages that no machine has.
const unlimited = 1 << 60

// quotaSeries are those of groups with a CPU limit.
var quotaSeries = []series{
	{"container_spec_cpu_quota", "CPU quota, in microseconds a period", gauge, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Quota) }},
	{"container_cpu_cfs_periods_total", "Periods of the CPU quota that have passed", counter, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Periods) }},
	{"container_cpu_cfs_throttled_periods_total", "Periods in which the CPU quota was used up", counter, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return float64(d.Throttled) }},
	{"container_cpu_cfs_throttled_seconds_total", "Time for which programs waited since the CPU quota was used up", counter, "", "", func(_ cgroup.Usage, d cgroup.Detail) float64 { return seconds(d.ThrottledNanos) }},
}

// identity are the labels that every series has.
var identityLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

type identity struct{ container, id, image, name, namespace, pod string }

func (i identity) values(more ...string) []string {
	return append([]string{i.container, i.id, i.image, i.name, i.namespace, i.pod}, more...)
}

// collection sends metrics; it makes each kind of series known once.
type collection struct {
	out   chan<- prometheus.Metric
	known map[string]*prometheus.Desc
}

func (c *collection) send(name, help string, kind prometheus.ValueType, value float64, who identity, label string, labelValue string) {
	d := c.known[name]
	labels, values := identityLabels, who.values()
	if label != "" {
		labels, values = append(labels[:len(labels):len(labels)], label), who.values(labelValue)
	}
	if d == nil {
		d = prometheus.NewDesc(name, help, labels, nil)
		c.known[name] = d
	}
	c.out <- prometheus.MustNewConstMetric(d, kind, value, values...)
}

func (c *collection) group(u cgroup.Usage, d cgroup.Detail, who identity, started time.Time) {
	for _, s := range groupSeries {
		c.send(s.name, s.help, s.kind, s.of(u, d), who, s.label, s.value)
	}
	if d.Quota > 0 {
		for _, s := range quotaSeries {
			c.send(s.name, s.help, s.kind, s.of(u, d), who, s.label, s.value)
		}
	}
	c.send("container_start_time_seconds", "When the container started, in seconds since 1970", gauge, float64(started.Unix()), who, "", "")
	c.send("container_last_seen", "When the container was last seen, in seconds since 1970", gauge, float64(time.Now().Unix()), who, "", "")
}

func (c *collection) network(path string, who identity) {
	n := network(path, time.Now())
	if n == nil {
		return // the Pod ended meanwhile
	}
	for _, i := range n.Interfaces {
		for _, s := range []struct {
			name, help string
			value      *uint64
		}{
			{"container_network_receive_bytes_total", "Bytes received", i.RxBytes}, {"container_network_receive_errors_total", "Errors in receiving", i.RxErrors},
			{"container_network_transmit_bytes_total", "Bytes sent", i.TxBytes}, {"container_network_transmit_errors_total", "Errors in sending", i.TxErrors},
		} {
			c.send(s.name, s.help, counter, float64(*s.value), who, "interface", i.Name)
		}
	}
}

// Collect reads the figures now.
func (x Cadvisor) Collect(out chan<- prometheus.Metric) {
	s, c := x.Source, &collection{out: out, known: map[string]*prometheus.Desc{}}
	machine := identity{id: "/"}
	whole := wholeMachine(s.Cgroups)
	c.group(whole, s.Cgroups.Detail(""), machine, s.Start)
	c.network("", machine)
	for _, p := range s.Pods() {
		if p.Status.Phase == v1.PodSucceeded || p.Status.Phase == v1.PodFailed {
			continue
		}
		x.pod(c, p)
	}
	one := func(name, help string, value float64) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, nil), gauge, value)
	}
	one("machine_cpu_cores", "Processors of the machine", float64(goruntime.NumCPU()))
	one("machine_memory_bytes", "Memory of the machine, in bytes", float64(whole.Limit))
	one("container_scrape_error", "1 if the machine's figures could not be read", unread(whole.CPUNanos, whole.Limit))
}

// unread is 1 if one of the figures, none of which is ever zero on a machine that runs, could not be read.
func unread(figures ...uint64) float64 {
	if slices.Contains(figures, 0) {
		return 1
	}
	return 0
}

// wholeMachine is what the machine uses: the topmost control group of version 2 does not tell all of it.
func wholeMachine(tree *cgroup.Tree) cgroup.Usage {
	u, mem := tree.Usage(""), register.Meminfo()
	u.CPUNanos, u.Limit = cpuNanos(), mem["MemTotal"]
	u.Memory = mem["MemTotal"] - min(mem["MemFree"], mem["MemTotal"])
	u.WorkingSet = mem["MemTotal"] - min(mem["MemAvailable"], mem["MemTotal"])
	return u
}

func (x Cadvisor) pod(c *collection, p *v1.Pod) {
	s, uid := x.Source, string(p.UID)
	whole := identity{id: s.Cgroups.Pod(uid), namespace: p.Namespace, pod: p.Name}
	started := s.Start
	if p.Status.StartTime != nil {
		started = p.Status.StartTime.Time
	}
	c.group(s.Cgroups.Usage(whole.id), s.Cgroups.Detail(whole.id), whole, started)
	if path := s.NetNS(p); path != "" {
		c.network(path, whole)
	}
	for st := range running(p) {
		id := strings.TrimPrefix(st.ContainerID, "containerd://")
		who := identity{st.Name, s.Cgroups.Container(uid, id), st.Image, id, p.Namespace, p.Name}
		c.group(s.Cgroups.Usage(who.id), s.Cgroups.Detail(who.id), who, st.State.Running.StartedAt.Time)
	}
}

package cgroup

import (
	"os"
	"strconv"
	"strings"
)

// Detail is what of a group is of interest to dashboards beyond its Usage.
type Detail struct {
	UserNanos, SystemNanos                  uint64
	Periods, Throttled, ThrottledNanos      uint64 // of the CPU quota
	Cache, Swap, MappedFile, Peak, Failures uint64 // bytes; Failures counts how often the limit was met
	ReadBytes, WriteBytes, Reads, Writes    uint64 // of block devices
	Shares, Quota, Period                   uint64 // as set; Quota 0 is none
}

// userTick is the unit of cpuacct.stat, in nanoseconds: USER_HZ is 100 on every architecture that Go runs on.
const userTick = 10_000_000

// Detail reads more of the group at path; zero where a controller or the group is missing.
func (t *Tree) Detail(path string) Detail {
	if t.Unified() {
		return t.unifiedDetail(t.unified + path)
	}
	var d Detail
	if dir, ok := t.dir("cpuacct", path); ok {
		s := table(dir + "/cpuacct.stat")
		d.UserNanos, d.SystemNanos = s["user"]*userTick, s["system"]*userTick
	}
	if dir, ok := t.dir("cpu", path); ok {
		s := table(dir + "/cpu.stat")
		d.Periods, d.Throttled, d.ThrottledNanos = s["nr_periods"], s["nr_throttled"], s["throttled_time"]
		d.Shares, d.Quota, d.Period = number(dir+"/cpu.shares"), number(dir+"/cpu.cfs_quota_us"), number(dir+"/cpu.cfs_period_us")
	}
	if dir, ok := t.dir("memory", path); ok {
		s := table(dir + "/memory.stat")
		d.Cache, d.Swap, d.MappedFile = s["total_cache"], s["total_swap"], s["total_mapped_file"]
		d.Peak, d.Failures = number(dir+"/memory.max_usage_in_bytes"), number(dir+"/memory.failcnt")
	}
	if dir, ok := t.dir("blkio", path); ok {
		d.ReadBytes, d.WriteBytes = readsAndWrites(dir + "/blkio.throttle.io_service_bytes")
		d.Reads, d.Writes = readsAndWrites(dir + "/blkio.throttle.io_serviced")
	}
	return d
}

func (t *Tree) unifiedDetail(dir string) Detail {
	cpu, memory := table(dir+"/cpu.stat"), table(dir+"/memory.stat")
	d := Detail{
		UserNanos: cpu["user_usec"] * 1000, SystemNanos: cpu["system_usec"] * 1000,
		Periods: cpu["nr_periods"], Throttled: cpu["nr_throttled"], ThrottledNanos: cpu["throttled_usec"] * 1000,
		Cache: memory["file"], MappedFile: memory["file_mapped"], Swap: number(dir + "/memory.swap.current"), Peak: number(dir + "/memory.peak"),
		Failures: table(dir + "/memory.events")["max"],
	}
	if weight := number(dir + "/cpu.weight"); weight > 0 {
		d.Shares = 2 + (weight-1)*262142/9999
	}
	limit, _ := os.ReadFile(dir + "/cpu.max")
	if f := strings.Fields(string(limit)); len(f) == 2 {
		d.Quota, _ = strconv.ParseUint(f[0], 10, 64) // "max" is none
		d.Period, _ = strconv.ParseUint(f[1], 10, 64)
	}
	// "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0", a line per device
	io, _ := os.ReadFile(dir + "/io.stat")
	for word := range strings.FieldsSeq(string(io)) {
		k, v, _ := strings.Cut(word, "=")
		n, _ := strconv.ParseUint(v, 10, 64)
		switch k {
		case "rbytes":
			d.ReadBytes += n
		case "wbytes":
			d.WriteBytes += n
		case "rios":
			d.Reads += n
		case "wios":
			d.Writes += n
		}
	}
	return d
}

// readsAndWrites sums up a file of lines "8:0 Read 1", one per device and operation.
func readsAndWrites(file string) (reads, writes uint64) {
	b, _ := os.ReadFile(file)
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		n, _ := strconv.ParseUint(f[2], 10, 64)
		switch f[1] {
		case "Read":
			reads += n
		case "Write":
			writes += n
		}
	}
	return reads, writes
}

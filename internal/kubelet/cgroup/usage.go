package cgroup

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Usage of a group and everything below it.
type Usage struct {
	CPUNanos                                    uint64 // since the group was made
	Memory, WorkingSet, RSS, Limit              uint64 // bytes; WorkingSet is without file pages that can be dropped at once
	PageFaults, MajorPageFaults, PIDs, OOMKills uint64
}

// Usage reads what the group at path (see Pod and Container) uses; zero where a controller or the group is missing.
func (t *Tree) Usage(path string) Usage {
	var u Usage
	inactive := uint64(0)
	if t.Unified() {
		d := t.unified + path
		u.CPUNanos = table(d + "/cpu.stat")["usage_usec"] * 1000
		u.Memory, u.Limit, u.PIDs = number(d+"/memory.current"), number(d+"/memory.max"), number(d+"/pids.current")
		m := table(d + "/memory.stat")
		u.RSS, inactive, u.PageFaults, u.MajorPageFaults = m["anon"], m["inactive_file"], m["pgfault"], m["pgmajfault"]
		u.OOMKills = table(d + "/memory.events")["oom_kill"]
	} else {
		if d, ok := t.dir("cpuacct", path); ok {
			u.CPUNanos = number(d + "/cpuacct.usage")
		}
		if d, ok := t.dir("memory", path); ok {
			u.Memory, u.Limit = number(d+"/memory.usage_in_bytes"), number(d+"/memory.limit_in_bytes")
			m := table(d + "/memory.stat")
			u.RSS, inactive, u.PageFaults, u.MajorPageFaults = m["total_rss"], m["total_inactive_file"], m["total_pgfault"], m["total_pgmajfault"]
			u.OOMKills = table(d + "/memory.oom_control")["oom_kill"]
		}
		if d, ok := t.dir("pids", path); ok {
			u.PIDs = number(d + "/pids.current")
		}
	}
	u.WorkingSet = u.Memory - min(u.Memory, inactive)
	return u
}

// OOMKilled says whether the kernel killed a process of the container for want of memory. It is asked when the container has ended and
// before it is deleted, while its group is still there: the runtime's own OOM event may come after the exit, or be lost with the daemon.
func (t *Tree) OOMKilled(uid, id string) bool {
	p := t.Container(uid, id)
	if t.Unified() {
		return table(t.unified + p + "/memory.events")["oom_kill"] > 0
	}
	d, ok := t.dir("memory", p)
	return ok && table(filepath.Join(d, "memory.oom_control"))["oom_kill"] > 0
}

// number reads a file that holds one number; "max" and a missing file are 0.
func number(file string) uint64 {
	b, _ := os.ReadFile(file)
	n, _ := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	return n
}

// table reads a file of lines "key number".
func table(file string) map[string]uint64 {
	b, _ := os.ReadFile(file)
	out := map[string]uint64{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), " "); ok {
			out[k], _ = strconv.ParseUint(v, 10, 64)
		}
	}
	return out
}

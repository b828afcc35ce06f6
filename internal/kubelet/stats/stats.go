package stats

import (
	"bufio"
	"bytes"
	"iter"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
)

// Source is what the figures are of.
type Source struct {
	Node    string
	DataDir string // on the disk that Pods write to
	Cgroups *cgroup.Tree
	Pods    func() []*v1.Pod
	// NetNS gives the path of a Pod's network namespace; empty for one on the host's.
	NetNS func(pod *v1.Pod) string
	// Volumes gives the figures of the volumes of a Pod's claims; nil for none.
	Volumes func(pod *v1.Pod) []statsv1.VolumeStats
	Start   time.Time

	mu   sync.Mutex
	last map[string]reading
}

// reading of a processor time.
type reading struct {
	at    time.Time
	nanos uint64
	rate  uint64 // nanoseconds a second, since the reading before
}

// minInterval is how far apart two readings must be for a rate to mean anything.
const minInterval = 500 * time.Millisecond

// rate gives how much of a processor key uses at present, in billionths; nil before there are two readings.
func (s *Source) rate(key string, nanos uint64, now time.Time) *uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[string]reading{}
	}
	before, ok := s.last[key]
	if ok && now.Sub(before.at) < minInterval {
		return &before.rate
	}
	r := reading{at: now, nanos: nanos}
	if ok && nanos >= before.nanos {
		r.rate = uint64(float64(nanos-before.nanos) / now.Sub(before.at).Seconds())
	}
	s.last[key] = r
	if !ok {
		return nil
	}
	return &r.rate
}

// forget drops readings of groups that are gone.
func (s *Source) forget(seen map[string]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.last {
		if !seen[k] {
			delete(s.last, k)
		}
	}
}

// Summary gives the figures of the node and of every Pod that runs.
func (s *Source) Summary() *statsv1.Summary {
	now := time.Now()
	seen := map[string]bool{"": true}
	out := &statsv1.Summary{Node: s.node(now), Pods: []statsv1.PodStats{}}
	for _, pod := range s.Pods() {
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			continue
		}
		out.Pods = append(out.Pods, s.pod(pod, now, seen))
	}
	s.forget(seen)
	return out
}

func (s *Source) pod(pod *v1.Pod, now time.Time, seen map[string]bool) statsv1.PodStats {
	uid := string(pod.UID)
	p := statsv1.PodStats{PodRef: statsv1.PodReference{Name: pod.Name, Namespace: pod.Namespace, UID: uid}, Containers: []statsv1.ContainerStats{}}
	if pod.Status.StartTime != nil {
		p.StartTime = *pod.Status.StartTime
	}
	p.CPU, p.Memory, p.ProcessStats = s.group(s.Cgroups.Pod(uid), now, seen)
	for c := range running(pod) {
		cs := statsv1.ContainerStats{Name: c.Name, StartTime: c.State.Running.StartedAt}
		cs.CPU, cs.Memory, _ = s.group(s.Cgroups.Container(uid, strings.TrimPrefix(c.ContainerID, "containerd://")), now, seen)
		p.Containers = append(p.Containers, cs)
	}
	if path := s.NetNS(pod); path != "" {
		p.Network = network(path, now)
	}
	if s.Volumes != nil {
		p.VolumeStats = s.Volumes(pod)
	}
	return p
}

// running gives a Pod's containers that run, of every kind.
func running(pod *v1.Pod) iter.Seq[*v1.ContainerStatus] {
	return func(yield func(*v1.ContainerStatus) bool) {
		for _, list := range [][]v1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses, pod.Status.EphemeralContainerStatuses} {
			for i := range list {
				if list[i].State.Running != nil && !yield(&list[i]) {
					return
				}
			}
		}
	}
}

func (s *Source) group(path string, now time.Time, seen map[string]bool) (*statsv1.CPUStats, *statsv1.MemoryStats, *statsv1.ProcessStats) {
	u := s.Cgroups.Usage(path)
	seen[path] = true
	at := metav1.NewTime(now)
	m := &statsv1.MemoryStats{Time: at, UsageBytes: &u.Memory, WorkingSetBytes: &u.WorkingSet, RSSBytes: &u.RSS, PageFaults: &u.PageFaults, MajorPageFaults: &u.MajorPageFaults}
	if u.Limit > 0 && u.Limit < unlimited {
		available := u.Limit - min(u.Limit, u.WorkingSet)
		m.AvailableBytes = &available
	}
	return &statsv1.CPUStats{Time: at, UsageCoreNanoSeconds: &u.CPUNanos, UsageNanoCores: s.rate(path, u.CPUNanos, now)}, m, &statsv1.ProcessStats{ProcessCount: &u.PIDs}
}

func (s *Source) node(now time.Time) statsv1.NodeStats {
	at := metav1.NewTime(now)
	mem := register.Meminfo()
	available := mem["MemAvailable"]
	used := mem["MemTotal"] - mem["MemFree"]
	working := mem["MemTotal"] - min(available, mem["MemTotal"])
	cpu := cpuNanos()
	n := statsv1.NodeStats{
		NodeName: s.Node, StartTime: metav1.NewTime(s.Start),
		CPU:     &statsv1.CPUStats{Time: at, UsageCoreNanoSeconds: &cpu, UsageNanoCores: s.rate("", cpu, now)},
		Memory:  &statsv1.MemoryStats{Time: at, AvailableBytes: &available, UsageBytes: &used, WorkingSetBytes: &working},
		Network: network("", now),
	}
	var st unix.Statfs_t
	if unix.Statfs(s.DataDir, &st) == nil {
		size := uint64(st.Bsize)
		total, free, taken := st.Blocks*size, st.Bavail*size, (st.Blocks-st.Bfree)*size
		n.Fs = &statsv1.FsStats{Time: at, CapacityBytes: &total, AvailableBytes: &free, UsedBytes: &taken, Inodes: &st.Files, InodesFree: &st.Ffree}
		n.Runtime = &statsv1.RuntimeStats{ImageFs: n.Fs, ContainerFs: n.Fs}
	}
	return n
}

// ticks a second of the times in /proc/stat: USER_HZ, which is 100 on every architecture that Go runs on.
const ticks = 100

// cpuNanos is the time that all processors of the machine have worked: proc(5), /proc/stat.
func cpuNanos() uint64 {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	sum := uint64(0)
	for i, f := range strings.Fields(line) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // its name; idle and waiting for disks; guests, which are counted in user
			continue
		}
		n, _ := strconv.ParseUint(f, 10, 64)
		sum += n
	}
	return sum * (1e9 / ticks)
}

// network reads the counters of a network namespace's interfaces; empty is this process's own.
func network(path string, now time.Time) *statsv1.NetworkStats {
	var text []byte
	read := func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/dev")
		return err
	}
	var err error
	if path == "" {
		err = read()
	} else {
		err = namespaces.InNet(path, read)
	}
	if err != nil {
		return nil
	}
	out := &statsv1.NetworkStats{Time: metav1.NewTime(now)}
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		name, rest, ok := strings.Cut(sc.Text(), ":")
		f := strings.Fields(rest)
		if name = strings.TrimSpace(name); !ok || name == "lo" || len(f) < 11 {
			continue
		}
		num := func(i int) *uint64 { n, _ := strconv.ParseUint(f[i], 10, 64); return &n }
		i := statsv1.InterfaceStats{Name: name, RxBytes: num(0), RxErrors: num(2), TxBytes: num(8), TxErrors: num(10)}
		if name == "eth0" || out.Name == "" {
			out.InterfaceStats = i
		}
		out.Interfaces = append(out.Interfaces, i)
	}
	return out
}

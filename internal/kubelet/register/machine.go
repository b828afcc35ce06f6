package register

import (
	"bufio"
	"bytes"
	"cmp"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// MaxPods is how many Pods a node takes; it is upstream's default and fits the addresses of one /24.
const MaxPods = 110

// Capacity is what the machine has. dir is on the disk that Pods write to.
func Capacity(dir string) v1.ResourceList {
	out := v1.ResourceList{
		v1.ResourceCPU:    *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI),
		v1.ResourceMemory: *resource.NewQuantity(int64(Meminfo()["MemTotal"]), resource.BinarySI),
		v1.ResourcePods:   *resource.NewQuantity(MaxPods, resource.DecimalSI),
	}
	for size, pages := range hugePages(hugePagesDir) {
		q := resource.NewQuantity(size, resource.BinarySI)
		out[v1.ResourceName(v1.ResourceHugePagesPrefix+q.String())] = *resource.NewQuantity(size*pages, resource.BinarySI)
	}
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) == nil {
		out[v1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(st.Blocks)*st.Bsize, resource.BinarySI)
	}
	return out
}

// hugePagesDir is where the kernel tells of them: Documentation/admin-guide/mm/hugetlbpage.rst.
const hugePagesDir = "/sys/kernel/mm/hugepages"

// hugePages gives how many pages there are of each size in bytes that the kernel has, from a directory with one such as hugepages-2048kB each.
func hugePages(dir string) map[int64]int64 {
	entries, _ := os.ReadDir(dir) // a kernel without them has none
	out := map[int64]int64{}
	for _, e := range entries {
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimPrefix(e.Name(), "hugepages-"), "kB"), 10, 64)
		if err != nil {
			continue
		}
		out[kib<<10], _ = strconv.ParseInt(firstLine(filepath.Join(dir, e.Name(), "nr_hugepages")), 10, 64)
	}
	return out
}

// Meminfo reads /proc/meminfo, in bytes.
func Meminfo() map[string]uint64 {
	b, _ := os.ReadFile("/proc/meminfo")
	out := map[string]uint64{}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) >= 2 {
			n, _ := strconv.ParseUint(f[1], 10, 64)
			out[strings.TrimSuffix(f[0], ":")] = n << 10
		}
	}
	return out
}

func firstLine(file string) string {
	b, _ := os.ReadFile(file)
	line, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(line)
}

// info describes the machine and the software on it.
func info(containerd, release string) v1.NodeSystemInfo {
	var u unix.Utsname
	unix.Uname(&u) // fails only for a bad address
	return v1.NodeSystemInfo{
		MachineID:               firstLine("/etc/machine-id"),
		SystemUUID:              strings.ToLower(cmp.Or(firstLine("/sys/class/dmi/id/product_uuid"), firstLine("/etc/machine-id"))),
		BootID:                  firstLine("/proc/sys/kernel/random/boot_id"),
		KernelVersion:           unix.ByteSliceToString(u.Release[:]),
		OSImage:                 osImage(),
		ContainerRuntimeVersion: "containerd://" + strings.TrimPrefix(containerd, "v"),
		KubeletVersion:          release,
		OperatingSystem:         goruntime.GOOS,
		Architecture:            goruntime.GOARCH,
	}
}

// osImage is the name that the distribution gives itself: os-release(5).
func osImage() string {
	b, _ := os.ReadFile("/etc/os-release")
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return "Linux"
}

// Processes counts those of the machine and how many there may be: the numbers behind PIDPressure.
func Processes() (have, limit int) {
	f := strings.Fields(firstLine("/proc/loadavg")) // "… … … running/all last"
	if len(f) > 3 {
		_, all, _ := strings.Cut(f[3], "/")
		have, _ = strconv.Atoi(all)
	}
	limit, _ = strconv.Atoi(firstLine("/proc/sys/kernel/pid_max"))
	if threads, err := strconv.Atoi(firstLine("/proc/sys/kernel/threads-max")); err == nil {
		limit = min(limit, threads)
	}
	return have, limit
}

// HugePageSizes are the sizes of huge pages that the kernel has, in bytes, the smallest first.
func HugePageSizes() []int64 { return slices.Sorted(maps.Keys(hugePages(hugePagesDir))) }

package resident

import (
	"math"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// memory is how much this process may use: the machine's, or less where a control group that it is in has a limit.
func memory() uint64 {
	total := uint64(math.MaxUint64)
	var s unix.Sysinfo_t
	if err := unix.Sysinfo(&s); err == nil {
		total = s.Totalram * uint64(s.Unit)
	}
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return total // a kernel without control groups
	}
	return min(total, groupLimit("/sys/fs/cgroup", string(groups)))
}

// groupLimit is the lowest limit of the control groups that a process is in (cgroups(7): a line each, ID:CONTROLLERS:PATH, without controllers for version 2) and of those
// above them. In a container that is shown its own groups as the root the paths may be those outside, which are not there: then the root's limit is what counts.
func groupLimit(root, groups string) uint64 {
	lowest := uint64(math.MaxUint64)
	for line := range strings.Lines(groups) {
		fields := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(fields) != 3 {
			continue
		}
		dir, file := root, "memory.max"
		if fields[1] != "" {
			if dir, file = filepath.Join(root, "memory"), "memory.limit_in_bytes"; !strings.Contains(","+fields[1]+",", ",memory,") {
				continue
			}
		}
		for at := path.Clean("/" + fields[2]); ; at = path.Dir(at) {
			text, err := os.ReadFile(filepath.Join(dir, at, file))
			if n, bad := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil && bad == nil {
				lowest = min(lowest, n) // "max" is none
			}
			if at == "/" {
				break
			}
		}
	}
	return lowest
}

package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Tree is the node's part of the machine's control groups.
type Tree struct {
	root    string // below each hierarchy's mount point, such as /gitopsd
	unified string // mount point of the v2 hierarchy, if that is the one in use
	legacy  map[string]string
	mounts  []string // of all hierarchies: runc makes groups in each, also those that have no controller
}

// Open finds the hierarchies and makes root in them. root is absolute and as runc sees it: relative to the mount points.
func Open(root string) (*Tree, error) {
	t := &Tree{root: filepath.Clean("/" + root), legacy: map[string]string{}}
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("finding control groups: %w", err)
	}
	defer f.Close()
	unified := ""
	for s := bufio.NewScanner(f); s.Scan(); {
		// "36 35 98:0 /root /mount/point rw,noatime shared:1 - type source super,options", proc(5)
		before, after, ok := strings.Cut(s.Text(), " - ")
		fields, tail := strings.Fields(before), strings.Fields(after)
		if !ok || len(fields) < 5 || len(tail) < 3 {
			continue
		}
		switch tail[0] {
		case "cgroup2":
			unified = fields[4]
			t.mounts = append(t.mounts, unified)
		case "cgroup":
			t.mounts = append(t.mounts, fields[4])
			for o := range strings.SplitSeq(tail[2], ",") {
				if slices.Contains(controllers, o) {
					t.legacy[o] = fields[4]
				}
			}
		}
	}
	if len(t.legacy) == 0 {
		t.unified = unified
	}
	if t.unified == "" && t.legacy["memory"] == "" {
		return nil, errors.New("no control groups with a memory controller are mounted under /sys/fs/cgroup; mount cgroup v2 (or v1) there. " +
			"`ip netns exec` hides them behind a new /sys: use `nsenter --net=…` to start a node in a network namespace")
	}
	if err := t.make(t.root); err != nil {
		return nil, fmt.Errorf("making the node's control group %s: %w", t.root, err)
	}
	return t, nil
}

// controllers are those that a Pod's group is made in ahead of its containers; runc adds the rest as it needs them.
var controllers = []string{"cpu", "cpuacct", "memory", "pids", "cpuset", "blkio", "devices", "freezer", "hugetlb", "net_cls", "net_prio", "perf_event"}

// Unified says whether this is cgroup v2.
func (t *Tree) Unified() bool { return t.unified != "" }

// Pod is the path of a Pod's group and Container that of one of its containers, as runc wants them.
func (t *Tree) Pod(uid string) string           { return t.root + "/pod" + uid }
func (t *Tree) Container(uid, id string) string { return t.Pod(uid) + "/" + id }

// Limits of a Pod as a whole; zero means none.
type Limits struct {
	MilliCPU, MilliCPULimit int64 // requested, allowed
	Memory                  int64 // bytes allowed
	PIDs                    int64
}

// Union is what has room for both.
func (l Limits) Union(o Limits) Limits {
	wider := func(a, b int64) int64 {
		if a == 0 || b == 0 {
			return 0
		}
		return max(a, b)
	}
	return Limits{
		MilliCPU: max(l.MilliCPU, o.MilliCPU), MilliCPULimit: wider(l.MilliCPULimit, o.MilliCPULimit),
		Memory: wider(l.Memory, o.Memory), PIDs: wider(l.PIDs, o.PIDs),
	}
}

// orNone is how the kernel is told a limit: its value, or the word for none.
func orNone(limit, value int64, none string) any {
	if limit == 0 {
		return none
	}
	return value
}

// CFSPeriod is the period of CPU quotas, the kernel's default of 100 ms.
const CFSPeriod = 100_000

// Shares gives cgroup v1's cpu.shares for a request, Weight the v2 cpu.weight that runc derives from it (KEP-2254), Quota the v1 quota.
func Shares(milli int64) uint64 { return uint64(min(max(milli*1024/1000, 2), 262144)) }
func Weight(shares uint64) uint64 {
	return 1 + (shares-2)*9999/262142
}
func Quota(milli int64) int64 { return max(milli*CFSPeriod/1000, 1000) }

// InUse is a limit of memory that is met already and was therefore not set: the kernel would kill for it.
type InUse struct{ Limit, Used int64 }

func (e *InUse) Error() string {
	return fmt.Sprintf("attempting to set pod memory limit (%d) below current usage (%d)", e.Limit, e.Used)
}

// Setup makes a Pod's group and sets its limits; it may be repeated. All but a limit of memory that is InUse are set then, too.
func (t *Tree) Setup(uid string, l Limits) error {
	p := t.Pod(uid)
	if err := t.make(p); err != nil {
		return fmt.Errorf("making control group %s: %w", p, err)
	}
	return t.limit(p, l)
}

// LimitAll sets the limits of all Pods together.
func (t *Tree) LimitAll(l Limits) error { return t.limit(t.root, l) }

// Has says whether the kernel has a controller here.
func (t *Tree) Has(controller string) bool {
	if !t.Unified() {
		return t.legacy[controller] != ""
	}
	b, _ := os.ReadFile(t.unified + "/cgroup.controllers")
	return slices.Contains(strings.Fields(string(b)), controller)
}

func (t *Tree) limit(p string, l Limits) error {
	type setting struct{ controller, file, value string }
	var set []setting
	add := func(controller, file string, value any) {
		set = append(set, setting{controller, file, fmt.Sprint(value)})
	}
	shares := Shares(l.MilliCPU)
	inUse := t.inUse(p, l.Memory)
	if t.Unified() {
		add("cpu", "cpu.weight", Weight(shares))
		add("cpu", "cpu.max", fmt.Sprintf("%v %d", orNone(l.MilliCPULimit, Quota(l.MilliCPULimit), "max"), CFSPeriod))
		add("memory", "memory.max", orNone(l.Memory, l.Memory, "max"))
		add("pids", "pids.max", orNone(l.PIDs, l.PIDs, "max"))
	} else {
		add("cpu", "cpu.shares", shares)
		add("cpu", "cpu.cfs_quota_us", orNone(l.MilliCPULimit, Quota(l.MilliCPULimit), "-1"))
		add("memory", "memory.limit_in_bytes", orNone(l.Memory, l.Memory, "-1"))
		add("pids", "pids.max", orNone(l.PIDs, l.PIDs, "max"))
	}
	for _, s := range set {
		dir, ok := t.dir(s.controller, p)
		if !ok || inUse != nil && s.controller == "memory" {
			continue // a kernel without this controller; the node says so in its conditions, not in every Pod
		}
		if err := write(filepath.Join(dir, s.file), s.value); err != nil {
			return fmt.Errorf("limiting control group %s: %w", p, err)
		}
	}
	if inUse != nil {
		return inUse
	}
	return nil
}

// inUse says whether a limit of memory would be lowered to what is used already, or below; 0 is none.
func (t *Tree) inUse(p string, limit int64) *InUse {
	u := t.Usage(p)
	if limit == 0 || u.Memory < uint64(limit) || u.Limit != 0 && u.Limit <= uint64(limit) {
		return nil
	}
	return &InUse{Limit: limit, Used: int64(u.Memory)}
}

// Remove removes a Pod's group with everything below it. Processes still in it make it fail.
func (t *Tree) Remove(uid string) error { return t.remove(t.Pod(uid)) }

// RemoveAll removes the node's own group.
func (t *Tree) RemoveAll() error { return t.remove(t.root) }

// Pods lists the UIDs that have a group.
func (t *Tree) Pods() []string {
	dir, ok := t.dir("memory", t.root)
	if !ok {
		return nil
	}
	entries, _ := os.ReadDir(dir)
	var out []string
	for _, e := range entries {
		if uid, ok := strings.CutPrefix(e.Name(), "pod"); ok && e.IsDir() {
			out = append(out, uid)
		}
	}
	return out
}

// Join puts a process into a Pod's group, in every hierarchy.
func (t *Tree) Join(uid string, pid int) error {
	for _, dir := range t.dirs(t.Pod(uid)) {
		if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("moving process %d to the Pod's control group: %w", pid, err)
		}
	}
	return nil
}

// PIDs lists the processes anywhere below a Pod's group.
func (t *Tree) PIDs(uid string) []int {
	dir, ok := t.dir("memory", t.Pod(uid))
	if !ok {
		return nil
	}
	var pids []int
	filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "cgroup.procs" {
			b, _ := os.ReadFile(path)
			for f := range strings.FieldsSeq(string(b)) {
				if n, err := strconv.Atoi(f); err == nil {
					pids = append(pids, n)
				}
			}
		}
		return nil
	})
	return pids
}

func (t *Tree) dir(controller, path string) (string, bool) {
	if t.Unified() {
		return t.unified + path, true
	}
	m, ok := t.legacy[controller]
	return m + path, ok
}

// dirs gives path in every hierarchy.
func (t *Tree) dirs(path string) []string {
	out := make([]string, 0, len(t.mounts))
	for _, m := range t.mounts {
		out = append(out, m+path)
	}
	return out
}

func (t *Tree) make(path string) error {
	if !t.Unified() {
		for _, c := range []string{"cpu", "memory", "pids"} {
			if dir, ok := t.dir(c, path); ok {
				if err := os.MkdirAll(dir, 0o755); err != nil {
					return err
				}
			}
		}
		return nil
	}
	// A v2 group may only use the controllers that each of its ancestors hands down.
	at := t.unified
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		available, err := os.ReadFile(at + "/cgroup.controllers")
		if err != nil {
			return err
		}
		for c := range strings.FieldsSeq(string(available)) {
			if err := write(at+"/cgroup.subtree_control", "+"+c); err != nil && slices.Contains([]string{"cpu", "memory", "pids"}, c) {
				return fmt.Errorf("handing down controller %s: %w", c, err)
			}
		}
		at += "/" + part
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// busyRetries bounds the wait for a group whose last process is dead but not yet reaped by the kernel; there is no event for that in v1.
const busyRetries = 50

func (t *Tree) remove(path string) error {
	var failed error
	for _, top := range t.dirs(path) {
		var below []string
		filepath.WalkDir(top, func(p string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				below = append(below, p)
			}
			return nil
		})
		for i := len(below) - 1; i >= 0; i-- {
			err := unix.Rmdir(below[i])
			for try := 0; err == unix.EBUSY && try < busyRetries; try++ {
				time.Sleep(2 * time.Millisecond)
				err = unix.Rmdir(below[i])
			}
			if err != nil && err != unix.ENOENT {
				failed = fmt.Errorf("removing control group %s: %w", below[i], err)
			}
		}
	}
	return failed
}

func write(file, value string) error {
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("writing %q: %w", value, err)
	}
	return nil
}

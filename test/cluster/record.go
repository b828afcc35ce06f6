package cluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// registryDir holds one folder per cluster on this machine. Its name starts every path of a Unix socket, of which the kernel takes 107
// characters, so it is short.
const registryDir = "/run/gitopsd-clusters"

// prefix starts the names of all namespaces and cgroups.
const prefix = "gitopsd-"

// record is all that must be known to remove a cluster. It is written before anything is made.
type record struct {
	ID  string `json:"id"`
	Dir string `json:"dir"`
	// Owner is the process whose end makes the cluster a leftover: the one that starts it, until it is up; after that none,
	// unless the cluster belongs to a test.
	Owner *Process `json:"owner,omitempty"`
	Hosts []Host   `json:"hosts"`
	// Processes by component.
	Processes map[string]Process `json:"processes"`
	Options   Options            `json:"options"`
}

// Host is one host of the cluster.
type Host struct {
	// Name is "cp" for the control plane and the node's name for a worker.
	Name string `json:"name"`
	// NetNS is the name of the host's network namespace.
	NetNS string `json:"netns"`
	IP    string `json:"ip"`
}

// Process is one process on this machine; a number that the kernel has given out again is told apart by the start time.
type Process struct {
	PID int `json:"pid"`
	// Start is when the process started, in clock ticks since boot (field 22 of /proc/<pid>/stat).
	Start uint64 `json:"start"`
}

func (r record) outer() string { return prefix + r.ID }

// cgroup is the cgroup that all of a worker's containers are below.
func (r record) cgroup(host string) string { return "/" + prefix + r.ID + "/" + host }

// short is the way to the cluster's folder in few characters.
func (r record) short() string { return filepath.Join(registryDir, r.ID, "d") }

func (r record) save() error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	file := filepath.Join(registryDir, r.ID, "cluster.json")
	if err := os.WriteFile(file+".tmp", data, 0o600); err != nil {
		return fmt.Errorf("record the cluster: %w", err)
	}
	if err := os.Rename(file+".tmp", file); err != nil {
		return fmt.Errorf("record the cluster: %w", err)
	}
	return nil
}

func loadRecord(id string) (record, error) {
	var r record
	file := filepath.Join(registryDir, id, "cluster.json")
	data, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// recorded lists the clusters on this machine. A folder without a record, made by a process that was killed at once, is listed too.
func recorded() ([]record, error) {
	entries, err := os.ReadDir(registryDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []record
	for _, e := range entries {
		r, err := loadRecord(e.Name())
		if errors.Is(err, fs.ErrNotExist) {
			r, err = record{ID: e.Name()}, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// processOf looks up a running process.
func processOf(pid int) (Process, bool) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, false
	}
	// The second field is the program's name in parentheses, which may hold anything.
	rest := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	const state, start = 0, 19 // of the fields after the second one
	if len(rest) <= start || rest[state] == "Z" {
		return Process{}, false
	}
	ticks, err := strconv.ParseUint(rest[start], 10, 64)
	return Process{PID: pid, Start: ticks}, err == nil
}

// Alive says whether this very process still runs.
func (p Process) Alive() bool {
	now, ok := processOf(p.PID)
	return ok && now == p
}

// kill ends this very process and waits until it is gone.
func (p Process) kill() error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	// The descriptor holds on to whatever process has the number now; only if that is the one meant does it die.
	if !p.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 10_000)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return err
		case n == 0:
			return fmt.Errorf("process %d does not end 10 s after it was killed: see /proc/%d/stack", p.PID, p.PID)
		default:
			return nil
		}
	}
}

package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/test/netns"
)

// Down removes every trace of the cluster: processes, containers, mounts, namespaces, cgroups, and what it made in its folder.
func (c *Cluster) Down() error { return c.remove(everything) }

type keep bool

const (
	everything keep = false
	keepLogs   keep = true
)

func (c *Cluster) remove(k keep) error {
	// All steps are tried, whatever came of the ones before; the record goes last, and only if nothing failed, so that it can be tried again.
	errs := []error{c.killAll(), unmountBelow(c.rec.Dir), removeShimSockets(c.rec.Dir)}
	for _, h := range c.rec.Hosts {
		errs = append(errs, removeCgroup(c.rec.cgroup(h.Name)), netns.Delete(netns.Path(h.NetNS)))
	}
	errs = append(errs, removeCgroup("/"+prefix+c.rec.ID), netns.Delete(netns.Path(c.rec.outer())))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove the cluster in %s: %w", c.rec.Dir, err)
	}
	if c.rec.Dir != "" {
		for _, name := range append(c.folders(), "env", "cluster") {
			if k == keepLogs && name == "logs" {
				continue
			}
			if err := os.RemoveAll(filepath.Join(c.rec.Dir, name)); err != nil {
				return err
			}
		}
		_ = os.Remove(c.rec.Dir) // unless something else is in it
	}
	if err := os.RemoveAll(filepath.Join(registryDir, c.rec.ID)); err != nil {
		return err
	}
	_ = os.Remove(registryDir) // unless another cluster is there
	return nil
}

// killAll ends the recorded processes, and then whatever else runs on the hosts: containerd, shims, containers, in any order.
func (c *Cluster) killAll() error {
	var errs []error
	for _, p := range c.rec.Processes {
		errs = append(errs, p.kill())
	}
	// A process may start another while it is looked for, but not once it has been killed, so this ends.
	for {
		var list []Process
		for _, h := range c.rec.Hosts {
			inside, err := processesIn(netns.Path(h.NetNS))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
			list = append(list, inside...)
		}
		list = append(list, processesBelow("/"+prefix+c.rec.ID)...)
		if len(list) == 0 {
			return errors.Join(errs...)
		}
		for _, p := range list {
			if err := p.kill(); err != nil {
				return errors.Join(append(errs, err)...)
			}
		}
	}
}

// processesIn lists the processes whose network namespace is the one at path.
func processesIn(path string) ([]Process, error) {
	var want unix.Stat_t
	if err := unix.Stat(path, &want); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []Process
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		var st unix.Stat_t
		if unix.Stat(filepath.Join("/proc", e.Name(), "ns", "net"), &st) != nil || st.Ino != want.Ino || st.Dev != want.Dev {
			continue
		}
		if p, ok := processOf(pid); ok {
			out = append(out, p)
		}
	}
	return out, nil
}

// cgroupMounts lists where the cgroup hierarchies, of version 1 and 2, are mounted.
func cgroupMounts() []string {
	var out []string
	for _, m := range mounts() {
		if m.fstype == "cgroup" || m.fstype == "cgroup2" {
			out = append(out, m.path)
		}
	}
	return out
}

// processesBelow lists the processes of a cgroup and all below it.
func processesBelow(cgroup string) []Process {
	seen := map[int]bool{}
	var out []Process
	for _, mount := range cgroupMounts() {
		_ = filepath.WalkDir(filepath.Join(mount, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Name() != "cgroup.procs" {
				return nil // it is gone already, or no list
			}
			data, _ := os.ReadFile(path)
			for line := range strings.FieldsSeq(string(data)) {
				pid, err := strconv.Atoi(line)
				if p, ok := processOf(pid); err == nil && ok && !seen[pid] {
					seen[pid] = true
					out = append(out, p)
				}
			}
			return nil
		})
	}
	return out
}

// removeCgroup removes a cgroup and all below it, in every hierarchy. They are folders whose files need not, and cannot, be removed.
func removeCgroup(cgroup string) error {
	for _, mount := range cgroupMounts() {
		var dirs []string
		_ = filepath.WalkDir(filepath.Join(mount, cgroup), func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				dirs = append(dirs, path)
			}
			return nil
		})
		slices.Reverse(dirs)
		for _, dir := range dirs {
			// A process that was just killed leaves its cgroup a moment after it is gone.
			ctx, cancel := context.WithTimeout(context.Background(), removeTimeout)
			err := until(ctx, "the cgroup to be empty", func() error {
				if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
					return &fs.PathError{Op: "rmdir", Path: dir, Err: err}
				}
				return nil
			})
			cancel()
			if err != nil {
				return err
			}
		}
	}
	return nil
}

type mount struct{ path, fstype string }

func mounts() []mount {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer f.Close()
	var out []mount
	for lines := bufio.NewScanner(f); lines.Scan(); {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		fields := strings.Fields(before)
		if ok && len(fields) > 4 {
			fstype, _, _ := strings.Cut(after, " ")
			// A space in a path is written as an octal number.
			out = append(out, mount{strings.NewReplacer(`\040`, " ", `\011`, "\t", `\134`, `\`).Replace(fields[4]), fstype})
		}
	}
	return out
}

// unmountBelow takes away all mounts below a folder, the latest first.
func unmountBelow(dir string) error {
	if dir == "" {
		return nil
	}
	list := mounts()
	slices.Reverse(list)
	for _, m := range list {
		if !strings.HasPrefix(m.path, dir+"/") {
			continue
		}
		if err := unix.Unmount(m.path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmount %s: %w", m.path, err)
		}
	}
	return nil
}

// removeShimSockets removes the sockets that containerd's shims listen on: they are not below the cluster's folder, but each shim's
// folder there holds a file with the socket's name.
func removeShimSockets(dir string) error {
	if dir == "" {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return nil // removed meanwhile
		}
		if d.IsDir() && (d.Name() == "io.containerd.snapshotter.v1.overlayfs" || d.Name() == "io.containerd.content.v1.content") {
			return fs.SkipDir // large, and without shims
		}
		if d.Name() != "address" || d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		socket, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "unix://")
		if ok && strings.HasPrefix(socket, "/run/containerd/s/") {
			if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

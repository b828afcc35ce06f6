package namespaces

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gitopsd/gitopsd/internal/kubelet/userns"
)

// User is the name of the file that holds a Pod's user namespace, in its namespace directory.
const User = "user"

// HoldUsers mounts in dir a new user namespace for the IDs, and the other namespaces with it: what a Pod may do to its network or its host name depends on which
// user namespace those belong to, and that is the one that they were made in. With command there is a PID namespace too, held as by HoldPID.
func HoldUsers(dir, hostname string, ids userns.Range, command ...string) error {
	if err := Release(dir); err != nil { // half of a set, left by a crash
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	names := []string{User, Net, IPC, UTS}
	flags := uintptr(unix.CLONE_NEWUSER | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS)
	if len(command) > 0 {
		names = append(names, PID)
		flags |= unix.CLONE_NEWPID | unix.CLONE_NEWNS
	}
	err := withProcess(dir, ids, flags, command, func(pid int) error {
		for _, name := range names {
			ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/%s", pid, name))
			if err != nil {
				return err
			}
			err = bind(ns, filepath.Join(dir, name))
			ns.Close()
			if err != nil {
				return err
			}
		}
		if len(command) > 0 {
			return os.WriteFile(filepath.Join(dir, holderFile), []byte(strconv.Itoa(pid)), 0o600)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("making a user namespace for the IDs from %d on: %w", ids.First, err)
	}
	uts, err := os.Open(filepath.Join(dir, UTS))
	if err != nil {
		return err
	}
	defer uts.Close()
	if err := setHostname(uts, hostname); err != nil {
		return fmt.Errorf("setting the host name %q: %w", hostname, err)
	}
	return InNet(filepath.Join(dir, Net), openUp)
}

// HeldUsers says whether dir holds a set with a user namespace that is alive; with pid, also the process that a shared PID namespace lives by.
func HeldUsers(dir string, pid bool) bool {
	if !Held(dir) || !mounted(filepath.Join(dir, User)) {
		return false
	}
	_, live := holder(dir)
	return !pid || live && mounted(filepath.Join(dir, PID))
}

// Secluded tells the program that holds a PID namespace that its mount namespace is its own, and that it is to call Seclude.
const Secluded = "secluded"

// Seclude leaves this process without any file of the host: a container whose root may trace other processes of its Pod gets at nothing through it.
func Seclude() error {
	const empty = "/proc" // a directory that is there everywhere
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("leaving the host's files: %w", err)
	}
	if err := unix.Mount("none", empty, "tmpfs", unix.MS_RDONLY, "size=4k"); err != nil {
		return fmt.Errorf("leaving the host's files: mounting an empty file system: %w", err)
	}
	if err := os.Chdir(empty); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("leaving the host's files: %w", err)
	}
	// What was the root lies above the new one now.
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the host's files: %w", err)
	}
	return os.Chdir("/")
}

// withProcess has f look at a process in new namespaces. With a command the process runs it and lives on; without, it is stopped before it runs
// anything, and ends with f.
func withProcess(dir string, ids userns.Range, flags uintptr, command []string, f func(pid int) error) error {
	// A tracer is a thread, not a process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ids32 := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(ids.First), Size: int(ids.Size)}}
	cmd := &exec.Cmd{
		// By its link in /proc: the Pod's root may not enter the directories that lead to the program.
		Path: "/proc/self/exe", Args: []string{"node"}, Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{
			Setsid: true, Cloneflags: flags, UidMappings: ids32, GidMappings: ids32, GidMappingsEnableSetgroups: true,
			// As the Pod's root, so that it has no more rights than that wherever a container may see it.
			Credential: &syscall.Credential{},
			Ptrace:     len(command) == 0,
		},
	}
	if len(command) > 0 {
		cmd.Args = append(slices.Clone(command), dir, Secluded)
	}
	if err := cmd.Start(); err != nil {
		if errors.Is(err, unix.EACCES) {
			return fmt.Errorf("%w; the node's program must be one that anybody may execute (chmod a+rx)", err)
		}
		return err
	}
	err := f(cmd.Process.Pid)
	if len(command) == 0 || err != nil {
		cmd.Process.Kill()
		cmd.Wait()
		return err
	}
	go cmd.Wait()
	return nil
}

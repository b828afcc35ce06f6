package namespaces

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// HoldPID starts a process that is the first of a new PID namespace and reaps what is orphaned in it, mounts the namespace at dir/pid,
// and gives the process's number. command is the program that calls Reap. A live one is kept.
func HoldPID(dir string, command ...string) (pid int, err error) {
	if pid, ok := holder(dir); ok && mounted(filepath.Join(dir, PID)) {
		return pid, nil
	}
	releasePID(dir)
	cmd := exec.Command(command[0], append(command[1:], dir)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: unix.CLONE_NEWPID}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("starting the process that holds the Pod's PID namespace: %w", err)
	}
	go cmd.Wait()
	pid = cmd.Process.Pid
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/pid", pid))
	if err != nil {
		return 0, fmt.Errorf("the process that holds the Pod's PID namespace ended at once: %w", err)
	}
	defer ns.Close()
	if err := bind(ns, filepath.Join(dir, PID)); err != nil {
		return 0, err
	}
	return pid, os.WriteFile(filepath.Join(dir, holderFile), []byte(strconv.Itoa(pid)), 0o600)
}

const holderFile = "holder.pid"

// holder finds the live holder of dir; its arguments name dir, so a number that went to another process is not mistaken for it.
func holder(dir string) (int, bool) {
	b, err := os.ReadFile(filepath.Join(dir, holderFile))
	if err != nil {
		return 0, false
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		return 0, false
	}
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return pid, err == nil && strings.Contains(string(args), dir)
}

// releasePID ends the holder, and with it every process of its namespace.
func releasePID(dir string) {
	if pid, ok := holder(dir); ok {
		unix.Kill(pid, unix.SIGKILL)
	}
	os.Remove(filepath.Join(dir, holderFile))
}

// Reap is the holder's whole life: it collects ended children until it is told to end.
func Reap(ctx context.Context) {
	child := make(chan os.Signal, 1)
	signal.Notify(child, unix.SIGCHLD)
	for {
		for {
			var ws unix.WaitStatus
			pid, err := unix.Wait4(-1, &ws, unix.WNOHANG, nil)
			if pid <= 0 && !errors.Is(err, unix.EINTR) {
				break
			}
		}
		select {
		case <-child:
		case <-ctx.Done():
			return
		}
	}
}

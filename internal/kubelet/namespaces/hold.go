package namespaces

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Names of the files in a Pod's namespace directory.
const (
	Net = "net"
	IPC = "ipc"
	UTS = "uts"
	PID = "pid"
)

// Held says whether dir holds a set of namespaces that is alive: after a reboot the files are there but nothing is mounted on them.
func Held(dir string) bool {
	for _, name := range []string{Net, IPC, UTS} {
		if !mounted(filepath.Join(dir, name)) {
			return false
		}
	}
	return true
}

func mounted(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// Hold mounts a new set of namespaces in dir and gives it the host name.
func (p *Pool) Hold(dir, hostname string) error {
	s, err := p.take()
	if err != nil {
		return err
	}
	defer s.close()
	if err := setHostname(s.uts, hostname); err != nil {
		return fmt.Errorf("setting the host name %q: %w", hostname, err)
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	for name, f := range map[string]*os.File{Net: s.net, IPC: s.ipc, UTS: s.uts} {
		if err := bind(f, filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func bind(ns *os.File, path string) error {
	release(path) // half of a set, left by a crash
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("holding namespace %s: %w", path, err)
	}
	return nil
}

// Release lets go of what dir holds; a namespace ends when its last process does. It may be repeated.
func Release(dir string) error {
	releasePID(dir)
	for _, name := range []string{Net, IPC, UTS, PID, User} {
		if err := release(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func release(path string) error {
	for mounted(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("letting go of namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// setHostname enters the UTS namespace on a thread that ends afterwards.
func setHostname(uts *os.File, name string) error {
	ch := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		err := unix.Setns(int(uts.Fd()), unix.CLONE_NEWUTS)
		if err == nil {
			err = unix.Sethostname([]byte(name))
		}
		ch <- err
	}()
	return <-ch
}

// InNet runs f on a thread that is in the network namespace held at path. Sockets that f makes stay in it; f must not start goroutines that make more.
func InNet(path string, f func() error) error {
	ch := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err == nil {
			err = unix.Setns(fd, unix.CLONE_NEWNET)
			unix.Close(fd)
		}
		if err != nil {
			ch <- fmt.Errorf("entering network namespace %s: %w", path, err)
			return
		}
		ch <- f()
	}()
	return <-ch
}

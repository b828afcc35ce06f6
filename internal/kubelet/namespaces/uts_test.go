package namespaces

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// withUTS runs f in a UTS namespace. The calling goroutine must end afterwards: its thread cannot be used for anything else.
func withUTS(path string, f func() error) error {
	runtime.LockOSThread()
	ns, err := os.Open(path)
	if err != nil {
		return err
	}
	defer ns.Close()
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWUTS); err != nil {
		return err
	}
	return f()
}

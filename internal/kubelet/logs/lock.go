package logs

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// lockName is the file that a collector holds locked for as long as it lives: two that read the same pipes would each get half of what is written.
const lockName = "lock"

// Lock keeps the stream directory for this process until it ends in whatever way.
func Lock(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log collector: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("log collector: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("log collector: another one reads %s: %w", dir, err)
	}
	return f, nil
}

// lockHeld says whether a collector lives.
func lockHeld(dir string) bool {
	f, err := os.Open(filepath.Join(dir, lockName))
	if err != nil {
		return false
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); err != nil {
		return true
	}
	// Closing alone does not let go: a program that is being started at this moment has the descriptor too until it is executed, and a collector that is
	// started next would find the lock held.
	unix.Flock(int(f.Fd()), unix.LOCK_UN)
	return false
}

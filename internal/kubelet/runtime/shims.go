package runtime

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// shimGrace is how long a shim without containers is given to end by itself: what containerd gives it when it asks it to.
const shimGrace = 3 * time.Second

// EndShims ends the shims of a Pod, all of whose containers must have been deleted. Those that containerd knows end by themselves and are only waited for.
//
// It may not know one. The shims of a Pod follow each other at one address (GroupAnnotation), and one that ends removes the socket's file without a look at whose
// it is by now. When the Pod's next container is created at that moment, its shim has been started and cannot be reached: containerd reports a failure, forgets it, and
// it would wait for its first request forever.
func (r *Runtime) EndShims(ctx context.Context, podUID string) error {
	listening, err := listeners(shimSocket(r.address, podUID))
	if err != nil {
		return fmt.Errorf("looking for the shims of Pod %s: %w", podUID, err)
	}
	if len(listening) == 0 {
		return nil
	}
	for _, pid := range shimsOf(r.address) {
		path, ok := holdsOne(pid, listening)
		if !ok {
			continue
		}
		if err := endShim(ctx, pid, path); err != nil {
			return fmt.Errorf("ending shim %d of Pod %s: %w", pid, podUID, err)
		}
	}
	return nil
}

func endShim(ctx context.Context, pid int, socket string) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err == unix.ESRCH {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	grace, cancel := context.WithTimeout(ctx, shimGrace)
	defer cancel()
	if waitDead(grace, fd) {
		return nil
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	slog.Warn("a shim has outlived the containers of its Pod; it is killed", "pid", pid)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && err != unix.ESRCH {
		return err
	}
	if !waitDead(ctx, fd) {
		return ctx.Err()
	}
	if err := os.Remove(socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// shimSocket is the name of the socket at which containerd's shims for a group listen, as they work it out: the directory differs from version to version.
func shimSocket(address, group string) string {
	sum := sha256.Sum256([]byte(filepath.Join(address, Namespace, group)))
	return hex.EncodeToString(sum[:])
}

// acceptsConnections is __SO_ACCEPTCON of linux/net.h, as /proc/net/unix shows it.
const acceptsConnections = "00010000"

// listeners gives the paths of the sockets of that name which are listened at, by what a descriptor of one reads as. The file need not be there any more.
func listeners(name string) (map[string]string, error) {
	b, err := os.ReadFile("/proc/net/unix")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(string(b)) {
		// Num RefCount Protocol Flags Type St Inode Path: proc_pid_net(5)
		if f := strings.Fields(line); len(f) == 8 && f[3] == acceptsConnections && filepath.Base(f[7]) == name {
			found["socket:["+f[6]+"]"] = f[7]
		}
	}
	return found, nil
}

// holdsOne says whether a process has one of the sockets open, and gives its path.
func holdsOne(pid int, sockets map[string]string) (path string, ok bool) {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		target, _ := os.Readlink(fd)
		if path, ok := sockets[target]; ok {
			return path, true
		}
	}
	return "", false
}

// shimsOf lists the shims that were started for the containerd at an address, which is in their arguments.
func shimsOf(address string) []int {
	var pids []int
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		args, err := os.ReadFile(p)
		if err != nil || !strings.Contains(string(args), "\x00-address\x00"+address+"\x00") {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(p))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

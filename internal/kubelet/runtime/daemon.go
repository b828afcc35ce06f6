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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Daemon is a containerd of the node's own: its root, state, socket and configuration lie in one directory.
//
// It is started in a session of its own, so it and the containers outlive the node daemon; a new node daemon finds it by its PID file
// and goes on with it. When it dies it is started again; the shims keep the containers running meanwhile.
type Daemon struct {
	dir  string
	sock string
}

// maxSocket is how long a path may be for a Unix socket to be bound to it, less room for containerd's own ".ttrpc": sockaddr_un, unix(7).
const maxSocket = 107 - len(".ttrpc")

// NewDaemon makes a Daemon that keeps everything in dir.
func NewDaemon(dir string) *Daemon {
	d := &Daemon{dir: dir, sock: filepath.Join(dir, "containerd.sock")}
	if len(d.sock) > maxSocket {
		sum := sha256.Sum256([]byte(dir))
		d.sock = "/run/gitopsd-" + hex.EncodeToString(sum[:6]) + "/containerd.sock"
	}
	return d
}

// Address is where the daemon listens.
func (d *Daemon) Address() string { return d.sock }

func (d *Daemon) config() string  { return filepath.Join(d.dir, "config.toml") }
func (d *Daemon) pidFile() string { return filepath.Join(d.dir, "containerd.pid") }
func (d *Daemon) log() string     { return filepath.Join(d.dir, "containerd.log") }

// The plugins left out are for other hosts (CRI for the kubelet, snapshotters for other file systems); each costs start time and memory.
const configText = `# Written by node at each start.
version = 2
root = %q
state = %q
oom_score = 0
disabled_plugins = [
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.podsandbox.controller.v1.podsandbox",
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.erofs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt",
]
[grpc]
  address = %q
[debug]
  level = "warn"
[plugins."io.containerd.gc.v1.scheduler"]
  startup_delay = "10s"
`

// ErrNoContainerd says that there is no containerd to start.
var ErrNoContainerd = errors.New("containerd is not installed")

// Installed says what is missing of the programs that a daemon of the node's own needs.
func Installed() error {
	for _, program := range []string{"containerd", "runc"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%w: no program %s in PATH (%s); install it (Debian: apt-get install containerd runc) or name a running containerd with --containerd-address", ErrNoContainerd, program, os.Getenv("PATH"))
		}
	}
	return nil
}

// Run keeps the daemon running until ctx ends, and leaves it running then. up is called each time it has been started or found.
func (d *Daemon) Run(ctx context.Context, up func()) error {
	if err := Installed(); err != nil {
		return err
	}
	binary, err := exec.LookPath("containerd")
	if err != nil {
		return err
	}
	delay := time.Duration(0)
	for ctx.Err() == nil {
		pid, fd := d.running()
		if fd < 0 {
			if pid, fd, err = d.start(binary); err != nil {
				return err
			}
		} else {
			slog.Info("going on with the containerd that is running", "pid", pid)
		}
		began := time.Now()
		up()
		dead := waitDead(ctx, fd)
		unix.Close(fd)
		if !dead {
			return nil
		}
		// One that dies at once again and again is given ever longer pauses; one that ran for a while is replaced at once.
		if time.Since(began) > time.Minute {
			delay = 0
		}
		slog.Error("containerd ended; starting it again, containers go on running", "pid", pid, "log", d.log(), "in", delay)
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
		delay = min(max(2*delay, 100*time.Millisecond), 10*time.Second)
	}
	return nil
}

// running finds a daemon that an earlier node process started, and a descriptor that tells when it ends; -1 if there is none.
func (d *Daemon) running() (pid, fd int) {
	b, err := os.ReadFile(d.pidFile())
	if err != nil {
		return 0, -1
	}
	pid, err = strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid <= 1 {
		return 0, -1
	}
	fd, err = unix.PidfdOpen(pid, 0)
	if err != nil {
		return 0, -1
	}
	// The number may belong to another process by now; the configuration's path in its arguments says whose it is.
	args, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !strings.Contains(string(args), d.config()) {
		unix.Close(fd)
		return 0, -1
	}
	return pid, fd
}

func (d *Daemon) start(binary string) (pid, fd int, err error) {
	fail := func(err error) (int, int, error) { return 0, -1, fmt.Errorf("starting containerd: %w", err) }
	for _, dir := range []string{d.dir, filepath.Dir(d.sock)} {
		if err := os.MkdirAll(dir, 0o711); err != nil {
			return fail(err)
		}
	}
	text := fmt.Sprintf(configText, filepath.Join(d.dir, "root"), filepath.Join(d.dir, "state"), d.sock)
	if err := os.WriteFile(d.config(), []byte(text), 0o600); err != nil {
		return fail(err)
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_APPEND
	if info, err := os.Stat(d.log()); err == nil && info.Size() > 10<<20 {
		flags |= os.O_TRUNC
	}
	out, err := os.OpenFile(d.log(), flags, 0o600)
	if err != nil {
		return fail(err)
	}
	defer out.Close()
	cmd := exec.Command(binary, "--config", d.config())
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &fd}
	if err := cmd.Start(); err != nil {
		return fail(err)
	}
	go cmd.Wait() // reaped here, watched by its descriptor like one that was found
	if err := os.WriteFile(d.pidFile(), []byte(strconv.Itoa(cmd.Process.Pid)+"\n"), 0o600); err != nil {
		return fail(err)
	}
	if fd < 0 {
		return fail(errors.New("this kernel has no pidfd_open (Linux 5.3 or newer is needed)"))
	}
	slog.Info("containerd started", "pid", cmd.Process.Pid, "socket", d.sock, "log", d.log())
	return cmd.Process.Pid, fd, nil
}

// Stop ends the daemon and waits until it has, then the shims that are left of containers which it no longer knew; it is for taking a node
// off a machine, not for ending the node daemon.
func (d *Daemon) Stop(ctx context.Context) error {
	defer d.killShims()
	pid, fd := d.running()
	if fd < 0 {
		return nil
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0); err != nil && err != unix.ESRCH {
		return fmt.Errorf("stopping containerd (process %d): %w", pid, err)
	}
	grace, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if !waitDead(grace, fd) {
		unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		waitDead(ctx, fd)
	}
	if err := os.Remove(d.pidFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if !strings.HasPrefix(d.sock, d.dir) {
		return os.RemoveAll(filepath.Dir(d.sock))
	}
	return nil
}

// killShims kills the shims that were started for this daemon.
func (d *Daemon) killShims() {
	for _, pid := range shimsOf(d.sock) {
		unix.Kill(pid, unix.SIGKILL)
	}
}

// waitDead waits until the process of a pidfd has ended, and says false if ctx ended before.
func waitDead(ctx context.Context, pidfd int) bool {
	wake, stop, err := os.Pipe()
	if err != nil {
		return false
	}
	defer wake.Close()
	defer context.AfterFunc(ctx, func() { stop.Close() })()
	for {
		set := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}, {Fd: int32(wake.Fd()), Events: unix.POLLIN}}
		if _, err := unix.Poll(set, -1); err != nil && err != unix.EINTR {
			return false
		}
		if set[0].Revents != 0 {
			stop.Close()
			return true
		}
		if set[1].Revents != 0 {
			return false
		}
	}
}

package logind

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
)

const (
	path    = dbus.ObjectPath("/org/freedesktop/login1")
	manager = "org.freedesktop.login1.Manager"
)

// Logind answers on a bus until the test ends.
type Logind struct {
	Address string // of the bus, for DBUS_SYSTEM_BUS_ADDRESS
	Config  string // directory of its drop-in files

	t    testing.TB
	conn *dbus.Conn

	mu    sync.Mutex
	delay time.Duration
	locks []*lock
}

// lock is a pipe whose writing end the holder has, as the real one's.
type lock struct {
	r, w  *os.File
	inode string
}

// Start starts a bus in dir, whose path must be short, and a logind that waits for delay at most.
func Start(t testing.TB, dir string, delay time.Duration) *Logind {
	t.Helper()
	l := &Logind{Config: filepath.Join(dir, "logind.conf.d"), t: t, delay: delay}
	l.bus(dir)
	conn, err := dbus.Connect(l.Address)
	if err != nil {
		t.Fatal(err)
	}
	l.conn = conn
	t.Cleanup(func() { conn.Close() })
	for _, e := range []struct {
		v     any
		at    dbus.ObjectPath
		iface string
	}{
		{login{l}, path, manager}, {properties{l}, path, "org.freedesktop.DBus.Properties"}, {systemd{l}, "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"},
	} {
		if err := conn.Export(e.v, e.at, e.iface); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"org.freedesktop.login1", "org.freedesktop.systemd1"} {
		if reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue); err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
			t.Fatalf("name %s: %v, %v", name, reply, err)
		}
	}
	return l
}

const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN" "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>custom</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
    <allow own="*"/>
    <allow user="*"/>
  </policy>
</busconfig>
`

func (l *Logind) bus(dir string) {
	l.t.Helper()
	config := filepath.Join(dir, "bus.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, busConfig, filepath.Join(dir, "bus")), 0o600); err != nil {
		l.t.Fatal(err)
	}
	cmd := exec.Command("dbus-daemon", "--config-file="+config, "--nofork", "--print-address")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		l.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		l.t.Fatalf("a bus of the test's own: %v; install dbus-daemon", err)
	}
	l.t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		l.t.Fatalf("dbus-daemon ended: %v", err)
	}
	l.Address = strings.TrimSpace(address)
}

// Prepare tells everyone that a shutdown begins, or that it was called off.
func (l *Logind) Prepare(begins bool) {
	l.t.Helper()
	if err := l.conn.Emit(path, manager+".PrepareForShutdown", begins); err != nil {
		l.t.Fatal(err)
	}
}

// Held counts the locks that some process holds.
func (l *Logind) Held() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, k := range l.locks {
		if k.held() {
			n++
		}
	}
	return n
}

// held looks for the pipe among the files of all processes. That this one has it open is of no account.
func (k *lock) held() bool {
	self := fmt.Sprintf("/proc/%d/fd/", os.Getpid())
	mine := map[string]bool{self + strconv.Itoa(int(k.r.Fd())): true, self + strconv.Itoa(int(k.w.Fd())): true}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, f := range files {
		if to, err := os.Readlink(f); err == nil && to == k.inode && !mine[f] {
			return true
		}
	}
	return false
}

// login is what of org.freedesktop.login1.Manager is here.
type login struct{ l *Logind }

// Inhibit gives a lock.
func (x login) Inhibit(what, who, why, mode string) (dbus.UnixFD, *dbus.Error) {
	if what != "shutdown" || mode != "delay" || who == "" || why == "" {
		return 0, dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{fmt.Sprint(what, who, why, mode)})
	}
	r, w, err := os.Pipe()
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	x.l.t.Cleanup(func() { r.Close(); w.Close() })
	inode, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	if err != nil {
		return 0, dbus.MakeFailedError(err)
	}
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	x.l.locks = append(x.l.locks, &lock{r: r, w: w, inode: inode})
	return dbus.UnixFD(w.Fd()), nil
}

type properties struct{ l *Logind }

// Get gives the one property there is.
func (x properties) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	if iface != manager || name != "InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.NewError("org.freedesktop.DBus.Error.UnknownProperty", []any{name})
	}
	x.l.mu.Lock()
	defer x.l.mu.Unlock()
	return dbus.MakeVariant(uint64(x.l.delay / time.Microsecond)), nil
}

type systemd struct{ l *Logind }

// KillUnit has logind read its drop-in files.
func (x systemd) KillUnit(unit, _ string, signal int32) *dbus.Error {
	if unit != "systemd-logind.service" || syscall.Signal(signal) != syscall.SIGHUP {
		return dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{unit, signal})
	}
	files, _ := filepath.Glob(filepath.Join(x.l.Config, "*.conf"))
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return dbus.MakeFailedError(err)
		}
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "InhibitDelayMaxSec="); ok {
				seconds, err := strconv.Atoi(value)
				if err != nil {
					return dbus.MakeFailedError(err)
				}
				x.l.mu.Lock()
				x.l.delay = time.Duration(seconds) * time.Second
				x.l.mu.Unlock()
			}
		}
	}
	return nil
}

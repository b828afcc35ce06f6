package shutdown

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names of systemd-logind's and systemd's interfaces: org.freedesktop.login1(5), org.freedesktop.systemd1(5), and https://systemd.io/INHIBITOR_LOCKS.
const (
	logindName    = "org.freedesktop.login1"
	logindPath    = dbus.ObjectPath("/org/freedesktop/login1")
	logindManager = logindName + ".Manager"
	prepare       = "PrepareForShutdown"
	delayMax      = logindManager + ".InhibitDelayMaxUSec"

	systemdName    = "org.freedesktop.systemd1"
	systemdPath    = dbus.ObjectPath("/org/freedesktop/systemd1")
	systemdManager = systemdName + ".Manager"
)

// Logind holds up the shutdown of a host that runs systemd-logind until the node's Pods have ended.
//
// While the node runs it holds an inhibitor lock of mode "delay". When somebody asks for a shutdown, logind says so to all (PrepareForShutdown) and goes on once
// every such lock is released, or InhibitDelayMaxSec is over. That is 5 seconds by default, so it is raised where the Pods need longer.
type Logind struct {
	Needs    time.Duration // for all Pods
	Config   string        // directory of logind's drop-in files
	ShutDown func(context.Context)
}

// ConfigDir is where logind reads drop-in files of the host's owner.
const ConfigDir = "/etc/systemd/logind.conf.d"

// dropIn is the name of the file that raises logind's delay.
const dropIn = "99-gitopsd-node.conf"

// errCalledOff ends the context of a shutdown that logind has called off.
var errCalledOff = errors.New("the shutdown was called off")

// Run follows logind until ctx ends. Where there is none it looks for one from time to time: a node may start before its host's bus does.
func (l *Logind) Run(ctx context.Context) {
	said := ""
	for pause := time.Second; ctx.Err() == nil; pause = min(2*pause, time.Minute) {
		began := time.Now()
		err := l.follow(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > time.Minute {
			pause = time.Second
		}
		if text := err.Error(); text != said {
			slog.Info("the host's shutdown cannot be followed by systemd-logind; have `node shutdown` called before the host goes down", "err", err)
			said = text
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// follow holds the lock and waits for shutdowns. It returns when the bus is gone.
func (l *Logind) follow(ctx context.Context) error {
	conn, err := dbus.ConnectSystemBus(dbus.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("connecting to the system's D-Bus: %w", err)
	}
	defer conn.Close()
	logind := conn.Object(logindName, logindPath)
	signals := make(chan *dbus.Signal, 8)
	conn.Signal(signals)
	if err := conn.AddMatchSignalContext(ctx, dbus.WithMatchSender(logindName), dbus.WithMatchInterface(logindManager), dbus.WithMatchMember(prepare)); err != nil {
		return fmt.Errorf("subscribing to %s of %s: %w", prepare, logindName, err)
	}
	if err := l.raiseDelay(ctx, conn, logind); err != nil {
		return err
	}
	lock, err := inhibit(ctx, logind)
	if err != nil {
		return err
	}
	slog.Info("systemd-logind waits for this node's Pods when the host shuts down", "for", l.Needs)
	defer func() { lock.Close() }()

	var under *underway
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-under.over():
			under = nil
			lock.Close()
		case s, open := <-signals:
			if !open {
				return errors.New("the system's D-Bus has closed the connection")
			}
			var begins bool
			if err := dbus.Store(s.Body, &begins); err != nil {
				return fmt.Errorf("signal %s of %s: %w", prepare, logindName, err)
			}
			switch {
			case begins && under == nil:
				under = begin(ctx, l.ShutDown)
			case !begins:
				under.callOff()
				under = nil
				lock.Close()
				if lock, err = inhibit(ctx, logind); err != nil {
					return err
				}
			}
		}
	}
}

// underway is a shutdown that has begun.
type underway struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
}

func begin(ctx context.Context, shutDown func(context.Context)) *underway {
	ctx, cancel := context.WithCancelCause(ctx)
	u := &underway{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		shutDown(ctx)
	}()
	return u
}

// over is closed when all Pods have ended; nil, for which nobody is told anything, if no shutdown is under way.
func (u *underway) over() <-chan struct{} {
	if u == nil {
		return nil
	}
	return u.done
}

func (u *underway) callOff() {
	if u != nil {
		u.cancel(errCalledOff)
		<-u.done
	}
}

// inhibit takes the lock, which is held until the file is closed.
func inhibit(ctx context.Context, logind dbus.BusObject) (*os.File, error) {
	var fd dbus.UnixFD
	err := logind.CallWithContext(ctx, logindManager+".Inhibit", 0, "shutdown", "gitopsd node", "Pods are ended in order", "delay").Store(&fd)
	if err != nil {
		return nil, fmt.Errorf("taking an inhibitor lock of %s: %w", logindName, err)
	}
	return os.NewFile(uintptr(fd), "inhibitor"), nil
}

// reloadPatience is how long logind may take to read its configuration anew. It tells nobody when it has.
const reloadPatience = 5 * time.Second

// raiseDelay has logind wait for as long as the Pods need.
func (l *Logind) raiseDelay(ctx context.Context, conn *dbus.Conn, logind dbus.BusObject) error {
	delay, err := currentDelay(logind)
	if err != nil || delay >= l.Needs {
		return err
	}
	if err := os.MkdirAll(l.Config, 0o755); err != nil {
		return fmt.Errorf("raising InhibitDelayMaxSec of %s: %w", logindName, err)
	}
	file := filepath.Join(l.Config, dropIn)
	text := fmt.Sprintf("# Written by gitopsd's node daemon, for its --shutdown-grace-period; `node clean` removes it.\n[Login]\nInhibitDelayMaxSec=%d\n", int(l.Needs.Round(time.Second)/time.Second))
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return fmt.Errorf("raising InhibitDelayMaxSec of %s: %w", logindName, err)
	}
	systemd := conn.Object(systemdName, systemdPath)
	if err := systemd.CallWithContext(ctx, systemdManager+".KillUnit", 0, "systemd-logind.service", "all", int32(syscall.SIGHUP)).Err; err != nil {
		return fmt.Errorf("having %s read %s: %w", logindName, file, err)
	}
	for end := time.Now().Add(reloadPatience); ; {
		if delay, err = currentDelay(logind); err != nil || delay >= l.Needs {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s waits for %s only, the Pods need %s: another file sets InhibitDelayMaxSec after %s; raise it there", logindName, delay, l.Needs, file)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Clean removes the drop-in file; logind's delay is what it was when it next starts.
func Clean(dir string) error {
	if err := os.Remove(filepath.Join(dir, dropIn)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("taking back what was set for systemd-logind: %w", err)
	}
	return nil
}

func currentDelay(logind dbus.BusObject) (time.Duration, error) {
	v, err := logind.GetProperty(delayMax)
	if err != nil {
		return 0, fmt.Errorf("reading InhibitDelayMaxUSec of %s: %w", logindName, err)
	}
	usec, ok := v.Value().(uint64)
	if !ok {
		return 0, fmt.Errorf("InhibitDelayMaxUSec of %s is %s, not a number of microseconds", logindName, v)
	}
	return time.Duration(usec) * time.Microsecond, nil
}

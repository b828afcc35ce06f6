package vm

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	variable  = "GITOPSD_TEST_IN_VM" // names the test; the kernel hands to its first program what it does not know itself
	says      = "vm verdict: "
	passed    = "passed"
	orderFile = "modules/order"
)

// Main is the first thing that TestMain calls. Outside of a virtual machine it does nothing. As the machine's first program it prepares the machine, has the test run by a copy of
// itself, and turns the machine off; that copy runs the test as it is, without what else TestMain would do.
func Main(m *testing.M) {
	switch {
	case os.Getenv(variable) == "":
	case os.Getpid() != 1:
		os.Exit(m.Run())
	default:
		verdict := passed
		if err := boot(); err != nil {
			verdict = err.Error()
		}
		fmt.Printf("\n%s%s\n", says, verdict)
		unix.Sync()
		fmt.Println(unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF))
	}
}

func boot() error {
	for _, m := range []struct{ kind, at string }{{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}} {
		if err := unix.Mount(m.kind, m.at, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mounting %s: %w", m.at, err)
		}
	}
	order, err := os.ReadFile("/" + orderFile)
	if err != nil {
		return err
	}
	for _, m := range strings.Fields(string(order)) {
		f, err := os.Open("/" + m)
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(f.Fd()), "", 0)
		f.Close()
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("loading %s: %w", m, err)
		}
	}
	if err := loopback(); err != nil {
		return err
	}
	os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	name := os.Getenv(variable)
	cmd := exec.Command("/init", "-test.v", "-test.run", "^"+name+"$")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	return cmd.Run()
}

// loopback brings the machine's only interface up.
func loopback() error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

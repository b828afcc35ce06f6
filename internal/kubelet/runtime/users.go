package runtime

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// GivesUsers says why what runs containers cannot give them a user namespace; of other shims than the usual it is not known whether they can.
func GivesUsers(runtime string) error {
	if !IsUsual(runtime) {
		return fmt.Errorf("it is not known that %s can give containers a user namespace; leave out the RuntimeClass", runtime)
	}
	if _, err := os.Stat("/proc/self/ns/user"); err != nil {
		return fmt.Errorf("this node's kernel has no user namespaces: %w", err)
	}
	if b, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && strings.TrimSpace(string(b)) == "0" {
		return errors.New("this node allows no user namespaces (sysctl user.max_user_namespaces)")
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	var major, minor int
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err == nil && (major < 6 || major == 6 && minor < 3) {
		// File systems in memory, which Secrets and tokens are in, can show files under other IDs since then.
		return fmt.Errorf("this node's kernel is Linux %s, and user namespaces for Pods take 6.3", release)
	}
	return nil
}

package kubelet_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/gitopsd/gitopsd/test/netns"
)

// These tests run a whole control plane and a node daemon, with a containerd of its own and real containers, in a network and a mount namespace of
// the test's own. The daemon is a process of its own, so that it can be killed.

func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		for _, program := range []string{"containerd", "runc", "iptables-restore", "busybox"} {
			if _, err := exec.LookPath(program); err != nil {
				fmt.Fprintf(os.Stderr, "SKIPPED: all tests of this package: %v; install containerd, runc, iptables and busybox-static\n", err)
				os.Exit(0)
			}
		}
		// Short, because the path of a Unix socket may have 107 bytes.
		var err error
		if dir, err = os.MkdirTemp("/tmp", "kt"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		// The roots of Pods with user namespaces of their own enter it.
		if err := os.Chmod(dir, 0o711); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		args := append([]string{"build", "-trimpath", "-tags", "grpcnotrace", "-o", filepath.Join(dir, "node")}, buildFlags...)
		cmd := exec.Command("go", append(args, "github.com/gitopsd/gitopsd/cmd/node")...)
		if len(buildFlags) == 0 {
			cmd.Env = append(os.Environ(), "CGO_ENABLED=0") // as it is built for users
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building the node daemon: %v\n%s", err, out)
			os.Exit(1)
		}
		os.Setenv(dirVariable, dir)
	}
	netns.MainSideBySide(m, atOnce, func(number int) ([]string, error) {
		own := fmt.Sprint(dir, "-", number)
		if err := os.Mkdir(own, 0o711); err != nil {
			return nil, err
		}
		return []string{dirVariable + "=" + own}, os.Link(filepath.Join(dir, "node"), filepath.Join(own, "node"))
	}, func() {
		all, _ := filepath.Glob(dir + "*")
		for _, d := range all {
			os.RemoveAll(d)
		}
	})
}

// atOnce is how many tests are run at a time: they mostly wait for what Pods do, so that more than one processor has something to do.
const atOnce = 3

// buildFlags make the daemon as these tests themselves were made: under the race detector, it is looked for in the daemon too.
var buildFlags []string

const dirVariable = "GITOPSD_TEST_DIR"

package netns

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"syscall"
	"testing"
)

// insideVariable tells a test program that it is the copy which runs in namespaces of its own.
const insideVariable = "GITOPSD_TEST_NAMESPACE"

// Main is for TestMain: it runs all tests of a package in a network and a mount namespace of their own, which vanish with the process.
// So they may change interfaces, rules and settings at will, and cannot leave anything behind. Without root the tests are skipped, loudly.
// Each of after is called when all tests have ended, for what lies outside.
func Main(m *testing.M, after ...func()) {
	if os.Getenv(insideVariable) != "" {
		if err := loopbackUp(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		code := m.Run()
		for _, f := range after {
			f()
		}
		os.Exit(code)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "SKIPPED: all tests of this package: they need root to make network namespaces")
		os.Exit(0)
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWNET,
		Unshareflags: syscall.CLONE_NEWNS, // Go makes the new mount namespace private
		Pdeathsig:    syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig speaks of the thread that started the process, not of the program
	if err := cmd.Run(); err != nil {
		if exit, ok := err.(*exec.ExitError); ok {
			os.Exit(max(exit.ExitCode(), 1))
		}
		fmt.Fprintln(os.Stderr, "run the tests in namespaces of their own:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

var made atomic.Int64

// New makes a namespace for one test and returns its path. It must run below Main.
func New(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "netns-"+strconv.FormatInt(made.Add(1), 10))
	if err := Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := Delete(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

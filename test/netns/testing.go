package netns

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"golang.org/x/sync/errgroup"
)

// insideVariable tells a test program that it is the copy which runs in namespaces of its own.
const insideVariable = "GITOPSD_TEST_NAMESPACE"

// Main is for TestMain: it runs all tests of a package in a network and a mount namespace of their own, which vanish with the process.
// So they may change interfaces, rules and settings at will, and cannot leave anything behind. Without root the tests are skipped, loudly.
// Each of after is called when all tests have ended, for what lies outside.
func Main(m *testing.M, after ...func()) {
	inside(m, after)
	code, err := inNamespaces(os.Args[1:], nil, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in namespaces of their own:", err)
	}
	os.Exit(code)
}

// MainSideBySide is Main for a package whose tests mostly wait: each is run in namespaces and a process of its own, so many at a time. What a test says is shown when it has ended.
// Each process has in addition the environment that of gives for its number. Tests that are asked for by name, benchmarks and coverage are run as by Main, in process number 0.
func MainSideBySide(m *testing.M, atOnce int, of func(number int) ([]string, error), after ...func()) {
	inside(m, nil)
	code := sideBySide(atOnce, of)
	for _, f := range after {
		f()
	}
	os.Exit(code)
}

// inside runs the tests and ends the process, if this is the copy that is to, or if none are to be run.
func inside(m *testing.M, after []func()) {
	flag.Parse()
	if asked("list") {
		os.Exit(m.Run())
	}
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
}

// asked says whether a flag of `go test` was given.
func asked(name string) bool {
	f := flag.Lookup("test." + name)
	return f != nil && f.Value.String() != f.DefValue
}

// inNamespaces runs a copy of this program, and gives the code that it ends with.
func inNamespaces(args, env []string, stdout, stderr io.Writer) (int, error) {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, stdout, stderr
	cmd.Env = append(append(os.Environ(), env...), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWNET,
		Unshareflags: syscall.CLONE_NEWNS, // Go makes the new mount namespace private
		Pdeathsig:    syscall.SIGKILL,
	}
	runtime.LockOSThread() // Pdeathsig speaks of the thread that started the process, not of the program
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	if err != nil {
		return 1, err
	}
	return 0, nil
}

func sideBySide(atOnce int, of func(int) ([]string, error)) int {
	names := []string{""}
	if !asked("run") && !asked("bench") && !asked("coverprofile") {
		out, err := exec.Command("/proc/self/exe", "-test.list=^Test").Output()
		if err != nil {
			fmt.Fprintln(os.Stderr, "list the tests:", err)
			return 1
		}
		names = strings.Fields(string(out))
	}
	// A record of what one of many processes looked at is not one of what the tests' result depends on: it would have that result believed to hold for longer than it does.
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), func(a string) bool { return strings.HasPrefix(a, "-test.testlogfile=") })
	var (
		group    errgroup.Group
		printing sync.Mutex
		code     int
	)
	group.SetLimit(atOnce)
	for i, name := range names {
		group.Go(func() error {
			args, out := args, &bytes.Buffer{}
			if name != "" {
				args = append(slices.Clone(args), "-test.run=^"+name+"$")
			}
			env, err := of(i)
			ended := 1
			if err == nil {
				ended, err = inNamespaces(args, env, out, out)
			}
			printing.Lock()
			defer printing.Unlock()
			if ended != 0 || asked("v") {
				os.Stdout.Write(out.Bytes())
			}
			if err != nil {
				fmt.Fprintf(os.Stderr, "run %s in namespaces of its own: %v\n", name, err)
			}
			code = max(code, ended)
			return nil
		})
	}
	group.Wait()
	return code
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

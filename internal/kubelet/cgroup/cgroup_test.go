package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRequestsAndLimitsBecomeTheKernelsNumbers(t *testing.T) {
	var got []string
	for _, milli := range []int64{0, 1, 100, 1000, 2500, 1_000_000} {
		s := Shares(milli)
		got = append(got, fmt.Sprintf("%dm: shares %d, weight %d, quota %d", milli, s, Weight(s), Quota(milli)))
	}
	if diff := cmp.Diff([]string{
		"0m: shares 2, weight 1, quota 1000",
		"1m: shares 2, weight 1, quota 1000",
		"100m: shares 102, weight 4, quota 10000",
		"1000m: shares 1024, weight 39, quota 100000",
		"2500m: shares 2560, weight 98, quota 250000",
		"1000000m: shares 262144, weight 10000, quota 100000000",
	}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAPodsGroupIsLimitedMeasuredAndRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: making control groups needs root")
	}
	tree, err := Open(fmt.Sprintf("/gitopsd-test-cgroup-%d", os.Getpid()))
	if err != nil {
		t.Skipf("SKIPPED: %v", err)
	}
	t.Cleanup(func() {
		if err := tree.RemoveAll(); err != nil {
			t.Error(err)
		}
	})
	const memory = 64 << 20
	for range 2 {
		if err := tree.Setup("uid", Limits{MilliCPU: 100, MilliCPULimit: 500, Memory: memory, PIDs: 50}); err != nil {
			t.Fatal(err)
		}
	}
	if got := tree.Pods(); !slices.Contains(got, "uid") {
		t.Errorf("the groups found are those of %v", got)
	}
	// It becomes sleep only when it is in the group, which is then charged for its memory.
	cmd := exec.Command("sh", "-c", "read go; exec sleep 1000")
	goes, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	if err := tree.Join("uid", cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	if _, err := goes.Write([]byte("\n")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); tree.Usage(tree.Pod("uid")).Memory < 4096; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no memory is charged to the group")
		}
	}
	if got := tree.PIDs("uid"); !slices.Contains(got, cmd.Process.Pid) {
		t.Errorf("the processes found are %v, want %d among them", got, cmd.Process.Pid)
	}
	if u := tree.Usage(tree.Pod("uid")); u.Limit != memory || u.PIDs != 1 || u.OOMKills != 0 {
		t.Errorf("it uses %+v", u)
	}
	var inUse *InUse
	if err := tree.Setup("uid", Limits{Memory: 4096, PIDs: 40}); !errors.As(err, &inUse) || inUse.Used < 4096 {
		t.Errorf("a limit below what is used: %v", err)
	}
	if u := tree.Usage(tree.Pod("uid")); u.Limit != memory || u.PIDs != 1 || u.OOMKills != 0 {
		t.Errorf("after a limit that was refused it uses %+v", u)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	for range 2 {
		if err := tree.Remove("uid"); err != nil {
			t.Fatal(err)
		}
	}
	if got := tree.Pods(); len(got) > 0 {
		t.Errorf("groups left: %v", got)
	}
	if u := tree.Usage(tree.Pod("uid")); u != (Usage{}) {
		t.Errorf("a group that is gone uses %+v", u)
	}
}

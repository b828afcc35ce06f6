package kubelet_test

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitopsd/gitopsd/test/leftovers"
)

// soakCycles is few enough for every run of the tests; "bench soak" makes a thousand.
const soakCycles = 56

func TestPodsThatComeAndGoLeaveNothing(t *testing.T) {
	h := start(t)
	node := leftovers.Node{Dir: filepath.Join(h.dir, "n"), Logs: filepath.Join(h.dir, "logs"), Cgroup: h.cgroup(), Do: func(f func() error) error { return f() }}
	take := func() leftovers.Inventory {
		t.Helper()
		all, err := node.Take(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	soak := func(prefix string, cycles int) {
		t.Helper()
		if err := leftovers.Soak(t.Context(), h.client, "default", prefix, testImage, cycles, 4); err != nil {
			t.Fatal(err)
		}
	}
	soak("first", leftovers.Kinds) // some things are made once, for the first Pod that needs them
	h.servicesKept()
	// Some were deleted by force: the API has them no more, and the node may still have their ports.
	h.eventually("the node to be done with the first Pods", func() (bool, string) {
		left, err := filepath.Glob(filepath.Join(h.dir, "n", "pods", "*-*"))
		return err == nil && len(left) == 0, strings.Join(left, " ")
	})
	before := take()
	soak("again", soakCycles)
	h.eventually("nothing to be left", func() (bool, string) {
		left := take().Beyond(before)
		return len(left) == 0, strings.Join(left, "\n")
	})
}

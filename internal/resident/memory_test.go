package resident

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestTheLowestLimitOfAllControlGroupsAboveAProcessCounts(t *testing.T) {
	root := t.TempDir()
	for file, text := range map[string]string{
		"memory.max": "max\n", "a/memory.max": "300\n", "a/b/memory.max": "500\n", "other/memory.max": "1\n",
		"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/old/memory.limit_in_bytes": "200\n", "cpu/old/memory.limit_in_bytes": "1\n",
	} {
		path := filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for groups, want := range map[string]uint64{
		"0::/a/b\n":                     300,
		"0::/a/elsewhere\n":             300,
		"0::/\n":                        math.MaxUint64,
		"":                              math.MaxUint64,
		"4:memory:/old\n3:cpu:/old\n":   200,
		"4:memory:/docker/0123456789\n": 9223372036854771712,
		"5:cpu,memory:/old\n0::/a\n":    200,
		"5:hugememory:/old\nnonsense\n": math.MaxUint64,
	} {
		if got := groupLimit(root, groups); got != want {
			t.Errorf("%q: %d, want %d", groups, got, want)
		}
	}
	if got := memory(); got == 0 || got == math.MaxUint64 {
		t.Errorf("this machine has %d bytes", got)
	}
}

package cgroup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files makes what a kernel shows of a group.
func files(t *testing.T, dir string, content map[string]string) {
	t.Helper()
	for name, text := range content {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDetailsAreTheSameOfBothVersions(t *testing.T) {
	old, unified := t.TempDir(), t.TempDir()
	files(t, old, map[string]string{
		"cpu/g/cpuacct.stat": "user 150\nsystem 50\n", "cpu/g/cpu.stat": "nr_periods 10\nnr_throttled 3\nthrottled_time 7000\n",
		"cpu/g/cpu.shares": "1024\n", "cpu/g/cpu.cfs_quota_us": "50000\n", "cpu/g/cpu.cfs_period_us": "100000\n",
		"memory/g/memory.stat":               "cache 1\ntotal_cache 4096\ntotal_swap 8192\ntotal_mapped_file 12288\n",
		"memory/g/memory.max_usage_in_bytes": "99\n", "memory/g/memory.failcnt": "2\n",
		"blkio/g/blkio.throttle.io_service_bytes": "8:0 Read 100\n8:0 Write 200\n8:0 Total 300\n8:16 Read 1\n8:16 Write 2\nTotal 303\n",
		"blkio/g/blkio.throttle.io_serviced":      "8:0 Read 10\n8:0 Write 20\n8:16 Read 1\nTotal 31\n",
	})
	files(t, unified, map[string]string{
		"g/cpu.stat": "usage_usec 2000000\nuser_usec 1500000\nsystem_usec 500000\nnr_periods 10\nnr_throttled 3\nthrottled_usec 7\n",
		"g/cpu.max":  "50000 100000\n", "g/cpu.weight": "40\n",
		"g/memory.stat": "anon 1\nfile 4096\nfile_mapped 12288\n", "g/memory.swap.current": "8192\n", "g/memory.peak": "99\n", "g/memory.events": "low 0\nmax 2\noom 0\n",
		"g/io.stat": "8:0 rbytes=100 wbytes=200 rios=10 wios=20 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2 rios=1 wios=0 dbytes=0 dios=0\n",
	})
	want := Detail{
		UserNanos: 1_500_000_000, SystemNanos: 500_000_000, Periods: 10, Throttled: 3, ThrottledNanos: 7000,
		Cache: 4096, Swap: 8192, MappedFile: 12288, Peak: 99, Failures: 2, ReadBytes: 101, WriteBytes: 202, Reads: 11, Writes: 20,
		Shares: 1024, Quota: 50000, Period: 100000,
	}
	legacy := &Tree{legacy: map[string]string{"cpu": old + "/cpu", "cpuacct": old + "/cpu", "memory": old + "/memory", "blkio": old + "/blkio"}}
	if diff := cmp.Diff(want, legacy.Detail("/g")); diff != "" {
		t.Errorf("version 1 (-want +got):\n%s", diff)
	}
	got := (&Tree{unified: unified}).Detail("/g")
	if got.Shares < 1000 || got.Shares > 1050 { // a weight is coarser than shares
		t.Errorf("version 2: weight 40 is %d shares, want about 1024", got.Shares)
	}
	got.Shares = want.Shares
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("version 2 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(Detail{}, legacy.Detail("/none")); diff != "" {
		t.Errorf("a group that is not there (-want +got):\n%s", diff)
	}
}

func TestNoQuotaIsNone(t *testing.T) {
	dir := t.TempDir()
	files(t, dir, map[string]string{"g/cpu.max": "max 100000\n", "l/cpu.cfs_quota_us": "-1\n"})
	if d := (&Tree{unified: dir}).Detail("/g"); d.Quota != 0 || d.Period != 100000 {
		t.Errorf("version 2: %+v", d)
	}
	if d := (&Tree{legacy: map[string]string{"cpu": dir}}).Detail("/l"); d.Quota != 0 {
		t.Errorf("version 1: %+v", d)
	}
}

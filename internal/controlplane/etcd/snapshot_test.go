package etcd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestARestoredMemberHasWhatTheSnapshotHasAtRevisionsThatNobodyHasSeen(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "db")
	m, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	put := func(m *Member, value string) int64 {
		t.Helper()
		r, err := m.Client().Put(t.Context(), "/a", value)
		if err != nil {
			t.Fatal(err)
		}
		return r.Header.Revision
	}
	saved := put(m, "saved")
	s, err := Save(t.Context(), dir, file)
	if err != nil || s.Revision != saved {
		t.Fatalf("saved: %+v, %v, want revision %d", s, err, saved)
	}
	late := put(m, "late")
	m.Close()
	before := time.Now().UnixMicro()
	restored := filepath.Join(t.TempDir(), "etcd")
	if err := Restore(file, restored); err != nil {
		t.Fatal(err)
	}
	if m, err = Start(t.Context(), restored); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, err := m.Client().Get(t.Context(), "/a")
	if err != nil || len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "saved" {
		t.Fatalf("%v, %v, want what was saved", r, err)
	}
	if r.Header.Revision < before || r.Header.Revision <= late {
		t.Errorf("it is at revision %d, and the one before gave out %d", r.Header.Revision, late)
	}
	// Who follows from what the one before gave out is told to read anew.
	if w := <-m.Client().Watch(t.Context(), "/", clientv3.WithPrefix(), clientv3.WithRev(late+1)); w.CompactRevision == 0 {
		t.Errorf("a watch from revision %d brings %+v, want that it is compacted", late+1, w)
	}
	if next := put(m, "next"); next != r.Header.Revision+1 {
		t.Errorf("the next revision is %d, want %d", next, r.Header.Revision+1)
	}
	if !Unsettled(restored) {
		t.Error("it is settled")
	}
	if err := Settled(restored); err != nil || Unsettled(restored) {
		t.Errorf("it is not settled: %v", err)
	}
}

func TestAMemberThatBeginsAnewCountsOnFromAllEarlierOnes(t *testing.T) {
	dir, last := filepath.Join(t.TempDir(), "etcd"), int64(0)
	for range 2 {
		m, err := Start(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		r, err := m.Client().Get(t.Context(), "", clientv3.WithPrefix())
		if err != nil || len(r.Kvs) > 0 || r.Header.Revision <= last {
			t.Errorf("%v, %v, want nothing at a revision after %d", r, err, last)
		}
		w, err := m.Client().Put(t.Context(), "/a", "1")
		if err != nil {
			t.Fatal(err)
		}
		last = w.Header.Revision
		m.Close()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAStartThatWasCutShortIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	snap := filepath.Join(dir, "member", "snap")
	if err := os.MkdirAll(snap, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(snap, "db"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	m, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
}

func TestASnapshotThatIsNotWholeIsRefused(t *testing.T) {
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "db")
	m, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := Save(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Restore(file, filepath.Join(t.TempDir(), "etcd")); err == nil {
		t.Error("a changed snapshot was restored")
	}
}

func TestARestoredMemberIsAheadThoughTheClockWasPutBack(t *testing.T) {
	const had, written = 1_800_000_000_000_000, 50_000_000 // by the clock of 2027, and since the snapshot
	for _, clock := range []int64{0, had - 3_600_000_000, had - 1, had} {
		if first := had + bump(had, clock); first <= had+written {
			t.Errorf("by a clock of %d it begins with %d", clock, first)
		}
	}
}

// One that is lost right after it was restored begins anew by the clock, and nodes must hear of what it writes.
func TestARestoredMemberIsNotAheadOfTheClock(t *testing.T) {
	const had = 1_800_000_000_000_000
	for _, clock := range []int64{had + 1, had + 45_000_000, had + 3_600_000_000} {
		if first := had + bump(had, clock); first != clock {
			t.Errorf("by a clock of %d it begins with %d", clock, first)
		}
	}
}

package etcd

import (
	"testing"
	"time"
)

func TestAMemberKeepsWhatItAcknowledgedAcrossARestart(t *testing.T) {
	dir := t.TempDir()
	start := time.Now()
	m, err := Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("first start took %s", time.Since(start))
	if _, err := m.Client().Put(t.Context(), "/a", "1"); err != nil {
		t.Fatal(err)
	}
	m.Close()

	start = time.Now()
	m, err = Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("second start took %s", time.Since(start))
	defer m.Close()
	r, err := m.Client().Get(t.Context(), "/a")
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) != 1 || string(r.Kvs[0].Value) != "1" {
		t.Fatalf("after the restart /a is %v, want 1", r.Kvs)
	}
}

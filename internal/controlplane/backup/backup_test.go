package backup

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
)

// controlPlane is a data directory whose etcd runs and holds one key.
func controlPlane(t *testing.T, value string) (dir string, stop func()) {
	t.Helper()
	dir = t.TempDir()
	m, err := etcd.Start(t.Context(), filepath.Join(dir, etcdDir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client().Put(t.Context(), "/a", value); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "pki/ca.crt", "the authority")
	put(t, dir, "pki/encryption.yaml", "the keys of Secrets")
	put(t, dir, secret, "of the webhook")
	return dir, m.Close
}

func put(t *testing.T, dir, name, content string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// holds is what the etcd of a data directory has under the key.
func holds(t *testing.T, dir string) string {
	t.Helper()
	m, err := etcd.Start(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	r, err := m.Client().Get(t.Context(), "/a")
	if err != nil || len(r.Kvs) != 1 {
		t.Fatalf("%v, %v", r, err)
	}
	return string(r.Kvs[0].Value)
}

func TestARestoreBringsBackStateAndKeysAndKeepsWhatWasThere(t *testing.T) {
	dir, stop := controlPlane(t, "then")
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := Write(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v: it holds keys, and is to be its owner's alone", info.Mode(), err)
	}
	stop()

	fresh := filepath.Join(t.TempDir(), "fresh")
	if err := os.Mkdir(fresh, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := Restore(fresh, file, time.Now())
	if err != nil || r.Before != "" || time.Since(r.Taken) > time.Minute {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, want := range map[string]string{"pki/ca.crt": "the authority", "pki/encryption.yaml": "the keys of Secrets", secret: "of the webhook"} {
		if b, err := os.ReadFile(filepath.Join(fresh, name)); err != nil || string(b) != want {
			t.Errorf("%s: %q, %v", name, b, err)
		}
	}
	if got := holds(t, filepath.Join(fresh, etcdDir)); got != "then" || !etcd.Unsettled(filepath.Join(fresh, etcdDir)) {
		t.Errorf("etcd holds %q", got)
	}

	r, err = Restore(dir, file, time.Now())
	if err != nil || holds(t, filepath.Join(dir, etcdDir)) != "then" {
		t.Errorf("over what is there: %+v, %v", r, err)
	}
	if _, err := os.Stat(filepath.Join(r.Before, "member", "wal")); err != nil {
		t.Errorf("what was there before: %v", err)
	}
}

func TestWhatIsNoBackupOfThisClusterChangesNothing(t *testing.T) {
	dir, stop := controlPlane(t, "now")
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := Write(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	stop()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	changed := append([]byte{}, whole...)
	changed[len(changed)/3] ^= 1
	other, stop := controlPlane(t, "other")
	stop()
	put(t, other, "pki/ca.crt", "another authority")
	for name, c := range map[string]struct {
		dir     string
		content []byte
		want    string
	}{
		"another cluster's": {other, whole, "another cluster's"},
		"cut short":         {dir, whole[:len(whole)/2], "unexpected EOF"},
		"changed":           {dir, changed, ""},
		"text":              {dir, []byte("not a backup"), "no backup of gitopsd"},
		"empty":             {dir, nil, "was not made by gitopsd backup"},
	} {
		bad := filepath.Join(t.TempDir(), "bad.tar")
		if err := os.WriteFile(bad, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Restore(c.dir, bad, time.Now()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v, want %q", name, r, err, c.want)
		}
		list, err := filepath.Glob(filepath.Join(c.dir, "*"))
		if err != nil || len(list) != 3 {
			t.Errorf("%s: there are %v, %v", name, list, err)
		}
	}
	if got := holds(t, filepath.Join(dir, etcdDir)); got != "now" {
		t.Errorf("etcd holds %q", got)
	}
}

func TestABackupThatFailsLeavesNothing(t *testing.T) {
	dir, stop := controlPlane(t, "now")
	defer stop()
	to := t.TempDir()
	if err := os.Mkdir(filepath.Join(to, "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), dir, filepath.Join(to, "taken")); err == nil {
		t.Error("a directory was replaced")
	}
	if list, err := filepath.Glob(filepath.Join(to, "*")); err != nil || len(list) != 1 {
		t.Errorf("there are %v, %v", list, err)
	}
	if list, err := filepath.Glob(filepath.Join(to, ".*")); err != nil || len(list) != 0 {
		t.Errorf("there are %v, %v", list, err)
	}
}

package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

func TestABackupThatIsCutOrChangedAnywhereIsRefused(t *testing.T) {
	dir, stop := controlPlane(t, "then")
	file := filepath.Join(t.TempDir(), "backup.tar")
	if _, err := Write(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	stop()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	const block, trailer = 512, 2 * 512 // of a tar archive
	damaged := map[string][]byte{}
	for n := len(whole) - trailer - block; n > len(whole)-trailer-12*block; n -= block {
		damaged[fmt.Sprintf("without its last %d bytes", len(whole)-n)] = whole[:n]
	}
	for _, text := range []string{"the authority", "the keys of Secrets", "of the webhook"} {
		damaged["with another for "+text] = bytes.Replace(whole, []byte(text), []byte(strings.ToUpper(text)), 1)
	}
	fresh := t.TempDir()
	bad := filepath.Join(t.TempDir(), "bad.tar")
	for name, content := range damaged {
		if err := os.WriteFile(bad, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := Restore(fresh, bad, time.Now()); err == nil {
			t.Fatalf("%s: %+v", name, r)
		}
		if list, err := os.ReadDir(fresh); err != nil || len(list) != 0 {
			t.Errorf("%s: there are %v, %v", name, list, err)
		}
	}
}

func TestARestoreThatIsCutShortIsSeenUntilAnotherIsDone(t *testing.T) {
	dir, stop := controlPlane(t, "then")
	to := t.TempDir()
	file, bad := filepath.Join(to, "backup.tar"), filepath.Join(to, "bad.tar")
	if _, err := Write(t.Context(), dir, file); err != nil {
		t.Fatal(err)
	}
	stop()
	put(t, to, "bad.tar", "what?")
	fresh := t.TempDir()
	inTheWay := filepath.Join(fresh, "pki", "encryption.yaml.tmp")
	if err := os.MkdirAll(inTheWay, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{file, bad, file} {
		if _, err := Restore(fresh, f, time.Now()); err == nil {
			t.Fatal("it is not said that a key was not written")
		}
		if at, is := CutShort(fresh); !is || at != filepath.Join(fresh, "etcd.restoring") {
			t.Fatalf("after a restore from %s that failed amid the keys: %s, %v", f, at, is)
		}
	}
	if err := os.Remove(inTheWay); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(fresh, file, time.Now()); err != nil {
		t.Fatal(err)
	}
	if at, is := CutShort(fresh); is || holds(t, filepath.Join(fresh, etcdDir)) != "then" {
		t.Errorf("after another: %s, %v", at, is)
	}
}

func TestABackupReplacesNothingButFiles(t *testing.T) {
	dir, stop := controlPlane(t, "now")
	defer stop()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), dir, pipe); err == nil {
		t.Error("a pipe was written over")
	}
	if info, err := os.Lstat(pipe); err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		t.Errorf("it is %v, %v", info, err)
	}
}

// Of a rotation that is under way the backup may have the objects of before, and the keys of after it.
func TestThereIsNoBackupWhileKeysChange(t *testing.T) {
	dir, stop := controlPlane(t, "now")
	defer stop()
	file := filepath.Join(t.TempDir(), "backup.tar")
	ctx, cancel := context.WithCancel(t.Context())
	var rotation sync.WaitGroup
	rotation.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			key := filepath.Join(dir, keysDir, "encryption.yaml")
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "next"), []byte(strconv.Itoa(i)), 0o600), os.Rename(filepath.Join(dir, "next"), key)); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Millisecond)
		}
	})
	_, err := Write(t.Context(), dir, file)
	cancel()
	rotation.Wait()
	if err == nil || !strings.Contains(err.Error(), "take it again") {
		t.Errorf("%v", err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("there is one")
	}
	if _, err := Write(t.Context(), dir, file); err != nil {
		t.Error(err)
	}
}

func TestABackupSweepsWhatKilledOnesHaveLeft(t *testing.T) {
	dir, stop := controlPlane(t, "1")
	defer stop()
	out := t.TempDir()
	left := func() (names []string) {
		t.Helper()
		all, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			names = append(names, e.Name())
		}
		return names
	}
	for _, name := range []string{".backup-1234", ".backup-1234.db", "backup-of-mine"} {
		if err := os.WriteFile(filepath.Join(out, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// They may be another's that is being written.
	other, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Flock(int(other.Fd()), unix.LOCK_SH); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), dir, filepath.Join(out, "a.tar")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(left(), " "); got != ".backup-1234 .backup-1234.db a.tar backup-of-mine" {
		t.Errorf("beside another that is being written there are %s", got)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Write(t.Context(), dir, filepath.Join(out, "a.tar")); err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(left(), " "); got != "a.tar backup-of-mine" {
		t.Errorf("there are %s", got)
	}
}

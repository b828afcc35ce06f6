package encryption

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/storage/value"
)

var (
	secrets = corev1.Resource("secrets")
	at      = value.DefaultContext("/registry/secrets/shop/password")
	plain   = []byte("the password")
)

func open(t *testing.T) (*Keys, string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "encryption.yaml")
	if err := EnsureFile(file); err != nil {
		t.Fatal(err)
	}
	k, err := Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, file
}

func TestASecretIsStoredUnreadableAndComesBack(t *testing.T) {
	k, _ := open(t)
	stored, err := k.Transformer(secrets).TransformToStorage(t.Context(), plain, at)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(stored, plain) {
		t.Errorf("stored in the clear: %q", stored)
	}
	got, stale, err := k.Transformer(secrets).TransformFromStorage(t.Context(), stored, at)
	if err != nil || stale || !bytes.Equal(got, plain) {
		t.Errorf("read back %q, stale=%v, %v", got, stale, err)
	}
}

func TestWhatWasStoredInTheClearIsReadAndWrittenAgain(t *testing.T) {
	k, _ := open(t)
	got, stale, err := k.Transformer(secrets).TransformFromStorage(t.Context(), plain, at)
	if err != nil || !stale || !bytes.Equal(got, plain) {
		t.Errorf("read %q, stale=%v, %v; want it stale", got, stale, err)
	}
}

func TestOtherResourcesAreStoredAsTheyAre(t *testing.T) {
	k, _ := open(t)
	got, err := k.Transformer(corev1.Resource("configmaps")).TransformToStorage(t.Context(), plain, at)
	if err != nil || !bytes.Equal(got, plain) {
		t.Errorf("stored %q, %v", got, err)
	}
}

func TestANewKeyIsUsedAtOnceAndTheOldOneEndsOnlyWhenDropped(t *testing.T) {
	k, file := open(t)
	old, err := k.Transformer(secrets).TransformToStorage(t.Context(), plain, at)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := AddKey(file, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := k.Transformer(secrets).TransformFromStorage(t.Context(), old, at); err != nil || !stale {
		t.Errorf("an object of the old key: stale=%v, %v; want it readable and stale", stale, err)
	}
	fresh, err := k.Transformer(secrets).TransformToStorage(t.Context(), plain, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := DropOldKeys(file); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := k.Transformer(secrets).TransformFromStorage(t.Context(), fresh, at); err != nil || stale {
		t.Errorf("an object of the new key: stale=%v, %v", stale, err)
	}
	if _, _, err := k.Transformer(secrets).TransformFromStorage(t.Context(), old, at); err == nil {
		t.Error("the old key still opens what it closed")
	}
}

func TestABrokenFileStopsAStartButNotARunningServer(t *testing.T) {
	k, file := open(t)
	stored, err := k.Transformer(secrets).TransformToStorage(t.Context(), plain, at)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("not a configuration"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := k.Transformer(secrets).TransformFromStorage(t.Context(), stored, at); err != nil {
		t.Errorf("a running server lost its keys: %v", err)
	}
	if _, err := Open(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a start gave %v, want an error that names %s", err, file)
	}
}

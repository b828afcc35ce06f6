package durable

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsReplacedOrLeft(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, content := range []string{"one", "2"} {
		if err := Replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if b, err := os.ReadFile(path); string(b) != content || err != nil {
			t.Errorf("it holds %q (%v), want %q", b, err, content)
		}
	}
	if err := os.Mkdir(path+".tmp", 0o700); err != nil { // nothing can be written there
		t.Fatal(err)
	}
	if err := Replace(path, []byte("three")); err == nil {
		t.Error("it is not said that nothing was written")
	}
	if b, err := os.ReadFile(path); string(b) != "2" || err != nil {
		t.Errorf("it holds %q (%v) after a failure", b, err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o600 {
		t.Errorf("its mode is %v (%v)", info.Mode(), err)
	}
}

package volume

import (
	"os"
	"path/filepath"
	"testing"
)

func TestATargetBecomesWhatIsToBeMounted(t *testing.T) {
	target := filepath.Join(t.TempDir(), "c", "0")
	for _, dir := range []bool{false, true, true, false, false} {
		if err := makeTarget(target, dir); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Lstat(target); err != nil || info.IsDir() != dir {
			t.Errorf("it is %v (%v), want a directory: %t", info, err, dir)
		}
	}
}

package serve

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gitopsd/gitopsd/internal/controlplane/etcd"
)

func TestALossIsNotedAndAHalfRestoredStateIsNotWorkedWith(t *testing.T) {
	for _, test := range []struct {
		name      string
		dirs      []string
		unsettled bool
		err       string
	}{
		{name: "new"},
		{name: "as it should be", dirs: []string{"pki", "etcd/member/wal"}},
		{name: "lost", dirs: []string{"pki"}, unsettled: true},
		{name: "killed before it was noted", dirs: []string{"pki", "etcd"}, unsettled: true},
		{name: "a restore was cut short", dirs: []string{"pki", "etcd.restoring/etcd"}, err: "run gitopsd restore again"},
		{name: "one was cut short before it changed anything", dirs: []string{"pki", "etcd/member/wal", "etcd.restoring"}},
	} {
		dir := t.TempDir()
		for _, d := range test.dirs {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		err := noteLoss(dir)
		if (err == nil) != (test.err == "") || err != nil && !strings.Contains(err.Error(), test.err) {
			t.Errorf("%s: %v", test.name, err)
		}
		if got := etcd.Unsettled(etcdDir(dir)); got != test.unsettled {
			t.Errorf("%s: unsettled is %v", test.name, got)
		}
	}
}

package kubelet_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// containerd's own collector forgets what was removed while its last collection was ending; this one, which does nothing by itself for a day, forgets it every time.
const forgetful = `version = 2
root = %q
state = %q
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = %q
[plugins."io.containerd.gc.v1.scheduler"]
startup_delay = "24h"
deletion_threshold = 1000000
`

func TestTheFilesOfAContainerGoAlsoWhenContainerdForgetsThem(t *testing.T) {
	h := prepare(t)
	r := &runtimeOf{h: h, dir: filepath.Join(h.dir, "c")}
	if err := os.MkdirAll(r.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(forgetful, filepath.Join(r.dir, "root"), filepath.Join(r.dir, "state"), r.socket())
	if err := os.WriteFile(filepath.Join(r.dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	h.flags = append(h.flags, "--containerd-address", r.socket())
	h.cleanFlags = []string{"--containerd-address", r.socket()}
	r.start()
	t.Cleanup(func() { r.kill() })
	h.startNode()
	h.eventually("the node to be Ready", h.nodeReady)

	written := func() string {
		found, _ := filepath.Glob(filepath.Join(r.dir, "root", "io.containerd.snapshotter.v1.overlayfs", "snapshots", "*", "fs", "mark"))
		return strings.Join(found, " ")
	}
	for _, name := range []string{"first", "second"} {
		h.create(name, `{containers: [{name: c, command: [sh, -c, "touch /mark; exec sleep 1000"]}]}`)
		h.wait(name, "to be ready", ready)
		h.eventually("the container's file", func() (bool, string) { return written() != "", "there is none" })
		h.delete(name)
		h.waitGone(name)
		h.eventually("the container's file to be gone", func() (bool, string) {
			left := written()
			return left == "", left
		})
	}
}

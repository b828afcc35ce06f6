package kubelet_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/inspect"
)

// command runs the node program on this host's node, and gives what it printed.
func (h *host) command(args ...string) (string, error) {
	h.t.Helper()
	args = append(args, "--data-dir", filepath.Join(h.dir, "n"))
	cmd := exec.Command(filepath.Join(os.Getenv(dirVariable), "node"), args...)
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		return string(out) + errOut.String(), err
	}
	return string(out), nil
}

func TestANodeTellsWhatRunsAndLooksAfterItsImagesByItself(t *testing.T) {
	reg := serveRegistry(t, "", "")
	reg.push("app:1", busyboxImage(t))
	reg.push("data:1", dataImage(t, "file", "x"))
	h := start(t)
	h.create("web", `{volumes: [{name: v, image: {reference: "`+reg.addr+`/data:1"}}], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}]}`)
	h.wait("web", "to be ready", ready)
	read := func(t *testing.T) (st inspect.Status) {
		t.Helper()
		out, err := h.command("status", "-o", "json")
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if err := json.Unmarshal([]byte(out), &st); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return st
	}
	images := func(t *testing.T) (refs []string) {
		t.Helper()
		out, err := h.command("images", "ls", "-o", "json")
		var list []inspect.Image
		if err != nil || json.Unmarshal([]byte(out), &list) != nil {
			t.Fatalf("%v: %s", err, out)
		}
		for _, i := range list {
			refs = append(refs, i.Ref)
		}
		return refs
	}

	h.run("images are pulled, loaded and pruned", func(t *testing.T) {
		if out, err := h.command("images", "pull", reg.addr+"/app:1"); err != nil || !strings.HasPrefix(out, reg.addr+"/app:1  sha256:") {
			t.Fatalf("pull: %v: %s", err, out)
		}
		tag, err := name.NewTag("registry.example/loaded:1")
		if err != nil {
			t.Fatal(err)
		}
		archive := filepath.Join(h.dir, "loaded.tar")
		if err := tarball.WriteToFile(archive, tag, busyboxImage(t)); err != nil {
			t.Fatal(err)
		}
		if out, err := h.command("images", "import", archive); err != nil || out != "registry.example/loaded:1\n" {
			t.Fatalf("import: %v: %s", err, out)
		}
		want := []string{reg.addr + "/app:1", reg.addr + "/data:1", testImage, "registry.example/loaded:1"}
		if got := images(t); !slices.Equal(got, want) {
			t.Errorf("there are %q, want %q", got, want)
		}
		// The one that a volume shows is in use, and what was loaded cannot be fetched again. The image of /app is the same as those, by another name.
		reg.push("other:1", dataImage(t, "file", "y"))
		if out, err := h.command("images", "pull", reg.addr+"/other:1"); err != nil {
			t.Fatalf("pull: %v: %s", err, out)
		}
		if out, err := h.command("images", "prune"); err != nil || !strings.Contains(out, reg.addr+"/other:1\n") {
			t.Errorf("prune: %v: %s", err, out)
		}
		got := images(t)
		for _, ref := range []string{reg.addr + "/data:1", testImage, "registry.example/loaded:1"} {
			if !slices.Contains(got, ref) {
				t.Errorf("%s was removed; there are %q", ref, got)
			}
		}
		if slices.Contains(got, reg.addr+"/other:1") {
			t.Errorf("an unused image is still there: %q", got)
		}
		h.create("loaded", `{containers: [{name: c, image: "registry.example/loaded:1", imagePullPolicy: Never}]}`)
		h.wait("loaded", "to be ready", ready)
		h.delete("loaded")
		h.waitGone("loaded")
		if out, err := h.command("images", "pull", reg.addr+"/none:1"); err == nil || !strings.Contains(out, "check the name and the tag") {
			t.Errorf("pulling what there is not: %v: %s", err, out)
		}
		if out, err := h.command("images", "shrink"); err == nil || !strings.Contains(out, "there are ls, pull, import and prune") {
			t.Errorf("an unknown command: %v: %s", err, out)
		}
	})

	h.run("the status needs neither control plane nor daemon", func(t *testing.T) {
		if st := read(t); !st.Daemon || st.Containerd == "" || len(st.Pods) != 1 || st.Pods[0].Name != "web" || st.Pods[0].Containers[0].State != "running" || st.Pods[0].Containers[0].PID == 0 {
			t.Errorf("it says %+v", st)
		}
		h.stopAPI()
		h.killNode()
		st := read(t)
		if st.Daemon || st.Pods[0].Phase != v1.PodRunning || !st.Pods[0].Containers[0].Ready || len(st.Pods[0].IPs) != 1 {
			t.Errorf("it says %+v", st)
		}
		out, err := h.command("status")
		if err != nil || !strings.Contains(out, "does not run; containers run on") || !strings.Contains(out, "web") || !strings.Contains(out, "1/1") {
			t.Errorf("%v: %s", err, out)
		}
		if out, err := exec.Command(filepath.Join(os.Getenv(dirVariable), "node"), "status", "--data-dir", filepath.Join(h.dir, "nowhere")).CombinedOutput(); err == nil || !strings.Contains(string(out), "name the one that the daemon was started with") {
			t.Errorf("of no node: %v: %s", err, out)
		}
	})
}

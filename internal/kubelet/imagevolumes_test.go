package kubelet_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	registryv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
)

// dataImage holds files only, a layer each, and nothing to run.
func dataImage(t testing.TB, files ...string) registryv1.Image {
	t.Helper()
	img := empty.Image
	for i := 0; i < len(files); i += 2 {
		var layer bytes.Buffer
		w := tar.NewWriter(&layer)
		if err := w.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		io.WriteString(w, files[i+1])
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", "amd64"
	if img, err = mutate.ConfigFile(img, cfg); err != nil {
		t.Fatal(err)
	}
	return img
}

func TestImageVolumesShowAnImagesFiles(t *testing.T) {
	reg := serveRegistry(t, "", "")
	reg.push("data:1", dataImage(t, "data/hello", "hello from one", "conf/app.ini", "a=1"))
	reg.push("single:1", dataImage(t, "file", "single layer"))
	h := start(t)
	volume := func(name, ref, policy string) string {
		return fmt.Sprintf("{name: %s, image: {reference: %q, pullPolicy: %s}}", name, reg.addr+"/"+ref, policy)
	}
	views := func() (keys []string) {
		r, err := runtime.Connect(filepath.Join(h.dir, "n", "containerd", "containerd.sock"), filepath.Join(h.dir, "exec"), filepath.Join(h.dir, "n", "roots"))
		if err != nil {
			h.t.Fatal(err)
		}
		defer r.Client.Close()
		if err := r.Client.SnapshotService(image.Snapshotter).Walk(h.ctx(), func(_ context.Context, i snapshots.Info) error {
			if i.Kind == snapshots.KindView {
				keys = append(keys, i.Name)
			}
			return nil
		}); err != nil {
			h.t.Fatal(err)
		}
		return keys
	}

	h.run("read-only, whole or a part of them, and keep them", func(t *testing.T) {
		// The container ends when it is told to, and prints what it sees each time it starts.
		h.create("shows", `{restartPolicy: Always, volumes: [`+volume("data", "data:1", "Always")+`, `+volume("single", "single:1", "IfNotPresent")+`, {name: own, emptyDir: {}}],
containers: [{name: c, command: [sh, -c, 'cat /d/data/hello /d/conf/app.ini /part/app.ini /s/file; touch /d/x /s/x 2>&1; echo; until test -e /own/end; do sleep 0.1; done; rm /own/end'],
  volumeMounts: [{name: data, mountPath: /d}, {name: data, mountPath: /part, subPath: conf}, {name: single, mountPath: /s}, {name: own, mountPath: /own}]}]}`)
		p := h.wait("shows", "to be ready", ready)
		want := "hello from onea=1a=1single layer"
		h.eventually("the files to be told of", func() (bool, string) {
			out := h.logs("shows", v1.PodLogOptions{})
			return strings.HasPrefix(out, want) && strings.Count(out, "Read-only file system") == 2, out
		})
		ref := func(p *v1.Pod) string {
			for _, m := range p.Status.ContainerStatuses[0].VolumeMounts {
				if m.Name == "data" && m.VolumeStatus != nil && m.VolumeStatus.Image != nil {
					return m.VolumeStatus.Image.ImageRef
				}
			}
			return ""
		}
		if got := ref(p); !strings.HasPrefix(got, reg.addr+"/data@sha256:") {
			t.Errorf("the status says that the volume shows the image %q", got)
		}
		reg.push("data:1", dataImage(t, "data/hello", "hello from two", "conf/app.ini", "a=2"))
		h.killNode()
		h.startNode()
		h.eventually("the daemon to serve again", func() (bool, string) {
			out, err := h.tryExec("shows", "touch", "/own/end")
			return err == nil, fmt.Sprint(out, err)
		})
		again := h.wait("shows", "to run again", func(p *v1.Pod) bool { return p.Status.ContainerStatuses[0].RestartCount == 1 && ready(p) })
		h.eventually("the same files to be told of again", func() (bool, string) {
			out := h.logs("shows", v1.PodLogOptions{})
			return strings.HasPrefix(out, want), out
		})
		if ref(again) != ref(p) {
			t.Errorf("the volume showed %q, and after a restart of its container %q", ref(p), ref(again))
		}
		h.delete("shows")
		h.waitGone("shows")
		if left := views(); len(left) > 0 {
			t.Errorf("views of images are left: %v", left)
		}
	})

	h.run("an image that cannot be had keeps back the container that mounts it, and says why", func(t *testing.T) {
		h.create("missing", `{volumes: [`+volume("v", "nothing:1", "IfNotPresent")+`, `+volume("n", "absent:1", "Never")+`],
containers: [{name: c, volumeMounts: [{name: v, mountPath: /v}]}, {name: other}, {name: never, volumeMounts: [{name: n, mountPath: /n}]}]}`)
		p := h.wait("missing", "to wait for the image", waiting("ImagePullBackOff"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, "nothing:1") || !strings.Contains(m, `volume "v"`) {
			t.Errorf("the container says %q", m)
		}
		h.wait("missing", "to run its other container", func(p *v1.Pod) bool { return p.Status.ContainerStatuses[1].State.Running != nil })
		h.wait("missing", "to have one that may not pull", waiting("ErrImageNeverPull"))
		h.told("missing", "Failed", fmt.Sprintf("Failed to pull image %q", reg.addr+"/nothing:1"))
		h.told("missing", "ErrImageNeverPull", "absent:1")
		reg.push("nothing:1", dataImage(t, "file", "late"))
		h.wait("missing", "to go on once it can be had", func(p *v1.Pod) bool { return p.Status.ContainerStatuses[0].State.Running != nil })
		h.delete("missing")
	})

	h.run("one that was had, but never mounted, goes with its Pod", func(t *testing.T) {
		h.waitGone("missing")
		h.create("half", `{volumes: [`+volume("there", "single:1", "IfNotPresent")+`, `+volume("n", "absent:1", "Never")+`],
containers: [{name: c, volumeMounts: [{name: there, mountPath: /there}, {name: n, mountPath: /n}]}]}`)
		h.wait("half", "to have one that may not pull", waiting("ErrImageNeverPull"))
		if got := views(); len(got) != 1 {
			t.Errorf("views of images: %v", got)
		}
		h.delete("half")
		h.waitGone("half")
		if left := views(); len(left) > 0 {
			t.Errorf("views of images are left: %v", left)
		}
	})

	h.run("a part that the image does not have is no new directory", func(t *testing.T) {
		h.create("part", `{volumes: [`+volume("v", "single:1", "IfNotPresent")+`], containers: [{name: c, volumeMounts: [{name: v, mountPath: /v, subPath: nowhere}]}]}`)
		p := h.wait("part", "to be refused", waiting("CreateContainerConfigError"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, `subPath "nowhere"`) {
			t.Errorf("the container says %q", m)
		}
		h.delete("part")
	})
}

package images

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Web is the repository of the demo's web server; its tags are v1 and v2. The name ends in a domain that never exists (RFC 2606), so
// that no node can pull it from anywhere but what a test gives it.
const Web = "registry.example/web"

// New makes an image that runs the program as an ordinary user, with VERSION in its environment, so that two images of one program differ.
func New(program, version string) (v1.Image, error) {
	bin, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("pack an image: %w: build it first with: make build", err)
	}
	entry := "/" + filepath.Base(program)
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: entry[1:], Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(bin))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(bin); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return FromLayer(layer.Bytes(), Config{Entrypoint: []string{entry}, Env: []string{"VERSION=" + version}, User: "65532:65532"})
}

// Config is how an image's program is run.
type Config struct {
	Entrypoint, Env []string
	User            string
}

// FromLayer makes an image of one layer, given as a tar archive.
func FromLayer(layer []byte, run Config) (v1.Image, error) {
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil },
		tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON), l)
	if err != nil {
		return nil, err
	}
	cfg, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cfg = cfg.DeepCopy()
	cfg.OS, cfg.Architecture = "linux", runtime.GOARCH
	cfg.Config.Entrypoint, cfg.Config.Env, cfg.Config.User = run.Entrypoint, run.Env, run.User
	return mutate.ConfigFile(img, cfg)
}

// Save writes images, by their full names, as one archive.
func Save(archive string, images map[string]v1.Image) error {
	dir, err := os.MkdirTemp(filepath.Dir(archive), ".oci-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	for ref, img := range images {
		if _, err := name.ParseReference(ref); err != nil {
			return err
		}
		err := path.ReplaceImage(img, match.Name(ref), layout.WithAnnotations(map[string]string{
			"io.containerd.image.name":          ref,
			"org.opencontainers.image.ref.name": ref,
		}))
		if err != nil {
			return err
		}
	}
	return pack(archive, dir)
}

// pack makes a tar file of a folder, which appears under its name only when it is complete: a node may be watching.
func pack(archive, dir string) error {
	tmp, err := os.CreateTemp(filepath.Dir(archive), ".tar-")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	w := tar.NewWriter(tmp)
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(&tar.Header{Name: filepath.ToSlash(rel), Mode: 0o644, Size: int64(len(data))}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err == nil {
		err = w.Close()
	}
	if closing := tmp.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	if err := os.Chmod(tmp.Name(), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), archive)
}

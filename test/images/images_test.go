package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "web")
	if err := os.WriteFile(file, []byte("not really a program"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheSameProgramGivesTheSameImageAndAnotherVersionAnother(t *testing.T) {
	file := program(t)
	digest := func(version string) v1.Hash {
		img, err := New(file, version)
		if err != nil {
			t.Fatal(err)
		}
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if a, b := digest("v1"), digest("v1"); a != b {
		t.Errorf("packed twice: %s and %s", a, b)
	}
	if a, b := digest("v1"), digest("v2"); a == b {
		t.Errorf("v1 and v2 are both %s", a)
	}
}

func TestArchiveIsAnImageLayoutThatNamesItsImages(t *testing.T) {
	file := program(t)
	v1Image, err := New(file, "v1")
	if err != nil {
		t.Fatal(err)
	}
	v2Image, err := New(file, "v2")
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "web.tar")
	if err := Save(archive, map[string]v1.Image{Web + ":v1": v1Image, Web + ":v2": v2Image}); err != nil {
		t.Fatal(err)
	}
	index, err := layout.ImageIndexFromPath(unpack(t, archive))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]v1.Hash{}
	for _, m := range manifest.Manifests {
		names[m.Annotations["io.containerd.image.name"]] = m.Digest
	}
	for name, img := range map[string]v1.Image{Web + ":v1": v1Image, Web + ":v2": v2Image} {
		if want, err := img.Digest(); err != nil || names[name] != want {
			t.Errorf("%s is %s in the archive, want %s (%v)", name, names[name], want, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(archive), ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func unpack(t *testing.T, archive string) string {
	t.Helper()
	f, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	dir := t.TempDir()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return dir
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, h.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMissingProgramIsNamedWithTheRemedy(t *testing.T) {
	_, err := New("/nowhere/web", "v1")
	if err == nil || !strings.Contains(err.Error(), "/nowhere/web") || !strings.Contains(err.Error(), "make build") {
		t.Errorf("error %v, want one that names the file and the remedy", err)
	}
}

func TestRegistryServesTheImagesManifestAndBlobs(t *testing.T) {
	img, err := New(program(t), "v1")
	if err != nil {
		t.Fatal(err)
	}
	registry, err := Registry(map[string]v1.Image{"registry.example/shop/web:v1": img})
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := img.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string][]byte{
		"/v2/shop/web/manifests/v1":             manifest,
		"/v2/shop/web/blobs/" + digest.String(): config,
	} {
		w := httptest.NewRecorder()
		registry.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), want) {
			t.Errorf("GET %s: status %d, %d bytes, want %d", path, w.Code, w.Body.Len(), len(want))
		}
	}
}

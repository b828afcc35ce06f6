package kubelet_test

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	registryv1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// testRegistry is a registry in this process, on loopback.
type testRegistry struct {
	t              testing.TB
	addr           string
	user, password string
	manifests      atomic.Int32
	delay          func(*http.Request) // before a request that fetches is answered; set before anybody fetches
}

// serveRegistry serves one that wants a user and a password, if given.
func serveRegistry(t testing.TB, user, password string) *testRegistry {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &testRegistry{t: t, addr: l.Addr().String(), user: user, password: password}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if u, p, _ := req.BasicAuth(); user != "" && (u != user || p != password) {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if strings.Contains(req.URL.Path, "/manifests/") && req.Method != http.MethodPut {
			r.manifests.Add(1)
		}
		if r.delay != nil && req.Method == http.MethodGet {
			r.delay(req)
		}
		inner.ServeHTTP(w, req)
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return r
}

// push uploads an image as the distribution specification says. The library's own client for that brings Docker's configuration with it.
func (r *testRegistry) push(tag string, img registryv1.Image) {
	r.t.Helper()
	repo, version, _ := strings.Cut(tag, ":")
	put := func(method, url, kind string, body io.Reader) string {
		req, err := http.NewRequestWithContext(r.t.Context(), method, url, body)
		if err != nil {
			r.t.Fatal(err)
		}
		req.Header.Set("Content-Type", kind)
		req.SetBasicAuth(r.user, r.password)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			r.t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode >= 300 {
			r.t.Fatalf("%s %s: %s", method, url, res.Status)
		}
		return res.Header.Get("Location")
	}
	base := "http://" + r.addr
	blob := func(digest registryv1.Hash, content io.Reader) {
		at := put(http.MethodPost, base+"/v2/"+repo+"/blobs/uploads/", "", nil)
		put(http.MethodPut, base+at+"?digest="+digest.String(), "application/octet-stream", content)
	}
	layers, err := img.Layers()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			r.t.Fatal(err)
		}
		content, err := l.Compressed()
		if err != nil {
			r.t.Fatal(err)
		}
		blob(digest, content)
	}
	config, err := img.RawConfigFile()
	if err != nil {
		r.t.Fatal(err)
	}
	digest, err := img.ConfigName()
	if err != nil {
		r.t.Fatal(err)
	}
	blob(digest, bytes.NewReader(config))
	manifest, err := img.RawManifest()
	if err != nil {
		r.t.Fatal(err)
	}
	kind, err := img.MediaType()
	if err != nil {
		r.t.Fatal(err)
	}
	put(http.MethodPut, base+"/v2/"+repo+"/manifests/"+version, string(kind), bytes.NewReader(manifest))
}

// pushLarge pushes an image with a file of the given size that does not compress.
func (r *testRegistry) pushLarge(tag string, size int) {
	r.t.Helper()
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "large", Mode: 0o644, Size: int64(size)}); err != nil {
		r.t.Fatal(err)
	}
	if _, err := io.CopyN(w, rand.Reader, int64(size)); err != nil {
		r.t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		r.t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		r.t.Fatal(err)
	}
	img, err := mutate.AppendLayers(busyboxImage(r.t), l)
	if err != nil {
		r.t.Fatal(err)
	}
	r.push(tag, img)
}

func TestImagesComeFromRegistriesMirrorsAndArchives(t *testing.T) {
	mirror := serveRegistry(t, "", "")
	h := start(t, "--mirror", "http://"+mirror.addr)
	private := serveRegistry(t, "user", "pass")
	private.push("app:1", busyboxImage(t))
	mirror.push("mirrored:1", busyboxImage(t))

	h.run("with a pull secret", func(t *testing.T) {
		auth := base64.StdEncoding.EncodeToString([]byte("user:pass"))
		if _, err := h.client.CoreV1().Secrets("default").Create(h.ctx(), &v1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "pull"}, Type: v1.SecretTypeDockerConfigJson,
			Data: map[string][]byte{v1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, private.addr, auth)}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		h.create("nosecret", fmt.Sprintf(`{containers: [{name: c, image: "%s/app:1"}]}`, private.addr))
		h.wait("nosecret", "to be refused", waiting("ImagePullBackOff"))
		if e := h.event("nosecret", "Failed"); !strings.Contains(e.Message, "imagePullSecrets") {
			t.Errorf("the event does not say what to do: %s", e.Message)
		}
		h.create("secret", fmt.Sprintf(`{imagePullSecrets: [{name: pull}], containers: [{name: c, image: "%s/app:1"}]}`, private.addr))
		p := h.wait("secret", "to be ready", ready)
		if id := p.Status.ContainerStatuses[0].ImageID; !strings.HasPrefix(id, private.addr+"/app@sha256:") {
			t.Errorf("its imageID is %q", id)
		}
		if e := h.event("secret", "Pulled"); !strings.HasPrefix(e.Message, "Successfully pulled image") {
			t.Errorf("the event says %q", e.Message)
		}
	})

	h.run("from the mirror first, whatever registry the name says", func(t *testing.T) {
		h.create("mirrored", `{containers: [{name: c, image: "nowhere.example/mirrored:1"}]}`)
		h.wait("mirrored", "to be ready", ready)
		h.create("always", `{containers: [{name: c, image: "nowhere.example/mirrored:1", imagePullPolicy: Always}]}`)
		before := mirror.manifests.Load()
		h.wait("always", "to be ready", ready)
		if mirror.manifests.Load() == before {
			h.event("always", "Pulled")
		}
		asked := mirror.manifests.Load()
		h.create("present", `{containers: [{name: c, image: "nowhere.example/mirrored:1", imagePullPolicy: IfNotPresent}]}`)
		h.wait("present", "to be ready", ready)
		if got := mirror.manifests.Load(); got != asked {
			t.Errorf("a present image was asked for %d times", got-asked)
		}
	})

	h.run("from an archive that appears later", func(t *testing.T) {
		h.create("later", `{containers: [{name: c, image: "registry.example/later:1", imagePullPolicy: Never}]}`)
		h.wait("later", "to wait for its image", waiting("ErrImageNeverPull"))
		tag, err := name.NewTag("registry.example/later:1")
		if err != nil {
			t.Fatal(err)
		}
		if err := tarball.WriteToFile(filepath.Join(h.dir, "n", "images", "later.tar"), tag, busyboxImage(t)); err != nil {
			t.Fatal(err)
		}
		h.wait("later", "to be ready", ready)
	})
}

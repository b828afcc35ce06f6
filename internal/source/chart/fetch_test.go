package chart_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
)

// clear is a server without TLS, which counts what it is asked, and what of that could be read with a password on the way.
type clear struct {
	*httptest.Server
	asked, told atomic.Int64
}

func inTheClear(t *testing.T, next http.Handler) *clear {
	t.Helper()
	c := &clear{}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.asked.Add(1)
		if r.Header.Get("Authorization") != "" {
			c.told.Add(1)
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// behind lets in whoever has the password.
func behind(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="charts"`)
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// charts is a registry with version 1.0.0 of the chart web, and its host and port.
func charts(t *testing.T) http.Handler {
	t.Helper()
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s := httptest.NewServer(handler)
	defer s.Close()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	text := "apiVersion: v2\nname: web\nversion: 1.0.0\n"
	if err := w.WriteHeader(&tar.Header{Name: "web/Chart.yaml", Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	for _, c := range []io.Closer{w, z} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	image, err := mutate.AppendLayers(empty.Image, static.NewLayer(b.Bytes(), "application/vnd.cncf.helm.chart.content.v1.tar+gzip"))
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(s.URL, "http://") + "/charts/web:1.0.0")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, image); err != nil {
		t.Fatal(err)
	}
	return handler
}

var me = source.Credentials{Secret: "shop/charts", Username: "me", Password: "s3cret"}

func fetch(t *testing.T, f *chart.Fetcher, repository string, c source.Credentials) error {
	t.Helper()
	_, err := f.Fetch(t.Context(), chart.Reference{Repository: repository, Name: "web", Version: "1.0.0", Credentials: c})
	return err
}

// The library would ask a registry at a private address or on this host by plain HTTP where https fails, which whoever is on the way can bring about.
func TestARegistryWithoutTLSIsAskedOnlyWhereTheApplicationSaysSo(t *testing.T) {
	s := inTheClear(t, behind(charts(t)))
	at, f := "oci"+strings.TrimPrefix(s.URL, "http")+"/charts", &chart.Fetcher{}
	if err := fetch(t, f, at, me); err == nil || !strings.Contains(err.Error(), "plain HTTP is refused") || !strings.Contains(err.Error(), "insecure: true") || s.asked.Load() != 0 {
		t.Errorf("%d requests by plain HTTP, %d with the password: %v", s.asked.Load(), s.told.Load(), err)
	}
	asked := me
	asked.Insecure = true
	if err := fetch(t, f, at, asked); err != nil || s.told.Load() == 0 {
		t.Errorf("with insecure: %v", err)
	}
	if err := fetch(t, f, at, me); err == nil {
		t.Error("an Application that did not ask for it got the chart that another fetched by plain HTTP")
	}
}

func TestARedirectToPlainHTTPIsNotFollowed(t *testing.T) {
	registry := inTheClear(t, behind(charts(t)))
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, registry.URL+r.URL.Path, http.StatusTemporaryRedirect)
	}))
	t.Cleanup(s.Close)
	c := me
	c.CAFile = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	for _, scheme := range []string{"oci", "https"} {
		if err := fetch(t, &chart.Fetcher{}, scheme+strings.TrimPrefix(s.URL, "https")+"/charts", c); err == nil || !strings.Contains(err.Error(), "plain HTTP is refused") || registry.asked.Load() != 0 {
			t.Errorf("%s: %d requests by plain HTTP, %d with the password: %v", scheme, registry.asked.Load(), registry.told.Load(), err)
		}
	}
}

// An index over https proves the archive by its digest, wherever that is; without a digest nothing does.
func TestAnArchiveAtAPlainURLNeedsADigest(t *testing.T) {
	archive := inTheClear(t, http.NotFoundHandler())
	s := httptest.NewTLSServer(behind(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "entries: {web: [{version: 1.0.0, urls: ['"+archive.URL+"/web.tgz']}]}")
	})))
	t.Cleanup(s.Close)
	c := me
	c.CAFile = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	if err := fetch(t, &chart.Fetcher{}, s.URL, c); err == nil || !strings.Contains(err.Error(), "has no digest for it") || archive.asked.Load() != 0 {
		t.Errorf("%d requests: %v", archive.asked.Load(), err)
	}
}

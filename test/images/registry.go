package images

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Registry is a registry in memory that holds the images, by their full names. Whoever asks for one leaves out the name's host, as with
// any mirror.
func Registry(images map[string]v1.Image) (http.Handler, error) {
	r := store{registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	for ref, img := range images {
		if err := r.push(ref, img); err != nil {
			return nil, fmt.Errorf("put %s into the registry: %w", ref, err)
		}
	}
	return r, nil
}

// store is a registry that is filled by direct calls of its own API (github.com/opencontainers/distribution-spec), without a network.
type store struct{ http.Handler }

func (r store) push(ref string, img v1.Image) error {
	parsed, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	path := "/v2/" + parsed.Context().RepositoryStr()
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		digest, err := l.Digest()
		if err != nil {
			return err
		}
		blob, err := l.Compressed()
		if err != nil {
			return err
		}
		if err := r.send(http.MethodPost, path+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", blob); err != nil {
			return err
		}
	}
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	digest, err := img.ConfigName()
	if err != nil {
		return err
	}
	if err := r.send(http.MethodPost, path+"/blobs/uploads/?digest="+digest.String(), "application/octet-stream", bytes.NewReader(config)); err != nil {
		return err
	}
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	mediaType, err := img.MediaType()
	if err != nil {
		return err
	}
	return r.send(http.MethodPut, path+"/manifests/"+parsed.Identifier(), string(mediaType), bytes.NewReader(manifest))
}

func (r store) send(method, path, contentType string, body io.Reader) error {
	req := httptest.NewRequest(method, path, body)
	req.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		return fmt.Errorf("%s %s: status %d: %s", method, path, w.Code, w.Body)
	}
	return nil
}

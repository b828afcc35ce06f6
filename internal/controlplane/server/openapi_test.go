package server_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// fetcher gets documents as the administrator, without following redirects.
func fetcher(t *testing.T, c *servertest.Cluster) func(path string, header ...string) (*http.Response, string) {
	t.Helper()
	transport, err := rest.TransportFor(c.User(t, "alice", "system:masters"))
	if err != nil {
		t.Fatal(err)
	}
	return func(path string, header ...string) (*http.Response, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		resp, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
}

func TestOpenAPIDocumentsAreServedUnderAddressesThatNameTheirContent(t *testing.T) {
	get := fetcher(t, servertest.Start(t))
	_, body := get("/openapi/v3")
	var index struct {
		Paths map[string]struct{ ServerRelativeURL string }
	}
	if err := json.Unmarshal([]byte(body), &index); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	for _, gv := range []string{"api/v1", "apis/apps/v1", "apis/gitopsd.io/v1alpha1", "apis/apiextensions.k8s.io/v1", "apis/apiregistration.k8s.io/v1"} {
		address := index.Paths[gv].ServerRelativeURL
		if !strings.Contains(address, "?hash=") {
			t.Errorf("%s is at %q, want an address with a hash", gv, address)
			continue
		}
		resp, body := get(address)
		if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %s, Cache-Control %q", address, resp.Status, resp.Header.Get("Cache-Control"))
		}
		var document struct {
			OpenAPI    string
			Paths      map[string]any
			Components struct{ Schemas map[string]any }
		}
		if err := json.Unmarshal([]byte(body), &document); err != nil || len(document.Paths) == 0 || len(document.Components.Schemas) == 0 {
			t.Errorf("%s: %v, %d paths, %d schemas", gv, err, len(document.Paths), len(document.Components.Schemas))
		}
	}
	const deployments = "/openapi/v3/apis/apps/v1"
	if resp, _ := get(deployments + "?hash=OLD"); resp.StatusCode != http.StatusMovedPermanently || resp.Header.Get("Location") != index.Paths["apis/apps/v1"].ServerRelativeURL {
		t.Errorf("an old hash: %s to %q", resp.Status, resp.Header.Get("Location"))
	}
	resp, body := get(deployments)
	if again, _ := get(deployments, "If-None-Match", resp.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("the same document again: %s", again.Status)
	}
	if !strings.Contains(body, `"io.k8s.api.apps.v1.Deployment"`) || strings.Count(body, `"group":"batch"`) > 0 {
		t.Error("the document of apps/v1 lacks Deployment, or names kinds of other groups")
	}
	if resp, _ := get("/openapi/v3/apis/nobody/v1"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a group that does not exist: %s", resp.Status)
	}
}

func TestTheSwaggerDocumentHoldsTheWholeChain(t *testing.T) {
	get := fetcher(t, servertest.Start(t))
	resp, body := get("/openapi/v2")
	var document struct {
		Paths       map[string]any
		Definitions map[string]any
	}
	if err := json.Unmarshal([]byte(body), &document); err != nil {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	for _, path := range []string{"/api/v1/namespaces/{namespace}/pods", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", "/apis/apiregistration.k8s.io/v1/apiservices"} {
		if document.Paths[path] == nil {
			t.Errorf("no path %s", path)
		}
	}
	if document.Definitions["io.k8s.api.core.v1.Pod"] == nil {
		t.Error("no definition of Pod")
	}
	if again, _ := get("/openapi/v2", "If-None-Match", resp.Header.Get("Etag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("the same document again: %s", again.Status)
	}
}

package server_test

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime/serializer/cbor/direct"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// exchange sends body as CBOR and reads the answer, which must be CBOR too.
func exchange(t *testing.T, h *http.Client, method, url, contentType string, body any) map[string]any {
	t.Helper()
	var content io.Reader
	if body != nil {
		text, err := direct.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		content = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, content)
	if err != nil {
		t.Fatal(err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	req.Header.Set("Accept", "application/cbor")
	resp, err := h.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/cbor" {
		t.Fatalf("%s %s: answered %d as %q: %.300s", method, url, resp.StatusCode, got, text)
	}
	var answer map[string]any
	if err := direct.Unmarshal(text, &answer); err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return answer
}

func TestObjectsAreReadWrittenAppliedAndWatchedAsCBOR(t *testing.T) {
	c := servertest.Start(t)
	namespace(t, client(t, c.System), "shop")
	h := raw(t, c)
	const definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
	schema := map[string]any{"type": "object", "properties": map[string]any{"data": map[string]any{"type": "object", "additionalProperties": map[string]any{"type": "string"}}}}
	exchange(t, h, http.MethodPost, c.URL+definitions, "application/cbor", map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "boxes.example.com"},
		"spec": map[string]any{
			"group": "example.com", "scope": "Namespaced", "names": map[string]any{"plural": "boxes", "kind": "Box"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": schema}}},
		},
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := h.Get(c.URL + "/apis/example.com/v1/namespaces/shop/boxes")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("boxes are not served: %s", resp.Status)
		}
	}
	for _, k := range []struct{ apiVersion, kind, path string }{
		{"v1", "ConfigMap", "/api/v1/namespaces/shop/configmaps"},
		{"example.com/v1", "Box", "/apis/example.com/v1/namespaces/shop/boxes"},
	} {
		t.Run(k.kind, func(t *testing.T) {
			object := func(value string) map[string]any {
				return map[string]any{"apiVersion": k.apiVersion, "kind": k.kind, "metadata": map[string]any{"name": "a"}, "data": map[string]any{"key": value}}
			}
			value := func(o map[string]any) any {
				data, _ := o["data"].(map[string]any)
				return data["key"]
			}
			url := c.URL + k.path
			if got := value(exchange(t, h, http.MethodPost, url, "application/cbor", object("created"))); got != "created" {
				t.Fatalf("created: %v", got)
			}
			applied := exchange(t, h, http.MethodPatch, url+"/a?fieldManager=test&force=true", "application/apply-patch+cbor", object("applied"))
			if got := value(applied); got != "applied" {
				t.Fatalf("applied: %v", got)
			}
			if got := value(exchange(t, h, http.MethodGet, url+"/a", "", nil)); got != "applied" {
				t.Fatalf("read: %v", got)
			}
			list := exchange(t, h, http.MethodGet, url, "", nil)
			if items, _ := list["items"].([]any); len(items) == 0 {
				t.Fatalf("the list has no items: %v", list)
			}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"?watch=true&resourceVersion=0&fieldSelector=metadata.name=a", nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Accept", "application/cbor")
			resp, err := h.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if got := resp.Header.Get("Content-Type"); got != "application/cbor-seq" {
				t.Fatalf("watched as %q", got)
			}
			var event map[string]any
			part := make([]byte, 0, 64<<10)
			for event == nil {
				n, err := resp.Body.Read(part[len(part):cap(part)])
				part = part[:len(part)+n]
				if direct.Unmarshal(part, &event) != nil && err != nil {
					t.Fatal(err)
				}
			}
			seen, _ := event["object"].(map[string]any)
			if event["type"] != "ADDED" || value(seen) != "applied" {
				t.Errorf("watched: %v", event)
			}
		})
	}
}

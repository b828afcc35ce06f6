package kubelet_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
)

func TestPullsAskPluginsAndMirrorsTakeTurnsAndTellHowFarTheyAre(t *testing.T) {
	// Below the test's own directory, which is there before the node is.
	dir := t.TempDir()
	write := func(mode os.FileMode, name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	private := serveRegistry(t, "user", "pass")
	private.push("app:1", busyboxImage(t))
	mirror := serveRegistry(t, "", "")
	mirror.push("team/app:1", busyboxImage(t))
	slow := serveRegistry(t, "", "")
	slow.pushLarge("large:1", 6<<20)
	slow.pushLarge("large:2", 6<<20)
	slow.delay = func(r *http.Request) {
		if strings.Contains(r.URL.Path, "/blobs/") {
			time.Sleep(3 * time.Second)
		}
	}
	write(0o755, "bin/provider", fmt.Sprintf(`#!/bin/sh
echo '{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderResponse","cacheKeyType":"Registry","auth":{%q:{"username":"user","password":"pass"}}}'
`, private.addr))
	write(0o600, "providers.yaml", fmt.Sprintf(`{apiVersion: kubelet.config.k8s.io/v1, kind: CredentialProviderConfig, providers: [{name: provider, matchImages: [%q], defaultCacheDuration: 1m, apiVersion: credentialprovider.kubelet.k8s.io/v1}]}`, private.addr))
	write(0o600, "certs.d/nowhere.example/hosts.toml", fmt.Sprintf("server = \"https://nowhere.example\"\n[host.\"http://%s\"]\n  capabilities = [\"pull\", \"resolve\"]\n", mirror.addr))
	write(0o600, "certs.d/broken.example/hosts.toml", "server = [")
	h := start(t, "--image-credential-provider-config", filepath.Join(dir, "providers.yaml"), "--image-credential-provider-bin-dir", filepath.Join(dir, "bin"),
		"--registry-hosts-dir", filepath.Join(dir, "certs.d"), "--serialize-image-pulls")

	h.run("a plugin knows the password", func(t *testing.T) {
		h.create("private", fmt.Sprintf(`{containers: [{name: c, image: "%s/app:1"}]}`, private.addr))
		h.wait("private", "to be ready", ready)
	})
	h.run("hosts.toml names a mirror", func(t *testing.T) {
		h.create("mirrored", `{containers: [{name: c, image: "nowhere.example/team/app:1"}]}`)
		h.wait("mirrored", "to be ready", ready)
		h.create("broken", `{containers: [{name: c, image: "broken.example/app:1"}]}`)
		p := h.wait("broken", "to wait", waiting("ErrImagePull"))
		if m := p.Status.ContainerStatuses[0].State.Waiting.Message; !strings.Contains(m, filepath.Join(dir, "certs.d/broken.example/hosts.toml")+":1: ") {
			t.Errorf("it says %s", m)
		}
		h.delete("broken")
	})
	h.run("one after the other", func(t *testing.T) {
		for _, n := range []string{"1", "2"} {
			h.create("large"+n, fmt.Sprintf(`{containers: [{name: c, image: "%s/large:%s"}]}`, slow.addr, n))
		}
		var waits int
		for _, n := range []string{"1", "2"} {
			h.wait("large"+n, "to be ready", ready)
			h.told("large"+n, "Pulling", " MB after 5s")
			var took, whole string
			e := h.event("large"+n, "Pulled")
			if _, err := fmt.Sscanf(e.Message[strings.Index(e.Message, " in ")+4:], "%s (%s including", &took, &whole); err != nil {
				t.Fatalf("%q: %v", e.Message, err)
			}
			if a, b := duration(t, took), duration(t, whole); b > a+time.Second {
				waits++
			}
		}
		if waits != 1 {
			t.Errorf("%d of two pulls waited for the other", waits)
		}
	})
	h.delete("private")
	h.wait("mirrored", "to run on", func(p *v1.Pod) bool { return ready(p) })
}

func duration(t *testing.T, s string) time.Duration {
	t.Helper()
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

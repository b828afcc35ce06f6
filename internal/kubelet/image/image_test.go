package image

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestReferencesAreCompletedAsEveryOtherToolDoes(t *testing.T) {
	for in, want := range map[string]string{
		"busybox":                     "docker.io/library/busybox:latest",
		"busybox:1":                   "docker.io/library/busybox:1",
		"me/app":                      "docker.io/me/app:latest",
		"r.example/app:v1":            "r.example/app:v1",
		"localhost:5000/a":            "localhost:5000/a:latest",
		"r.example:5000/a/b/c:t":      "r.example:5000/a/b/c:t",
		"a@sha256:" + sha:             "docker.io/library/a@sha256:" + sha,
		"r.example/a:t@sha256:" + sha: "r.example/a@sha256:" + sha,
	} {
		got, err := Normalize(in)
		if err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"", "r.example/Case", "a:b:c", "http://x/y", "a@sha256:short", " "} {
		_, err := Normalize(in)
		var e *Error
		if !errors.As(err, &e) || e.Reason != "InvalidImageName" {
			t.Errorf("Normalize(%q) gave %v, want an error of reason InvalidImageName", in, err)
		}
	}
}

const sha = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func FuzzNormalize(f *testing.F) {
	f.Add("registry.example:5000/a/b:c")
	f.Add("a@sha256:" + sha)
	f.Fuzz(func(t *testing.T, s string) {
		full, err := Normalize(s)
		if err != nil {
			return
		}
		again, err := Normalize(full)
		if err != nil || again != full {
			t.Errorf("%q becomes %q, and that %q (%v)", s, full, again, err)
		}
		if Domain(full) == "" || !strings.HasPrefix(full, Domain(full)+"/") || !strings.HasPrefix(full, repository(full)) {
			t.Errorf("%q: registry %q, repository %q", full, Domain(full), repository(full))
		}
	})
}

func TestTheMostSpecificCredentialsAreTriedFirst(t *testing.T) {
	secret := func(text string) *v1.Secret {
		return &v1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}, Type: v1.SecretTypeDockerConfigJson, Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(text)}}
	}
	ring, err := ParseKeyring([]*v1.Secret{
		secret(`{"auths":{"r.example":{"username":"u","password":"whole"},"https://r.example/v1/":{"auth":"dTpvbGQ="},"r.example/team":{"username":"u","password":"team"}}}`),
		secret(`{"auths":{"https://index.docker.io/v1/":{"username":"u","password":"hub"},"*.wild.example":{"username":"u","password":"wild"}}}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{
		"r.example/team/app:1":            "team",
		"docker.io/library/busybox:1":     "hub",
		"a.wild.example/x:1":              "wild",
		"a.b.wild.example/x:1":            "",
		"r.example.evil.example/team/a:1": "",
	} {
		got := ring.For(ref)
		switch {
		case want == "" && len(got) > 0:
			t.Errorf("%s would be told %d credentials, want none", ref, len(got))
		case want != "" && (len(got) == 0 || got[0].Password != want):
			t.Errorf("%s is tried with %+v first, want %q", ref, got, want)
		}
	}
	if got := ring.For("r.example/teamwork/app:1"); len(got) != 2 {
		t.Errorf("a path prefix must end at a slash; got %+v", got)
	}
}

func TestAPullSecretThatCannotBeReadIsNamedButNotQuoted(t *testing.T) {
	_, err := ParseKeyring([]*v1.Secret{{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}, Type: v1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{v1.DockerConfigJsonKey: []byte(`{"auths": hunter2`)}}})
	if err == nil || !strings.Contains(err.Error(), "ns/s") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestUsers(t *testing.T) {
	u := Users{
		passwd: parseAccounts("root:x:0:0:root:/root:/bin/sh\nweb:x:100:101::/:\n#comment\nbroken\nbad:x:y:z\n", 3),
		group:  parseAccounts("root:x:0:\nwww:x:101:\nextra:x:200:web,root\n", -1),
	}
	for spec, want := range map[string]User{
		"":         {0, 0, []uint32{200}, "root"},
		"web":      {100, 101, []uint32{200}, "web"},
		"web:www":  {100, 101, []uint32{200}, "web"},
		"100":      {100, 101, []uint32{200}, "web"},
		"100:5":    {100, 5, []uint32{200}, "web"},
		"4711":     {4711, 0, nil, ""},
		"4711:www": {4711, 101, nil, ""},
	} {
		got, err := u.Resolve(spec)
		if err != nil {
			t.Errorf("%q: %v", spec, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", spec, diff)
		}
	}
	for _, spec := range []string{"nobody", "web:nogroup", "-1", "99999999999"} {
		if _, err := u.Resolve(spec); !errors.Is(err, ErrNoUser) {
			t.Errorf("%q: got %v, want ErrNoUser", spec, err)
		}
	}
}

func TestTheUppermostLayerDefinesAFile(t *testing.T) {
	dir := t.TempDir()
	layer := func(name string, files map[string]string) string {
		for f, text := range files {
			path := filepath.Join(dir, name, f)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			switch {
			case text == "whiteout":
				err = unix.Mknod(path, unix.S_IFCHR, 0)
			case strings.HasPrefix(text, "-> "):
				err = os.Symlink(text[3:], path)
			default:
				err = os.WriteFile(path, []byte(text), 0o600)
			}
			if err != nil {
				t.Skipf("SKIPPED: making layers as overlayfs has them needs root: %v", err)
			}
		}
		return filepath.Join(dir, name)
	}
	base := layer("base", map[string]string{"etc/passwd": "base", "etc/group": "base"})
	upper := layer("upper", map[string]string{"etc/passwd": "upper"})
	gone := layer("gone", map[string]string{"etc/passwd": "whiteout"})
	link := layer("link", map[string]string{"etc/passwd": "-> ../../base/etc/passwd"})
	for _, c := range []struct {
		name   string
		layers []string
		want   string
	}{
		{"replaced", []string{upper, base}, "upper"},
		{"kept", []string{base}, "base"},
		{"removed", []string{gone, upper, base}, ""},
		{"a link out of the image", []string{link, base}, ""},
		{"no layer has it", nil, ""},
	} {
		if got := readLayered(c.layers, "etc/passwd"); got != c.want {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
	if got := readLayered([]string{upper, base}, "etc/group"); got != "base" {
		t.Errorf("a file that the upper layer lacks: got %q", got)
	}
}

func TestAPullErrorSaysWhatToDo(t *testing.T) {
	for text, want := range map[string]string{
		"write /x: no space left on device":        "is full",
		"dial tcp: lookup r.example: no such host": "can reach the registry r.example",
		"unexpected status: 401 Unauthorized":      "imagePullSecrets",
		"r.example/a:1: not found":                 "check the name and the tag",
	} {
		err := pullError("r.example/a:1", "/data", errors.New(text))
		if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "r.example/a:1") {
			t.Errorf("%q gave %q, want it to name the image and say %q", text, err, want)
		}
	}
}

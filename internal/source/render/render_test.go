package render_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/render"
	"github.com/gitopsd/gitopsd/internal/source/sops"
)

// The scripts in testdata/render show what becomes of a commit.
//
//	commit                 the files of a commit, each after a line "== path"; "-> target" is a symbolic link
//	remote url=U           the files of another repository
//	render [path=P]        renders a folder with the spec.source given as input; prints the objects with where they begin, or the errors
//	yaml [object=N]        prints the Nth object of the last rendering
//	places [object=N]      prints where the fields in the input are set
func TestRender(t *testing.T) {
	datadriven.Walk(t, "testdata/render", func(t *testing.T, path string) {
		s := &scene{remotes: map[string]fstest.MapFS{}}
		datadriven.RunTest(t, path, s.run)
	})
}

type scene struct {
	tree    fstest.MapFS
	remotes map[string]fstest.MapFS
	objects []*source.Object
}

func (s *scene) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "commit":
		s.tree = split(d.Input)
		return ""
	case "remote":
		var url string
		d.ScanArgs(t, "url", &url)
		s.remotes[url] = split(d.Input)
		return ""
	case "render":
		return s.render(t, d)
	}
	n := 0
	if d.HasArg("object") {
		d.ScanArgs(t, "object", &n)
	}
	if n >= len(s.objects) {
		return fmt.Sprintf("the last rendering gave %d objects\n", len(s.objects))
	}
	o := s.objects[n]
	switch d.Cmd {
	case "yaml":
		text, err := yaml.Marshal(o.Content)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		return string(text)
	case "places":
		var b strings.Builder
		for _, field := range strings.Split(d.Input, "\n") {
			v, _ := o.Value(field)
			fmt.Fprintf(&b, "%s = %v: %s\n", field, v, source.At(o.Place(field)))
		}
		return b.String()
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func (s *scene) render(t *testing.T, d *datadriven.TestData) string {
	in := render.Input{
		Tree: s.tree, Application: "shop", Remote: s,
		From: source.From{Repo: "https://git.example.com/shop.git", Commit: strings.Repeat("a", 40), DefaultNamespace: "default"},
	}
	if d.HasArg("path") {
		d.ScanArgs(t, "path", &in.Path)
	}
	if err := yaml.UnmarshalStrict([]byte(d.Input), &in.Spec); err != nil {
		d.Fatalf(t, "%v", err)
	}
	if in.Spec.Substitute != nil {
		in.Variables = in.Spec.Substitute.Variables
	}
	out, err := render.Render(context.Background(), in)
	s.objects = out.Objects
	if err != nil {
		var all source.ParseErrors
		if !errors.As(err, &all) {
			return fmt.Sprintf("(%s) %v\n", source.ReasonOf(err), err)
		}
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, o := range out.Objects {
		fmt.Fprintf(&b, "%s %s\n", o.Position(), o)
	}
	if out.Remote {
		b.WriteString("with something from elsewhere\n")
	}
	return b.String()
}

func (s *scene) Base(_ context.Context, url string) (fs.FS, string, error) {
	repo, dir, _ := strings.Cut(strings.TrimPrefix(url, "https://"), "//")
	dir, _, _ = strings.Cut(dir, "?")
	tree, ok := s.remotes["https://"+repo]
	if !ok {
		return nil, "", &source.Error{Reason: source.InvalidSource, Message: url + " is not allowed"}
	}
	return tree, dir, nil
}

func (s *scene) File(_ context.Context, url string) ([]byte, error) {
	tree, ok := s.remotes[url]
	if !ok {
		return nil, &source.Error{Reason: source.InvalidSource, Message: url + " is not allowed"}
	}
	return tree["file"].Data, nil
}

// split takes the files of a script apart.
func split(input string) fstest.MapFS {
	files := fstest.MapFS{}
	for _, part := range strings.Split("\n"+strings.ReplaceAll(input, `\t`, "\t"), "\n== ") {
		name, content, _ := strings.Cut(part, "\n")
		if name == "" {
			continue
		}
		f := &fstest.MapFile{Data: []byte(content + "\n"), Mode: 0o644}
		if to, ok := strings.CutPrefix(content, "-> "); ok {
			f = &fstest.MapFile{Data: []byte(strings.TrimSpace(to)), Mode: 0o777 | fs.ModeSymlink}
		}
		files[name] = f
	}
	return files
}

// TestEncryptedFilesAreReadEverywhere has encrypted files as manifests, as what kustomize generates from, and as values of a chart; and no message about them tells what is in them.
func TestEncryptedFilesAreReadEverywhere(t *testing.T) {
	fixture := func(name string) []byte {
		data, err := os.ReadFile("../sops/testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	keys, err := sops.Parse(map[string][]byte{"keys.agekey": fixture("keys.agekey")})
	if err != nil {
		t.Fatal(err)
	}
	file := func(text string) *fstest.MapFile { return &fstest.MapFile{Data: []byte(text), Mode: 0o644} }
	tree := fstest.MapFS{
		"plain/secret.yaml":            &fstest.MapFile{Data: fixture("age.yaml")},
		"overlay/kustomization.yaml":   file("resources: [secret.yaml]\nsecretGenerator:\n- name: generated\n  envs: [secret.env]\n  files: [note.txt]\n"),
		"overlay/secret.yaml":          &fstest.MapFile{Data: fixture("age.yaml")},
		"overlay/secret.env":           &fstest.MapFile{Data: fixture("age.env")},
		"overlay/note.txt":             &fstest.MapFile{Data: fixture("age.txt")},
		"chart/Chart.yaml":             file("apiVersion: v2\nname: web\nversion: 1.0.0\n"),
		"chart/secrets.json":           &fstest.MapFile{Data: fixture("age.json")},
		"chart/templates/secret.yaml":  file("apiVersion: v1\nkind: Secret\nmetadata: {name: web}\nstringData: {password: {{ .Values.a.b | quote }}}\n{{ if .Values.tell }}{{ fail .Values.a.b }}{{ end }}\n"),
		"duplicate/secret.yaml":        &fstest.MapFile{Data: fixture("age.yaml")},
		"duplicate/another.yaml":       &fstest.MapFile{Data: fixture("age.yaml")},
		"kept-out/.sourceignore":       file("*.yaml\n"),
		"kept-out/secret.yaml":         &fstest.MapFile{Data: fixture("age.yaml")},
		"kept-out/sub/kept/extra.json": file(`{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}`),
	}
	run := func(path string, k *sops.Keys, spec v1alpha1.Rendering) (render.Output, error) {
		return render.Render(t.Context(), render.Input{Tree: tree, Path: path, Spec: spec, Keys: k, Application: "shop", From: source.From{DefaultNamespace: "default"}})
	}
	helm := v1alpha1.Rendering{Helm: &v1alpha1.Helm{ValuesFiles: []string{"secrets.json"}}}
	for path, spec := range map[string]v1alpha1.Rendering{"plain": {}, "overlay": {}, "chart": helm, "kept-out": {}} {
		out, err := run(path, &keys, spec)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		found := false
		for _, o := range out.Objects {
			text, err := yaml.Marshal(o.Content)
			if err != nil {
				t.Fatal(err)
			}
			found = found || strings.Contains(string(text), "hunter2-and-more") || strings.Contains(string(text), base64.StdEncoding.EncodeToString([]byte("hunter2-and-more")))
			if strings.Contains(string(text), "ENC[") || strings.Contains(string(text), "sops") {
				t.Errorf("%s: something is still encrypted:\n%s", path, text)
			}
		}
		if found != (path != "kept-out") {
			t.Errorf("%s: the password is found: %t", path, found)
		}
	}
	out, err := run("plain", &keys, v1alpha1.Rendering{})
	if err != nil || out.Objects[0].Line("stringData.password") != 8 || out.Objects[1].Origin.Line != 34 {
		t.Errorf("an encrypted manifest's lines: %v, %d, %d", err, out.Objects[0].Line("stringData.password"), out.Objects[1].Origin.Line)
	}
	helm.Helm.Values = &runtime.RawExtension{Raw: []byte(`{"tell": true}`)}
	for path, want := range map[string]string{"chart": "chart/templates/secret.yaml:5", "duplicate": "already defined"} {
		spec := v1alpha1.Rendering{}
		if path == "chart" {
			spec = helm
		}
		_, err := run(path, &keys, spec)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v; want %q and no secret", path, err, want)
		}
	}
	if _, err := run("plain", nil, v1alpha1.Rendering{}); err == nil || !strings.Contains(err.Error(), "plain/secret.yaml: the file is encrypted with SOPS; name a Secret with the key in spec.source.decryption") {
		t.Errorf("without key: %v", err)
	}
}

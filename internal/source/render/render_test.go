package render_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/datadriven"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/render"
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

package source_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

func TestSymbolicLinksStayInTheTree(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  map[string]string
		err   string
	}{
		"a link to a file is read":          {files: map[string]string{"deploy/a.yaml": "-> ../base/a.yaml", "base/a.yaml": "base"}, want: map[string]string{"deploy/a.yaml": "base"}},
		"a link to a folder is walked":      {files: map[string]string{"deploy/x": "-> ../base", "base/a.yaml": "base"}, want: map[string]string{"deploy/x/a.yaml": "base"}},
		"the path itself may be a link":     {files: map[string]string{"deploy": "-> base/real", "base/real/a.yaml": "base"}, want: map[string]string{"deploy/a.yaml": "base"}},
		"an absolute link is refused":       {files: map[string]string{"deploy/a.yaml": "-> /etc/passwd"}, err: "outside of the repository"},
		"a link that climbs out is refused": {files: map[string]string{"deploy/a.yaml": "-> ../../secret.yaml"}, err: "outside of the repository"},
		"a dangling manifest is refused":    {files: map[string]string{"deploy/a.yaml": "-> b.yaml"}, err: "not in the commit"},
		"a circle of links is refused":      {files: map[string]string{"deploy/a.yaml": "-> b.yaml", "deploy/b.yaml": "-> a.yaml"}, err: "circle"},
		"a link to its own folder":          {files: map[string]string{"deploy/a.yaml": "x", "deploy/self": "-> ."}, err: "leads back"},
	} {
		t.Run(name, func(t *testing.T) {
			repo := gittest.New(t)
			repo.Push(c.files)
			g := source.New(t.TempDir())
			r := source.Request{URL: repo.URL()}
			head, err := g.Head(context.Background(), r)
			if err != nil {
				t.Fatal(err)
			}
			files, err := plain(t, g, r, head.Hash, "deploy")
			if c.err != "" {
				var pe source.ParseErrors
				if !errors.As(err, &pe) || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want one with %q", err, c.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, f := range files {
				got[f.Path] = string(f.Data)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
		})
	}
}

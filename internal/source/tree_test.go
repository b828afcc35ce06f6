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

func TestAFileThatIsTooLargeIsRefusedByNameAndNotRead(t *testing.T) {
	repo := gittest.New(t)
	commit := repo.Push(map[string]string{"deploy/a.yaml": "a: 1\n", "deploy/huge.yaml": strings.Repeat("# nothing\n", 10<<20), "deploy/huge.txt": strings.Repeat("x", 17<<20)})
	g := source.New(t.TempDir())
	r := source.Request{URL: repo.URL()}
	if _, err := g.Head(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	_, err := plain(t, g, r, commit, "deploy")
	var pe source.ParseErrors
	if !errors.As(err, &pe) || pe[0].File != "deploy/huge.yaml" || !strings.Contains(err.Error(), "the file has 104857600 bytes; at most 16777216 are read") {
		t.Errorf("a manifest of 100 MiB: %v", err)
	}
}

func TestLinesAreCountedTheSameWhateverEndsThemAndBeginsTheFile(t *testing.T) {
	const text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: z\ndata:\n  a: b\n"
	for name, data := range map[string]string{
		"newlines":                        text,
		"carriage returns":                strings.ReplaceAll(text, "\n", "\r\n"),
		"a byte-order mark":               "\xef\xbb\xbf" + text,
		"both":                            "\xef\xbb\xbf" + strings.ReplaceAll(text, "\n", "\r\n"),
		"no newline at the end":           strings.TrimSuffix(text, "\n"),
		"white space behind the contents": text + "  \n\n",
	} {
		objects, err := source.Parse([]source.File{{Path: "a.yaml", Data: []byte(data)}}, source.From{})
		if err != nil || len(objects) != 2 {
			t.Errorf("%s: %v, %v", name, objects, err)
			continue
		}
		if v, _ := objects[1].Value("data.a"); v != "b" || objects[0].Origin.Line != 1 || objects[1].Origin.Line != 6 || objects[1].Line("data.a") != 11 {
			t.Errorf("%s: a is %q; the objects begin at %d and %d, a is at %d", name, v, objects[0].Origin.Line, objects[1].Origin.Line, objects[1].Line("data.a"))
		}
	}
}

func TestAByteThatIsNoTextIsToldWithItsLine(t *testing.T) {
	_, err := source.Parse([]source.File{{Path: "a.yaml", Data: []byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {a: \"\xff\xfe\"}\n")}}, source.From{})
	if err == nil || !strings.HasPrefix(err.Error(), "a.yaml:4: a byte that is not UTF-8; ") {
		t.Errorf("%v, want line 4", err)
	}
	const utf16 = "\xff\xfea\x00:\x00 \x001\x00\n\x00"
	if _, err := source.Parse([]source.File{{Path: "a.yaml", Data: []byte(utf16)}}, source.From{}); err == nil || strings.Contains(err.Error(), "UTF-8") {
		t.Errorf("UTF-16: %v, want no complaint but that it is no manifest", err)
	}
}

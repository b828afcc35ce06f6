package source_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/source"
)

// The scripts in testdata/parse show what plain mode makes of files.
//
//	parse            the files of a commit, each after a line "== path"; prints the objects with where they begin, or the errors
//	lines [object=N] print where the fields named in the input are set, of the Nth object of the last parse
//	value [object=N] print values as they were understood
//
// In the input, \t stands for a tab.
func TestParse(t *testing.T) {
	datadriven.Walk(t, "testdata/parse", func(t *testing.T, path string) {
		var objects []*source.Object
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			var b strings.Builder
			pick := func() *source.Object {
				n := 0
				if d.HasArg("object") {
					d.ScanArgs(t, "object", &n)
				}
				if n >= len(objects) {
					d.Fatalf(t, "the last parse gave %d objects", len(objects))
				}
				return objects[n]
			}
			switch d.Cmd {
			case "parse":
				var err error
				objects, err = source.Parse(split(d.Input), source.From{Repo: "https://git.example.com/shop.git", Commit: strings.Repeat("a", 40), DefaultNamespace: "default"})
				if err != nil {
					return err.Error() + "\n"
				}
				for _, o := range objects {
					fmt.Fprintf(&b, "%s %s\n", o.Position(), o)
				}
			case "lines":
				o := pick()
				for _, field := range strings.Split(d.Input, "\n") {
					fmt.Fprintf(&b, "%s: %d\n", field, o.Line(field))
				}
			case "value":
				o := pick()
				for _, field := range strings.Split(d.Input, "\n") {
					v, ok := o.Value(field)
					fmt.Fprintf(&b, "%s: %T %#v %t\n", field, v, v, ok)
				}
			default:
				d.Fatalf(t, "unknown command %s", d.Cmd)
			}
			return b.String()
		})
	})
}

// split takes the files of a script apart.
func split(input string) []source.File {
	input = strings.ReplaceAll(input, `\t`, "\t")
	var files []source.File
	for _, part := range strings.Split("\n"+input, "\n== ") {
		name, content, ok := strings.Cut(part, "\n")
		if !ok || name == "" {
			if name == "" {
				continue
			}
			content = ""
		}
		files = append(files, source.File{Path: name, Data: []byte(content + "\n")})
	}
	return files
}

func TestAliasesCannotGrowBeyondTheBound(t *testing.T) {
	tenfold := func(name string, levels int) source.File {
		var b strings.Builder
		fmt.Fprintf(&b, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: %s}\nx0: &x0 [a, a, a, a, a, a, a, a, a, a]\n", name)
		for i := 1; i < levels; i++ {
			fmt.Fprintf(&b, "x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 10), ", "))
		}
		return source.File{Path: name + ".yaml", Data: []byte(b.String())}
	}
	bound := "more than 2000000 values in one commit, counting every use of an anchor; split the Application"
	for name, c := range map[string]struct {
		files []source.File
		want  []string
	}{
		"one":                     {[]source.File{tenfold("bomb", 9)}, []string{"bomb.yaml:10:10: " + bound}},
		"others around it":        {[]source.File{tenfold("a", 2), tenfold("bomb", 9), tenfold("c", 2)}, []string{"bomb.yaml:10:10: " + bound}},
		"too many before the end": {[]source.File{tenfold("large", 6), tenfold("other", 6), tenfold("small", 1)}, []string{"other.yaml:9:35: " + bound + "; large.yaml has 1234571 of them, the most"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := source.Parse(c.files, source.From{})
			var errs source.ParseErrors
			errors.As(err, &errs)
			var got []string
			for _, e := range errs {
				got = append(got, e.Error())
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("errors (-want +got):\n%s", d)
			}
		})
	}
}

func TestNestingIsBounded(t *testing.T) {
	for name, deep := range map[string]string{
		"yaml": "apiVersion: v1\nkind: X\nmetadata: {name: x}\nspec: " + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "\n",
		"json": `{"apiVersion":"v1","kind":"X","metadata":{"name":"x"},"spec":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + "}",
	} {
		_, err := source.Parse([]source.File{{Path: "deep." + name, Data: []byte(deep)}}, source.From{})
		var pe source.ParseErrors
		if !errors.As(err, &pe) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestManyErrorsAreToldInABoundedMessage(t *testing.T) {
	var files []source.File
	for i := range 100 {
		files = append(files, source.File{Path: fmt.Sprintf("%02d.yaml", i), Data: []byte("kind: X\n")})
	}
	_, err := source.Parse(files, source.From{})
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	if d := cmp.Diff("and 80 more", lines[len(lines)-1]); d != "" || len(lines) != 21 {
		t.Errorf("%d lines, the last (-want +got):\n%s", len(lines), d)
	}
}

// FuzzParse looks for files that make the parser panic, or that give objects whose lines are outside of the file.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {a: b}\n---\n# nothing\n---\nkind: List\nitems: []\n",
		"a: &a [*a]\n", "<<: {a: b}\n", "? [a]\n: b\n", "!!binary aGk=\n", "\xef\xbb\xbfa: b\r\n", "{\"a\": 1e999}", "a: .nan\n", "%YAML 1.2\n---\na: !x y\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, data []byte, asJSON bool) {
		name := "f.yaml"
		if asJSON {
			name = "f.json"
		}
		objects, err := source.Parse([]source.File{{Path: name, Data: data}}, source.From{})
		if err != nil {
			if text := err.Error(); !strings.HasPrefix(text, name+":") {
				t.Errorf("the error does not begin with the file: %s", text)
			}
			return
		}
		last := strings.Count(string(data), "\n") + strings.Count(string(data), "\r") + 2
		for _, o := range objects {
			if o.Name() == "" || o.GroupVersionKind().Kind == "" {
				t.Errorf("an object without name or kind: %v", o.Content)
			}
			for _, field := range []string{"", "kind", "metadata.name", "metadata.labels", "spec.a[0].b"} {
				if l := o.Line(field); l < 1 || l > last {
					t.Errorf("line %d of %s in %d lines", l, field, last)
				}
			}
			o.Unstructured()
		}
	})
}

// FuzzLine looks for field paths that make the lookup panic.
func FuzzLine(f *testing.F) {
	objects, err := source.Parse([]source.File{{Path: "a.yaml", Data: []byte(`apiVersion: v1
kind: Pod
metadata: {name: a, annotations: {a.b/c: d}}
spec: {containers: [{name: x, ports: [{containerPort: 1}]}], list: [a, b]}
`)}}, source.From{})
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range []string{"spec.containers[0].ports", `spec.containers[name="x"]`, "metadata.annotations[a.b/c]", `spec.list[="a"]`, "[", `["`, "a[b]=c]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, field string) {
		if l := objects[0].Line(field); l < 1 || l > 4 {
			t.Errorf("line %d of %q", l, field)
		}
	})
}

package kustomize

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Where the files lie in the file system that kustomize sees.
const (
	// sourceRoot holds the commit, remoteRoot what comes from elsewhere, overlayRoot what the Application adds.
	sourceRoot  = "/src"
	remoteRoot  = "/remote"
	overlayRoot = "/overlay"
)

// maxFolders bounds the kustomizations of one Application.
const maxFolders = 1000

// Files are what a build needs, and nothing else is read for it.
type Files struct {
	// Content is by absolute path in kustomize's file system.
	Content map[string][]byte
	// Dir is the folder to build.
	Dir string
	// Remote says that some of it is from another repository, so that it may change without the commit.
	Remote bool

	// resources are what the files given in resources hold, by path.
	resources map[string][]source.Document
	folders   map[string]*folder
}

// folder is one kustomization.
type folder struct {
	// file is where it lies in kustomize's file system, shown how messages call it.
	file, shown   string
	kustomization types.Kustomization
	doc           source.Document
	text          []string
	patches       []patch
}

// Gather reads what building a folder needs; options are what the Application says on top, or nil. The error is a source.ParseErrors when the files are at fault.
func Gather(ctx context.Context, tree fs.FS, dir string, remote Remote, options *v1alpha1.Kustomize) (*Files, error) {
	g := &gatherer{
		ctx: ctx, remote: remote, mounts: map[string]string{},
		out: &Files{Content: map[string][]byte{}, Dir: path.Join(sourceRoot, dir), resources: map[string][]source.Document{}, folders: map[string]*folder{}},
	}
	at := place{tree: tree, mount: sourceRoot}
	if err := g.folder(at, dir, nil); err != nil {
		return nil, err
	}
	if options != nil {
		for _, c := range options.Components {
			local := path.Join(dir, c)
			if !fs.ValidPath(local) {
				g.errs = append(g.errs, &source.ParseError{File: local, Message: "spec.source.kustomize.components leads out of the repository"})
				continue
			}
			if err := g.folder(at, local, nil); err != nil {
				return nil, err
			}
		}
	}
	if len(g.errs) > 0 {
		return nil, g.errs
	}
	return g.out, nil
}

// place is a tree and where it is mounted.
type place struct {
	tree  fs.FS
	mount string
	// shown is put before paths in messages; empty for the Application's own repository.
	shown string
}

func (p place) name(file string) string {
	if p.shown == "" {
		return file
	}
	return p.shown + "//" + file
}

type gatherer struct {
	ctx    context.Context
	remote Remote
	out    *Files
	errs   source.ParseErrors
	total  int
	// mounts are the folders that URLs were fetched to.
	mounts  map[string]string
	remotes int
}

func (g *gatherer) failf(f *folder, field, format string, args ...any) {
	g.errs = append(g.errs, &source.ParseError{File: f.shown, Line: f.doc.At(field), Message: fmt.Sprintf(format, args...)})
}

// folder reads one kustomization and all that it names. The error is one that is not about the content of the files.
func (g *gatherer) folder(at place, dir string, ancestors []string) error {
	here := path.Join(at.mount, dir)
	if slices.Contains(ancestors, here) {
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: "the kustomizations lead in a circle: " + strings.ReplaceAll(strings.Join(append(ancestors, here), " → "), sourceRoot+"/", "")})
		return nil
	}
	if g.out.folders[here] != nil {
		return nil
	}
	if len(g.out.folders) == maxFolders {
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: fmt.Sprintf("more than %d kustomizations in one Application; split it", maxFolders)})
		return nil
	}
	var found []string
	for _, name := range source.KustomizationFiles {
		switch info, err := fs.Stat(at.tree, path.Join(dir, name)); {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.Mode().IsRegular():
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: "the folder has no kustomization.yaml"})
		return nil
	case 1:
	default:
		g.errs = append(g.errs, &source.ParseError{File: at.name(dir), Message: "the folder has several kustomizations: " + strings.Join(found, ", ") + "; remove all but one"})
		return nil
	}
	file := path.Join(dir, found[0])
	data, err := fs.ReadFile(at.tree, file)
	if err != nil {
		return err
	}
	f := &folder{file: path.Join(at.mount, file), shown: at.name(file), text: strings.Split(string(data), "\n")}
	g.out.folders[here] = f
	docs, err := source.Documents(source.File{Path: f.shown, Data: data})
	if err != nil {
		return g.collect(err)
	}
	if len(docs) != 1 {
		g.errs = append(g.errs, &source.ParseError{File: f.shown, Message: fmt.Sprintf("a kustomization is one document; this file has %d", len(docs))})
		return nil
	}
	f.doc = docs[0]
	content, ok := f.doc.Value.(map[string]any)
	if !ok {
		g.errs = append(g.errs, &source.ParseError{File: f.shown, Line: f.doc.Line, Message: "a kustomization is a map of fields such as resources"})
		return nil
	}
	k := &f.kustomization
	if err := k.Unmarshal(data); err != nil {
		g.unmarshal(f, err)
		return nil
	}
	head := types.Kustomization{TypeMeta: k.TypeMeta}
	if head.Kind == "" {
		head.Kind = types.KustomizationKind
	}
	if wrong := head.EnforceFields(); len(wrong) > 0 {
		for _, text := range wrong {
			field, _, _ := strings.Cut(text, " ")
			g.failf(f, field, "%s, or be left out", text)
		}
		return nil
	}
	if len(k.HelmCharts) > 0 || len(k.HelmChartInflationGenerator) > 0 {
		field := "helmCharts"
		if len(k.HelmCharts) == 0 {
			field = "helmChartInflationGenerator"
		}
		g.failf(f, field, "%s is not supported, because it runs the helm program; make the chart an Application of its own with spec.source.helm.chart", field)
		return nil
	}
	rewritten, err := g.references(at, dir, f, content, append(slices.Clone(ancestors), here))
	if err != nil {
		return err
	}
	if rewritten != nil {
		if data, err = json.Marshal(rewritten); err != nil {
			return fmt.Errorf("%s: %w", f.shown, err)
		}
	}
	g.add(f, "", f.file, data)
	return nil
}

// collect keeps what is wrong with files, to tell all of it at once, and returns any other error.
func (g *gatherer) collect(err error) error {
	var all source.ParseErrors
	var one *source.ParseError
	switch {
	case errors.As(err, &all):
		g.errs = append(g.errs, all...)
		return nil
	case errors.As(err, &one):
		g.errs = append(g.errs, one)
		return nil
	}
	return err
}

// quoted finds the first name in an error of the JSON decoder.
var quoted = regexp.MustCompile(`"([^"]+)"|field (?:Kustomization\.)?([\w.]+)`)

func (g *gatherer) unmarshal(f *folder, err error) {
	line := f.doc.Line
	message := strings.Join(strings.Fields(err.Error()), " ")
	if m := quoted.FindStringSubmatch(message); m != nil {
		line = f.doc.At(m[1] + m[2])
	}
	message = strings.TrimPrefix(strings.TrimPrefix(message, "invalid Kustomization: "), "error unmarshaling JSON: while decoding JSON: ")
	g.errs = append(g.errs, &source.ParseError{File: f.shown, Line: line, Message: "kustomization: " + strings.TrimPrefix(message, "json: ")})
}

// add puts a file into kustomize's file system.
func (g *gatherer) add(f *folder, field, to string, data []byte) {
	if g.total += len(data); g.total > source.MaxBytes {
		g.failf(f, field, "the Application's files are larger than %d MiB together; split it", source.MaxBytes>>20)
		return
	}
	g.out.Content[to] = data
}

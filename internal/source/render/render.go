package render

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/chart"
	"github.com/gitopsd/gitopsd/internal/source/kustomize"
	"github.com/gitopsd/gitopsd/internal/source/sops"
	"github.com/gitopsd/gitopsd/internal/source/substitute"
)

// Input is everything that objects are made of.
type Input struct {
	Tree fs.FS
	// Path is spec.source.path.
	Path string
	Spec v1alpha1.Rendering
	From source.From
	// Application is the Application's name.
	Application string
	// Cluster is what charts are told about where they will run.
	Cluster chart.Cluster
	// Keys open what is encrypted; nil for none.
	Keys *sops.Keys
	// Variables are values for spec.source.substitute, those of the Application itself among them.
	Variables map[string]string
	// Values are those of spec.source.helm.valuesFrom, in order; a Path says where one is from.
	Values []source.File
	// Charts fetches the charts that the Application names, with credentials by the URL of the repository without a slash at its end.
	Charts           *chart.Fetcher
	ChartCredentials map[string]source.Credentials
	// Remote fetches what kustomizations name by URL.
	Remote kustomize.Remote
}

// Output is what was made.
type Output struct {
	Objects []*source.Object
	// Omitted is how many objects spec.source.omit left out.
	Omitted int
	// Remote says that something beside the commit had a part in it, so that the same commit may give other objects another time.
	Remote bool
}

// Render makes the objects.
func Render(ctx context.Context, in Input) (Output, error) {
	dir, err := source.CleanPath(in.Path)
	if err != nil {
		return Output{}, err
	}
	if err := source.CheckFolder(in.Tree, dir); err != nil {
		return Output{}, asParseErrors(err)
	}
	if in.Tree, err = source.Ignoring(in.Tree, dir, in.Spec.Ignore); err != nil {
		return Output{}, asParseErrors(err)
	}
	open := &decrypting{FS: in.Tree, keys: in.Keys}
	in.Tree = open
	out, err := in.objects(ctx, dir)
	if err == nil {
		out.Objects, out.Omitted, err = in.omit(out.Objects)
	}
	if err == nil && in.Spec.Substitute != nil {
		out.Objects, err = in.substitute(out.Objects)
	}
	if err != nil {
		return Output{}, open.redact(asParseErrors(err))
	}
	return out, nil
}

// substitute replaces variables in the objects.
func (in *Input) substitute(objects []*source.Object) ([]*source.Object, error) {
	if err := substitute.Validate(in.Variables); err != nil {
		return nil, &source.Error{Reason: source.InvalidSource, Message: "spec.source.substitute", Err: err}
	}
	var errs source.ParseErrors
	for i, o := range objects {
		content, changed, err := substitute.Object(o.Content, in.Variables, in.Spec.Substitute.Strict)
		var e *substitute.Error
		switch {
		case errors.As(err, &e):
			file, line := o.Place(e.Field)
			errs = append(errs, &source.ParseError{File: file, Line: line, Message: fmt.Sprintf("%s: %v", o, e)})
		case err != nil:
			return nil, err
		case changed:
			objects[i] = o.With(content)
		}
	}
	if len(errs) > 0 {
		return nil, errs
	}
	return objects, nil
}

// asParseErrors makes one place into a list of one.
func asParseErrors(err error) error {
	var one *source.ParseError
	var all source.ParseErrors
	if errors.As(err, &one) && !errors.As(err, &all) {
		return source.ParseErrors{one}
	}
	return err
}

func (in *Input) objects(ctx context.Context, dir string) (Output, error) {
	spec := &in.Spec
	switch {
	case spec.Helm != nil && spec.Helm.Chart == nil && !in.has(dir, source.ChartFile):
		return Output{}, source.ParseErrors{{File: path.Join(dir, source.ChartFile), Message: "spec.source.helm is set, but spec.source.path holds no Helm chart; take it away, point the path at the chart's folder, or name a chart in spec.source.helm.chart"}}
	case spec.Helm != nil, in.has(dir, source.ChartFile):
		return in.chart(ctx, dir)
	case slices.ContainsFunc(source.KustomizationFiles, func(f string) bool { return in.has(dir, f) }):
		return in.kustomize(ctx, dir, spec.Kustomize)
	case spec.Kustomize != nil:
		return in.overlaid(ctx, dir)
	}
	return in.plain(ctx, dir)
}

func (in *Input) has(dir, name string) bool {
	info, err := fs.Stat(in.Tree, path.Join(dir, name))
	return err == nil && info.Mode().IsRegular()
}

// plain reads manifests as they are, and builds the folders among them that are for kustomize.
func (in *Input) plain(ctx context.Context, dir string) (Output, error) {
	files, overlays, err := source.Plain(in.Tree, dir, in.Spec.Directory)
	if err != nil {
		return Output{}, err
	}
	if len(overlays) == 0 {
		objects, err := source.Parse(files, in.From)
		return Output{Objects: objects}, err
	}
	made, err := source.Manifests(files, in.From)
	if err != nil {
		return Output{}, err
	}
	out := Output{}
	for _, o := range overlays {
		more, remote, err := in.build(ctx, o, nil)
		if err != nil {
			return Output{}, err
		}
		made, out.Remote = append(made, more...), out.Remote || remote
	}
	out.Objects, err = source.Compose(made, in.From)
	return out, err
}

func (in *Input) kustomize(ctx context.Context, dir string, options *v1alpha1.Kustomize) (Output, error) {
	made, remote, err := in.build(ctx, dir, options)
	if err != nil {
		return Output{}, err
	}
	objects, err := source.Compose(made, in.From)
	return Output{Objects: objects, Remote: remote}, err
}

func (in *Input) build(ctx context.Context, dir string, options *v1alpha1.Kustomize) ([]source.Made, bool, error) {
	files, err := kustomize.Gather(ctx, in.Tree, dir, in.Remote, options)
	if err != nil {
		return nil, false, err
	}
	made, err := kustomize.Build(ctx, files, options)
	return made, files.Remote, err
}

func (in *Input) chart(ctx context.Context, dir string) (Output, error) {
	helm := in.Spec.Helm
	if helm == nil {
		helm = &v1alpha1.Helm{}
	}
	c, remote, err := in.chartFiles(ctx, dir, helm)
	if err != nil {
		return Output{}, err
	}
	r := chart.Release{Name: in.Application, Namespace: in.From.DefaultNamespace, Cluster: in.Cluster, SkipCRDs: helm.SkipCRDs}
	if helm.ReleaseName != "" {
		r.Name = helm.ReleaseName
	}
	if r.Values, r.Layers, err = in.values(dir, helm); err != nil {
		return Output{}, err
	}
	more, err := in.dependencies(ctx, dir, helm, &c)
	if err != nil {
		return Output{}, err
	}
	// Looking for dependencies has merged into the values what Helm merges itself, so they are made again.
	if r.Values, r.Layers, err = in.values(dir, helm); err != nil {
		return Output{}, err
	}
	rendered, err := chart.RenderApart(ctx, c.Files, c.Root, r)
	if err != nil {
		return Output{}, err
	}
	from := in.From
	from.Omit = chart.Omit
	out := Output{Remote: remote || more}
	if in.Spec.Kustomize == nil {
		out.Objects, err = source.Parse(rendered, from)
		return out, err
	}
	made, err := source.Manifests(rendered, from)
	if err != nil {
		return Output{}, err
	}
	if made, err = kustomize.Overlay(ctx, made, path.Join(c.Root, source.ChartFile), in.Spec.Kustomize); err != nil {
		return Output{}, err
	}
	out.Objects, err = source.Compose(made, in.From)
	return out, err
}

// chartFiles are the files of the chart at the path, or of the one that the Application names. remote says that they may be others another time.
func (in *Input) chartFiles(ctx context.Context, dir string, helm *v1alpha1.Helm) (c chart.Fetched, remote bool, err error) {
	if named := helm.Chart; named != nil {
		if in.has(dir, source.ChartFile) {
			return c, false, source.ParseErrors{{File: path.Join(dir, source.ChartFile), Message: "the path is a chart, and spec.source.helm.chart names another; keep one of the two"}}
		}
		c, err = in.fetch(ctx, named.URL, named.Name, named.Version)
		return c, !c.Exact, err
	}
	c.Root = dir
	if dir == "." {
		c.Root = ""
	}
	c.Files, err = source.Whole(in.Tree, dir)
	return c, false, err
}

func (in *Input) fetch(ctx context.Context, repository, name, version string) (chart.Fetched, error) {
	return in.Charts.Fetch(ctx, chart.Reference{Repository: repository, Name: name, Version: version, Credentials: in.ChartCredentials[strings.TrimSuffix(repository, "/")]})
}

// dependencies adds to a chart what it depends on and does not hold: from a folder of the commit, or from a repository that the Application allows. What is neither is left for Helm to
// complain about.
func (in *Input) dependencies(ctx context.Context, dir string, helm *v1alpha1.Helm, c *chart.Fetched) (remote bool, err error) {
	values, _, err := in.values(dir, helm)
	if err != nil {
		return false, err
	}
	missing, err := chart.Missing(c.Files, c.Root, values)
	if err != nil {
		return false, err
	}
	c.Files = slices.Clone(c.Files)
	for _, d := range missing {
		if folder, ok := strings.CutPrefix(d.Repository, "file://"); ok && helm.Chart == nil {
			at := path.Join(dir, folder)
			if !fs.ValidPath(at) || !in.has(at, source.ChartFile) {
				return false, source.ParseErrors{{File: path.Join(c.Root, source.ChartFile), Message: fmt.Sprintf("the chart depends on %s in %s, which is no chart in the commit", d.Name, d.Repository)}}
			}
			files, err := source.Whole(in.Tree, at)
			if err != nil {
				return false, err
			}
			c.Files = chart.Add(c.Files, c.Root, d.Name, files, at)
			continue
		}
		named := slices.ContainsFunc(helm.Repositories, func(r v1alpha1.HelmRepository) bool {
			return strings.TrimSuffix(r.URL, "/") == strings.TrimSuffix(d.Repository, "/")
		})
		if !named && !allowed(in.Spec.Remotes, d.Repository) {
			continue
		}
		fetched, err := in.fetch(ctx, d.Repository, d.Name, d.Version)
		if err != nil {
			return false, err
		}
		c.Files = chart.Add(c.Files, c.Root, d.Name, fetched.Files, fetched.Root)
		remote = remote || !fetched.Exact
	}
	return remote, nil
}

// values merges the values files of the commit and the Application's own values, and returns these layers too; those that are not of the commit without a path.
func (in *Input) values(dir string, helm *v1alpha1.Helm) (values map[string]any, layers []source.File, err error) {
	var files []source.File
	for i, name := range helm.ValuesFiles {
		at := path.Join(dir, name)
		if rest, ok := strings.CutPrefix(name, "/"); ok {
			at = path.Clean(rest)
		}
		field := fmt.Sprintf("spec.source.helm.valuesFiles[%d]", i)
		if !fs.ValidPath(at) {
			return nil, nil, source.ParseErrors{{File: name, Message: field + " leads out of the repository"}}
		}
		data, err := fs.ReadFile(in.Tree, at)
		switch {
		case errors.Is(err, fs.ErrNotExist) && helm.IgnoreMissingValuesFiles:
			continue
		case errors.Is(err, fs.ErrNotExist):
			return nil, nil, source.ParseErrors{{File: at, Message: field + " names it, but the commit has no such file; paths are relative to spec.source.path, or with a leading slash to the repository's root"}}
		case err != nil:
			return nil, nil, err
		}
		files = append(files, source.File{Path: at, Data: data})
	}
	layers = slices.Clone(files)
	for _, f := range in.Values {
		layers = append(layers, source.File{Data: f.Data})
	}
	var own []byte
	if helm.Values != nil {
		own = helm.Values.Raw
		layers = append(layers, source.File{Data: own})
	}
	values, err = chart.Values(append(files, in.Values...), own)
	return values, layers, err
}

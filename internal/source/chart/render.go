package chart

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/loader/archive"
	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"

	"github.com/gitopsd/gitopsd/internal/source"
)

// definition is the file by whose presence a folder is a chart.
const definition = source.ChartFile

// maxRendered bounds what the templates of one chart may make: a loop in a template is a few characters.
const maxRendered = 64 << 20

// Release says what a chart is rendered for.
type Release struct {
	// Name and Namespace are what templates see as .Release.
	Name, Namespace string
	// SkipCRDs leaves out the folder crds.
	SkipCRDs bool
	// Values are merged over the chart's values.yaml; they are changed by the rendering.
	Values map[string]any
	// Layers are the files that the values were merged from, each over those before it. One without a path is in no file of the commit.
	Layers []source.File
	// Cluster is what templates see as .Capabilities.
	Cluster Cluster
}

// Cluster is what a chart may know about where it will run.
type Cluster struct {
	// KubeVersion is such as v1.37.2; empty leaves it to Helm.
	KubeVersion string
	// APIVersions are such as apps/v1 and apps/v1/Deployment; nil leaves it to Helm.
	APIVersions []string
}

// Render renders the chart whose folder is root, relative to the repository's; all files are below it.
func Render(ctx context.Context, files []source.File, root string, r Release) ([]source.File, error) {
	c, err := load(files, root)
	if err != nil {
		return nil, err
	}
	fail := func(file, format string, args ...any) error {
		return source.ParseErrors{{File: path.Join(root, file), Message: fmt.Sprintf(format, args...)}}
	}
	if c.Metadata.Type == "library" {
		return nil, fail(definition, "the chart %s is a library for other charts, and has nothing to apply", c.Name())
	}
	if err := chartutil.ValidateReleaseName(r.Name); err != nil {
		return nil, fail(definition, "the release name %q: %v; set spec.source.helm.releaseName", r.Name, err)
	}
	values := r.Values
	if values == nil {
		values = map[string]any{}
	}
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return nil, fail(definition, "dependencies: %v", err)
	}
	if missing := absent(c); len(missing) > 0 {
		return nil, fail(definition, "the chart depends on %s, which is not in its folder charts: run `helm dependency build` and commit what it puts there, or allow its repository in spec.source.helm.repositories or spec.source.remotes", strings.Join(missing, ", "))
	}
	capabilities := common.DefaultCapabilities.Copy()
	if r.Cluster.KubeVersion != "" {
		v, err := common.ParseKubeVersion(r.Cluster.KubeVersion)
		if err != nil {
			return nil, fmt.Errorf("version of Kubernetes %q: %w", r.Cluster.KubeVersion, err)
		}
		capabilities.KubeVersion = *v
	}
	if r.Cluster.APIVersions != nil {
		capabilities.APIVersions = r.Cluster.APIVersions
	}
	if want := c.Metadata.KubeVersion; want != "" && !chartutil.IsCompatibleRange(want, capabilities.KubeVersion.String()) {
		return nil, fail(definition, "the chart is for Kubernetes %s, and this is %s", want, capabilities.KubeVersion.String())
	}
	given := func() (common.Values, error) {
		return util.ToRenderValues(c, values, common.ReleaseOptions{Name: r.Name, Namespace: r.Namespace, Revision: 1, IsInstall: true}, capabilities)
	}
	top, err := given()
	if err != nil {
		return nil, fail("values.yaml", "%v", err)
	}
	began := time.Now()
	rendered, err := engine.Engine{}.RenderWithContext(ctx, c, top)
	if err != nil {
		return nil, explain(err, c.Name(), root)
	}
	var known map[string]traces
	if time.Since(began) < maxTracedTime {
		known = trace(ctx, c, given, newLayers(files, root, r.Layers), rendered)
	}
	return manifests(c, rendered, known, root, r.SkipCRDs)
}

func load(files []source.File, root string) (*chartv2.Chart, error) {
	buffered := make([]*archive.BufferedFile, 0, len(files))
	for _, f := range files {
		buffered = append(buffered, &archive.BufferedFile{Name: relative(root, f.Path), Data: f.Data})
	}
	c, err := loader.LoadFiles(buffered)
	if err != nil {
		return nil, source.ParseErrors{{File: path.Join(root, definition), Message: fmt.Sprintf("the chart cannot be read: %v", err)}}
	}
	return c, nil
}

// relative is the path of a file within the chart.
func relative(root, file string) string {
	if root == "" {
		return file
	}
	return strings.TrimPrefix(file, root+"/")
}

// absent names the dependencies that the folder charts lacks.
func absent(c *chartv2.Chart) []string {
	var missing []string
	for _, d := range c.Metadata.Dependencies {
		// Those that the values switch off are not in the list any more; those with an alias go by it.
		name := d.Name
		if d.Alias != "" {
			name = d.Alias
		}
		if !slices.ContainsFunc(c.Dependencies(), func(have *chartv2.Chart) bool { return have.Name() == name || have.Name() == d.Name }) {
			missing = append(missing, d.Name)
		}
	}
	return missing
}

// manifests are the definitions of kinds, then what the templates made, by path; notes for people and empty results are left out.
func manifests(c *chartv2.Chart, rendered map[string]string, known map[string]traces, root string, skipCRDs bool) ([]source.File, error) {
	var out []source.File
	for _, crd := range c.CRDObjects() {
		if skipCRDs {
			break
		}
		out = append(out, source.File{Path: within(crd.Filename, c.Name(), root), Data: crd.File.Data})
	}
	total := 0
	for _, name := range slices.Sorted(maps.Keys(rendered)) {
		text := rendered[name]
		if total += len(text); total > maxRendered {
			return nil, source.ParseErrors{{File: within(name, c.Name(), root), Message: fmt.Sprintf("the templates make more than %d MiB; split the chart", maxRendered>>20)}}
		}
		if path.Base(name) == "NOTES.txt" || strings.TrimSpace(text) == "" {
			continue
		}
		out = append(out, source.File{Path: within(name, c.Name(), root), Data: []byte(text), Rendered: true, Lines: known[name].lines, Filled: known[name].filled})
	}
	return out, nil
}

// within is where a template, which the engine names after the chart, lies in the repository.
func within(name, chart, root string) string {
	return path.Join(root, strings.TrimPrefix(name, chart+"/"))
}

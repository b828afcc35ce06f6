package chart

import (
	"path"
	"slices"
	"strings"

	chartv2 "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/internal/source"
)

// Dependency is a chart that another one needs.
type Dependency struct {
	Name, Version, Repository string
}

// Missing lists what a chart depends on, with these values, and does not hold in its folder charts. Where there is a Chart.lock, the versions are those in it.
func Missing(files []source.File, root string, values map[string]any) ([]Dependency, error) {
	c, err := load(files, root)
	if err != nil {
		return nil, err
	}
	all := slices.Clone(c.Metadata.Dependencies)
	if err := chartutil.ProcessDependencies(c, values); err != nil {
		return nil, source.ParseErrors{{File: path.Join(root, definition), Message: "dependencies: " + err.Error()}}
	}
	locked := lockOf(files, root)
	var out []Dependency
	for _, name := range absent(c) {
		// What is missing is looked up in the list as it was written; processing may have changed its copy.
		i := slices.IndexFunc(all, func(d *chartv2.Dependency) bool { return d.Name == name })
		if i < 0 {
			continue
		}
		d := Dependency{Name: name, Version: all[i].Version, Repository: all[i].Repository}
		for _, l := range locked {
			if l.Name == d.Name && strings.TrimSuffix(l.Repository, "/") == strings.TrimSuffix(d.Repository, "/") {
				d.Version = l.Version
			}
		}
		if !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out, nil
}

// lockOf reads Chart.lock; one that is not there, or cannot be read, locks nothing.
func lockOf(files []source.File, root string) []Dependency {
	var lock struct {
		Dependencies []struct {
			Name       string `json:"name"`
			Version    string `json:"version"`
			Repository string `json:"repository"`
		} `json:"dependencies"`
	}
	for _, f := range files {
		if f.Path == path.Join(root, "Chart.lock") && yaml.Unmarshal(f.Data, &lock) != nil {
			return nil
		}
	}
	var out []Dependency
	for _, d := range lock.Dependencies {
		out = append(out, Dependency(d))
	}
	return out
}

// Add puts the files of a chart into the folder charts of another.
func Add(files []source.File, root, name string, dependency []source.File, dependencyRoot string) []source.File {
	for _, f := range dependency {
		files = append(files, source.File{Path: path.Join(root, "charts", name, relative(dependencyRoot, f.Path)), Data: f.Data})
	}
	return files
}

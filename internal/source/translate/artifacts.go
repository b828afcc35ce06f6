package translate

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// externalArtifact is the kind by which others refer to what an ArtifactGenerator makes. It is never written into Git.
const externalArtifact = "ExternalArtifact"

// artifact is a folder of a repository, as an ArtifactGenerator cuts it out.
type artifact struct {
	name string
	from sourceID
	// folder is the one in the repository that is the artifact's root, and within are the folders below it that the artifact has; none stands for all.
	folder string
	within []string
}

// artifacts reads the spec of an ArtifactGenerator. One that puts several repositories together, or files into other places, is more than the path of an Application can say.
func (r *reading) artifacts(namespace string) []artifact {
	f := r.spec()
	f.tune("commonMetadata")
	repositories := map[string]sourceID{}
	for _, s := range f.objects("sources") {
		alias, id := s.text("alias"), reference(s, namespace)
		if id.kind != "GitRepository" {
			s.fail("kind", "artifacts are cut out of a GitRepository, not of %s", id)
		}
		repositories[alias] = id
	}
	var out []artifact
	for _, a := range f.objects("artifacts") {
		a.same("revision", "originRevision") // only names of what is made
		made := artifact{name: a.text("name")}
		for i, c := range a.objects("copy") {
			c.refuse("exclude", "write it into a .sourceignore file of the repository")
			if strategy := c.text("strategy"); strategy != "" && strategy != "Overwrite" {
				c.fail("strategy", "files are neither merged nor unpacked here")
			}
			alias, from, isFrom := copied(c.text("from"), "/**")
			_, to, isTo := copied(c.text("to"), "/")
			id, known := repositories[alias]
			root, fits := strings.CutSuffix("/"+from, strings.TrimSuffix("/"+to, "/"))
			root = strings.TrimPrefix(root, "/")
			if !isFrom || !isTo || !known || !fits || i > 0 && (id != made.from || root != made.folder) {
				c.fail("from", "only whole folders of one repository (@alias/folder/**) that keep their places to one another (to @artifact/folder/) can be translated; make a Kustomization of the GitRepository instead")
				continue
			}
			made.from, made.folder = id, root
			if to != "" {
				made.within = append(made.within, to)
			}
		}
		out = append(out, made)
	}
	f.done()
	return out
}

// copied takes @alias/folder apart, whose end must be as given.
func copied(text, end string) (alias, folder string, ok bool) {
	text, at := strings.CutPrefix(text, "@")
	text, ends := strings.CutSuffix(text, end)
	alias, folder, _ = strings.Cut(text, "/")
	return alias, folder, at && ends && alias != ""
}

// spec is what is kept of an artifact where other Applications find it.
func (a artifact) spec() map[string]any {
	within := make([]any, 0, len(a.within))
	for _, w := range a.within {
		within = append(within, w)
	}
	return map[string]any{
		"sourceRef": map[string]any{"kind": a.from.kind, "namespace": a.from.namespace, "name": a.from.name},
		"folder":    a.folder, "within": within,
	}
}

// artifactOf is the opposite of spec.
func artifactOf(f *fields) artifact {
	return artifact{from: reference(f.object("sourceRef"), ""), folder: f.text("folder"), within: f.strings("within")}
}

// in is where a path of the artifact is in the repository.
func (a *artifact) in(inside string) (string, error) {
	inside = path.Join(".", inside)
	if len(a.within) > 0 && !slices.ContainsFunc(a.within, func(w string) bool { return inside == w || strings.HasPrefix(inside, w+"/") }) {
		return "", fmt.Errorf("the artifact has the folders %s, of which one must be named", strings.Join(a.within, ", "))
	}
	return path.Join(a.folder, inside), nil
}

package translate

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// sourceID names a source as others refer to it.
type sourceID struct{ kind, namespace, name string }

func (id sourceID) String() string { return fmt.Sprintf("%s %s/%s", id.kind, id.namespace, id.name) }

// described is the key, in the ConfigMap that stands for a source, of what the source's object says.
const described = "source.json"

// ConfigMapName is that of the ConfigMap which stands for a source, in the source's namespace.
func ConfigMapName(kind, name string) string { return strings.ToLower(kind) + "." + name }

// ApplicationSetOf names the ApplicationSet that a ConfigMap stands for.
func ApplicationSetOf(ref v1alpha1.ObjectRef) (name string, ok bool) {
	if ref.Group != "" || ref.Kind != "ConfigMap" {
		return "", false
	}
	return strings.CutPrefix(ref.Name, ConfigMapName(applicationSet.Kind, ""))
}

// Described reads what a ConfigMap says of the source that it stands for.
func Described(data map[string]string) (map[string]any, error) {
	var out map[string]any
	err := json.Unmarshal([]byte(data[described]), &out)
	return out, err
}

// place is what a source's object says, in our words: a repository for Git, or where charts are.
type place struct {
	git   v1alpha1.Source
	chart v1alpha1.HelmChart
	// part is the artifact that was cut out of git; nil for all of it.
	part *artifact
}

// place reads the spec of a source.
func (r *reading) place(kind string, f *fields) place {
	var p place
	f.tune("interval", "timeout", "suspend", "accessFrom")
	f.into("secretRef", &p.git.SecretRef)
	p.chart.SecretRef = p.git.SecretRef
	url := f.text("url")
	if provider := f.text("provider"); provider != "" && provider != "generic" {
		f.fail("provider", "credentials of a cloud are not known here; name a Secret in secretRef")
	}
	switch kind {
	case "GitRepository":
		p.git.RepoURL, p.git.Ref, p.git.Remotes = url, fluxRef(f.object("ref")), anywhere()
		p.git.Submodules = f.flag("recurseSubmodules", false)
		p.git.Verify = fluxVerify(f.object("verify"))
		f.tune("gitImplementation", "sparseCheckout")
		p.git.Ignore = f.text("ignore")
	case "HelmRepository":
		f.tune("passCredentials", "type")
		insecure := f.flag("insecure", false)
		p.chart.URL, p.chart.Insecure = url, insecure && strings.HasPrefix(url, "oci://") // Flux heeds it of no other
	case "OCIRepository":
		f.tune("layerSelector")
		p.chart.URL, p.chart.Name = path.Split(strings.TrimSuffix(url, "/"))
		p.chart.URL, p.chart.Insecure = strings.TrimSuffix(p.chart.URL, "/"), f.flag("insecure", false)
		ref := f.object("ref")
		p.chart.Version = first(ref.text("digest"), ref.text("semver"), ref.text("tag"))
	}
	f.done()
	return p
}

// fluxRef is the ref of a GitRepository, whose fields go before one another.
func fluxRef(f *fields) v1alpha1.Ref {
	ref := v1alpha1.Ref{Branch: f.text("branch"), Tag: f.text("tag"), SemVer: f.text("semver"), Commit: f.text("commit")}
	name := f.text("name")
	branch, isBranch := strings.CutPrefix(name, "refs/heads/")
	tag, isTag := strings.CutPrefix(name, "refs/tags/")
	switch {
	case ref.Commit != "":
		return v1alpha1.Ref{Commit: ref.Commit}
	case isBranch:
		return v1alpha1.Ref{Branch: branch}
	case isTag:
		return v1alpha1.Ref{Tag: tag}
	case name != "":
		f.fail("name", "only refs/heads/ and refs/tags/ are followed")
	case ref.SemVer != "":
		return v1alpha1.Ref{SemVer: ref.SemVer}
	case ref.Tag != "":
		return v1alpha1.Ref{Tag: ref.Tag}
	case ref.Branch == "":
		return v1alpha1.Ref{Branch: "master"} // Flux's own default
	}
	return v1alpha1.Ref{Branch: ref.Branch}
}

func fluxVerify(f *fields) *v1alpha1.Verify {
	if !f.there() {
		return nil
	}
	modes := map[string]v1alpha1.VerifyMode{"": v1alpha1.VerifyCommit, "head": v1alpha1.VerifyCommit, "HEAD": v1alpha1.VerifyCommit, "Tag": v1alpha1.VerifyTag, "TagAndHEAD": v1alpha1.VerifyCommitAndTag}
	mode := f.text("mode")
	out := &v1alpha1.Verify{Mode: modes[mode]}
	if out.Mode == "" {
		f.fail("mode", "%q is none of HEAD, Tag and TagAndHEAD", mode)
	}
	f.into("secretRef", &out.SecretRef)
	return out
}

// anywhere is from where Flux and Argo CD fetch what a kustomization or a chart of a repository names, unless they are told not to.
func anywhere() []string { return []string{"https://", "oci://", "ssh://"} }

// first is the first text that is not empty.
func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// description is what an object says of a source.
type description struct {
	id   sourceID
	spec any
}

// descriptions are what an object says of sources: an ArtifactGenerator of each artifact, another of itself.
func (t *translation) descriptions(r *reading) []description {
	o := r.object
	gk := o.GroupVersionKind().GroupKind()
	switch gk {
	case artifactGenerator:
		var out []description
		for _, a := range r.artifacts(t.namespaceOf(o)) {
			out = append(out, description{sourceID{externalArtifact, t.namespaceOf(o), a.name}, a.spec()})
		}
		return out
	case appProject:
		f := r.spec()
		f.refuse("signatureKeys", "write an Application of gitopsd.io/v1alpha1 with spec.source.verify instead (docs/sources.md)")
		f.refuse("destinationServiceAccounts", "write an Application of gitopsd.io/v1alpha1 with spec.serviceAccountName instead (docs/applications.md)")
		f.rest()
		return []description{{sourceID{gk.Kind, t.in.Own.Namespace, o.Name()}, o.Content["spec"]}}
	}
	switch {
	case gk == applicationSet:
		return []description{{sourceID{gk.Kind, t.in.Own.Namespace, o.Name()}, o.Content["spec"]}}
	case besides(gk):
		r.dropped = append(r.dropped, "spec")
	default:
		r.place(gk.Kind, r.spec()) // for its errors
	}
	return []description{{sourceID{gk.Kind, t.namespaceOf(o), o.Name()}, o.Content["spec"]}}
}

// keep puts a ConfigMap in the place of what describes a source, so that objects of other Applications can refer to it.
func (t *translation) keep(r *reading) error {
	for _, d := range t.descriptions(r) {
		t.home(r, d.id.namespace)
		annotations := map[string]any{v1alpha1.AnnotationTranslatedFrom: r.standsFor()}
		if r.metadata("annotations")[v1alpha1.AnnotationAllowEmpty] == "true" {
			annotations[v1alpha1.AnnotationAllowEmpty] = "true" // by which the engine knows that a set may make nothing
		}
		text, err := json.Marshal(map[string]any{"spec": d.spec})
		if err != nil {
			return fmt.Errorf("%s: %w", r.object, err)
		}
		t.out.Objects = append(t.out.Objects, r.object.With(map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap",
			"metadata": map[string]any{
				"name": ConfigMapName(d.id.kind, d.id.name), "namespace": d.id.namespace, "annotations": annotations,
			},
			"data": map[string]any{described: string(text)},
		}))
	}
	return nil
}

// source finds what a field refers to, in the commit or else with other Applications. The error, where neither has it, is one that may go away by itself.
func (t *translation) source(r *reading, field string, id sourceID) (place, error) {
	content, here := t.known[id]
	if !here {
		var err error
		if content, err = t.in.Find(t.ctx, id.kind, id.namespace, id.name); err != nil {
			return place{}, fmt.Errorf("%s: %s: %s: looking for %s: %w", source.At(r.object.Place(field)), r.object, field, id, err)
		}
		t.out.Found = true
	}
	if content == nil {
		if id.kind == "GitRepository" && id.name == bootstrapped {
			own := t.in.Own.Spec.Source
			return place{git: v1alpha1.Source{RepoURL: own.RepoURL, Ref: own.Ref, SecretRef: own.SecretRef, Verify: own.Verify, Rendering: v1alpha1.Rendering{Remotes: anywhere()}}}, nil
		}
		file, line := r.object.Place(field)
		return place{}, &source.Error{Reason: source.RefNotFound, Message: fmt.Sprintf("%s: %s: %s: neither the commit nor another Application has %s; it is looked for again at each look at the repository",
			source.At(file, line), r.object, field, id)}
	}
	spec, _ := content["spec"].(map[string]any)
	there := &reading{object: r.object}
	f := &fields{r: there, path: "spec", content: spec, read: map[string]bool{}}
	if id.kind == externalArtifact {
		part := artifactOf(f)
		if part.from.kind != "GitRepository" { // an artifact of artifacts could lead in a circle
			r.fail(field, "%s is not cut out of a GitRepository", id)
			return place{}, nil
		}
		p, err := t.source(r, field, part.from)
		p.part = &part
		return p, err
	}
	p := there.place(id.kind, f)
	if len(there.errs) > 0 && !here {
		r.fail(field, "%s cannot be used: %s", id, there.errs[0].Message)
	}
	return p, nil
}

// bootstrapped is what Flux's bootstrap calls the repository that it begins with. Where nobody describes it, it is the Application's own.
const bootstrapped = "flux-system"

// reference reads a sourceRef or chartRef.
func reference(f *fields, namespace string) sourceID {
	f.text("apiVersion")
	id := sourceID{f.text("kind"), f.text("namespace"), f.text("name")}
	if id.namespace == "" {
		id.namespace = namespace
	}
	return id
}

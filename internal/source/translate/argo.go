package translate

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
	"helm.sh/helm/v4/pkg/strvals"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// argoApplication translates Argo CD's Application. Its namespace is where Argo CD is installed, and nothing that it says depends on it, so ours is where its parent is.
func (t *translation) argoApplication(r *reading) ([]*v1alpha1.Application, error) {
	f := r.spec()
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: t.in.Own.Namespace, Name: r.object.Name()}}
	s := &app.Spec
	f.tune("info", "revisionHistoryLimit")
	if f.text("project") != "default" {
		f.tune("project")
	}
	to := f.object("destination")
	s.TargetNamespace = to.text("namespace")
	if server := to.text("server"); server != "" && server != "https://kubernetes.default.svc" {
		to.fail("server", elsewhere)
	}
	if name := to.text("name"); name != "" && name != "in-cluster" {
		to.fail("name", elsewhere)
	}
	t.argoPolicy(r, f.object("syncPolicy"), s)
	s.OnDeletion = v1alpha1.DeletionKeep
	if m, _ := r.object.Content["metadata"].(map[string]any); cascades(m["finalizers"]) {
		s.OnDeletion = v1alpha1.DeletionPrune
	}
	for _, i := range f.objects("ignoreDifferences") {
		rule := v1alpha1.IgnoreDifference{
			Group: i.text("group"), Kind: i.text("kind"), Name: i.text("name"), Namespace: i.text("namespace"),
			JSONPointers: i.strings("jsonPointers"), Managers: i.strings("managedFieldsManagers"),
		}
		for _, expression := range i.strings("jqPathExpressions") {
			field, ok := fieldOf(expression)
			if !ok {
				i.fail("jqPathExpressions", "%q is more than a path; name the field in jsonPointers", expression)
			}
			rule.Fields = append(rule.Fields, field)
		}
		if rule.Kind == "" || strings.Contains(rule.Kind+rule.Group+rule.Name, "*") {
			i.fail("kind", "name one kind, without *")
		}
		s.IgnoreDifferences = append(s.IgnoreDifferences, rule)
	}
	apps := t.argoSources(f, app)
	f.done()
	return apps, nil
}

// cascades says whether an Application's finalizers have what it brought deleted with it; without, Argo CD leaves that alone.
func cascades(finalizers any) bool {
	list, _ := finalizers.([]any)
	return slices.ContainsFunc(list, func(f any) bool {
		name, _ := f.(string)
		name, _, _ = strings.Cut(name, "/")
		return name == "resources-finalizer.argocd.argoproj.io"
	})
}

// jqPath matches the jq expressions that are paths: .spec.replicas, .spec.containers[].image.
var jqPath = regexp.MustCompile(`^(\.[A-Za-z_][A-Za-z0-9_]*(\[\])?)+$`)

func fieldOf(expression string) (string, bool) {
	if !jqPath.MatchString(expression) {
		return "", false
	}
	return strings.ReplaceAll(strings.TrimPrefix(expression, "."), "[]", "[*]"), true
}

// argoSources reads spec.source, or spec.sources, of which each that has manifests becomes an Application like app, and the others lend their files to those.
func (t *translation) argoSources(f *fields, app *v1alpha1.Application) []*v1alpha1.Application {
	if !f.has("sources") {
		t.argoSource(f.object("source"), app)
		return []*v1alpha1.Application{app}
	}
	lent := map[string]*fields{}
	var out []*v1alpha1.Application
	all := f.objects("sources")
	for _, s := range all {
		if ref := s.text("ref"); ref != "" {
			lent["$"+ref] = s
		}
	}
	for _, s := range all {
		if s.has("ref") && !s.has("path") && !s.has("chart") {
			s.same("repoURL", "targetRevision", "name") // they are read where it is lent
			continue
		}
		one := app.DeepCopy()
		if len(out) > 0 {
			one.Name += fmt.Sprintf("-%d", len(out)+1)
		}
		t.argoSource(s, one)
		if h := one.Spec.Source.Helm; h != nil && (h.ReleaseName == "" || h.ReleaseName == one.Name) {
			h.ReleaseName = app.Name // as Argo CD calls all of them
		}
		t.borrow(s, one, lent)
		out = append(out, one)
	}
	if len(out) == 0 {
		f.fail("sources", "none of them has a path or a chart")
	}
	return out
}

// borrow lets an Application name values files of other sources ($ref/file). Where its own files are in a repository, that must be the one.
func (t *translation) borrow(f *fields, app *v1alpha1.Application, lent map[string]*fields) {
	src := &app.Spec.Source
	if src.Helm == nil {
		return
	}
	chart := src.Helm.Chart != nil
	for i, v := range src.Helm.ValuesFiles {
		name, inside, _ := strings.Cut(v, "/")
		from := lent[name]
		switch {
		case from == nil && strings.HasPrefix(v, "$"):
			f.fail("helm.valueFiles", "%q: no source has ref: %s", v, strings.TrimPrefix(name, "$"))
			continue
		case from == nil && chart:
			f.fail("helm.valueFiles", "%q is a file of the chart itself; give its content in values", v)
			continue
		case from == nil:
			continue
		}
		url, ref := from.text("repoURL"), argoRevision(from.text("targetRevision"))
		if src.RepoURL == "" {
			src.RepoURL, src.Ref = url, ref
			t.lendCredentials(src)
		}
		if source.Canonical(url) != source.Canonical(src.RepoURL) || ref != src.Ref {
			f.fail("helm.valueFiles", "%q is in another repository, or at another revision, than the other files; values files must be in one", v)
		}
		src.Helm.ValuesFiles[i] = "/" + inside
	}
}

// lendCredentials lets an Application of one's own repository name the Secret that this one is read with: Argo CD knows credentials by the URL.
func (t *translation) lendCredentials(s *v1alpha1.Source) {
	if own := t.in.Own.Spec.Source; source.Canonical(s.RepoURL) == source.Canonical(own.RepoURL) {
		s.SecretRef = own.SecretRef
	}
}

func (t *translation) argoSource(f *fields, app *v1alpha1.Application) {
	src := &app.Spec.Source
	url, revision, chart := f.text("repoURL"), f.text("targetRevision"), f.text("chart")
	f.tune("name")
	f.refuse("plugin", "gitopsd runs no plugins; let the build write the manifests")
	helm := argoHelm(f.object("helm"))
	if chart != "" {
		if helm == nil {
			helm = &v1alpha1.Helm{}
		}
		if !strings.Contains(url, "://") {
			url = "oci://" + url
		}
		if helm.ReleaseName == "" {
			helm.ReleaseName = app.Name
		}
		src.Helm = helm
		helm.Chart = &v1alpha1.HelmChart{HelmRepository: v1alpha1.HelmRepository{URL: url}, Name: chart, Version: first(revision, "*")}
		return
	}
	src.RepoURL, src.Ref, src.Path, src.Helm = url, argoRevision(revision), strings.TrimPrefix(f.text("path"), "./"), helm
	src.Remotes = anywhere()
	t.lendCredentials(src)
	src.Kustomize = argoKustomize(f.object("kustomize"))
	d := f.object("directory")
	d.refuse("jsonnet", "gitopsd does not read Jsonnet; let the build write the manifests")
	recurse := d.flag("recurse", false)
	if src.Helm == nil && src.Kustomize == nil {
		src.Directory = &v1alpha1.Directory{Recurse: &recurse, Include: alternatives(d.text("include")), Exclude: alternatives(d.text("exclude"))}
	}
}

// alternatives turns Argo CD's one pattern, {a,b}, into a list.
func alternatives(pattern string) []string {
	if inner, ok := strings.CutPrefix(pattern, "{"); ok && strings.HasSuffix(inner, "}") && !strings.ContainsAny(inner[:len(inner)-1], "{}") {
		return strings.Split(inner[:len(inner)-1], ",")
	}
	if pattern == "" {
		return nil
	}
	return []string{pattern}
}

var commitHash = regexp.MustCompile(`^[0-9a-f]{40}$`)

// argoRevision is what a targetRevision means. Argo CD asks the repository whether a name is a branch or a tag; here what looks like a version is a tag.
func argoRevision(revision string) v1alpha1.Ref {
	branch, isBranch := strings.CutPrefix(revision, "refs/heads/")
	tag, isTag := strings.CutPrefix(revision, "refs/tags/")
	_, notVersion := semver.StrictNewVersion(strings.TrimPrefix(revision, "v"))
	_, notRange := semver.NewConstraint(revision)
	switch {
	case revision == "":
		return v1alpha1.Ref{Branch: source.HeadBranch}
	case commitHash.MatchString(revision):
		return v1alpha1.Ref{Commit: revision}
	case isBranch:
		return v1alpha1.Ref{Branch: branch}
	case isTag:
		return v1alpha1.Ref{Tag: tag}
	case notVersion == nil:
		return v1alpha1.Ref{Tag: revision}
	case notRange == nil && strings.ContainsAny(revision, "*^~<>= "):
		return v1alpha1.Ref{SemVer: revision}
	}
	return v1alpha1.Ref{Branch: revision}
}

func argoHelm(f *fields) *v1alpha1.Helm {
	if !f.there() {
		return nil
	}
	h := &v1alpha1.Helm{
		ReleaseName: f.text("releaseName"), ValuesFiles: f.strings("valueFiles"), IgnoreMissingValuesFiles: f.flag("ignoreMissingValueFiles", false), SkipCRDs: f.flag("skipCrds", false),
	}
	f.tune("version", "passCredentials", "skipTests", "skipSchemaValidation")
	for _, v := range h.ValuesFiles {
		if strings.Contains(v, "://") {
			f.fail("valueFiles", "%s: values files are read from the commit", v)
		}
	}
	values := map[string]any{}
	if text := f.text("values"); text != "" {
		if err := yaml.Unmarshal([]byte(text), &values); err != nil {
			f.fail("values", "%v", err)
		}
	}
	if v, ok := f.take("valuesObject"); ok {
		values, ok = v.(map[string]any) // it counts instead of values
		if !ok {
			f.fail("valuesObject", "must be a map")
		}
	}
	for i, p := range f.objects("parameters") {
		set := strvals.ParseInto
		if p.flag("forceString", false) {
			set = strvals.ParseIntoString
		}
		text := p.text("name") + "=" + strings.ReplaceAll(p.text("value"), ",", `\,`)
		if values == nil {
			values = map[string]any{}
		}
		if err := set(text, values); err != nil {
			f.fail(fmt.Sprintf("parameters[%d]", i), "%v", err)
		}
	}
	if len(values) > 0 {
		h.Values = raw(values)
	}
	return h
}

func argoKustomize(f *fields) *v1alpha1.Kustomize {
	if !f.there() {
		return nil
	}
	k := &v1alpha1.Kustomize{Namespace: f.text("namespace"), NamePrefix: f.text("namePrefix"), NameSuffix: f.text("nameSuffix"), Components: f.strings("components")}
	f.tune("version", "forceCommonLabels", "forceCommonAnnotations", "ignoreMissingComponents")
	labels := &k.CommonLabels
	if f.flag("labelWithoutSelector", false) {
		labels = &k.Labels
	}
	f.into("commonLabels", labels)
	f.into("commonAnnotations", &k.CommonAnnotations)
	f.into("replicas", &k.Replicas)
	f.into("patches", &k.Patches)
	for _, image := range f.strings("images") {
		k.Images = append(k.Images, imageOf(image))
	}
	if emptyOverlay(*k) {
		return nil
	}
	return k
}

// imageOf reads kustomize's short form: name, =, another name, : and a tag or @ and a digest, of which all but the first may be left out.
func imageOf(text string) v1alpha1.KustomizeImage {
	var out v1alpha1.KustomizeImage
	old, rest, renamed := strings.Cut(text, "=")
	if !renamed {
		rest = old
	}
	if name, digest, ok := strings.Cut(rest, "@"); ok {
		rest, out.Digest = name, digest
	} else if i := strings.LastIndex(rest, ":"); i > strings.LastIndex(rest, "/") {
		rest, out.NewTag = rest[:i], rest[i+1:]
	}
	if out.Name = rest; renamed {
		out.Name, out.NewName = old, rest
	}
	return out
}

// argoPolicy reads spec.syncPolicy. Where Argo CD waits to be told, a commit is applied all the same: a push is the decision here.
func (t *translation) argoPolicy(r *reading, f *fields, s *v1alpha1.ApplicationSpec) {
	auto := f.object("automated")
	prune := auto.flag("prune", false)
	s.Prune = &prune
	s.Drift = v1alpha1.DriftReport
	if auto.flag("selfHeal", false) {
		s.Drift = v1alpha1.DriftRevert
	}
	auto.tune("allowEmpty")
	if !auto.flag("enabled", true) {
		s.Suspend = true
	}
	f.tune("retry")
	options := map[string]string{}
	for _, o := range f.strings("syncOptions") {
		name, value, _ := strings.Cut(o, "=")
		options[name] = value
	}
	meta := f.object("managedNamespaceMetadata")
	var labels, annotations map[string]string
	meta.into("labels", &labels)
	meta.into("annotations", &annotations)
	if options["CreateNamespace"] == "true" {
		t.namespace(r, s.TargetNamespace, labels, annotations)
	}
	s.Replace = options["Replace"] == "true" || options["Force"] == "true"
	s.WaitForKinds = options["SkipDryRunOnMissingResource"] == "true"
}

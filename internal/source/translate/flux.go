package translate

import (
	"encoding/json"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

const elsewhere = "gitopsd applies to its own cluster only; take the object away here"

// begin is what Flux's Kustomizations and HelmReleases have in common. suffix tells the two apart where they have one name.
func (t *translation) begin(r *reading, f *fields, suffix string) *v1alpha1.Application {
	namespace := t.namespaceOf(r.object)
	t.home(r, namespace)
	app := &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: r.object.Name() + suffix}}
	s := &app.Spec
	s.Interval, s.HealthTimeout = f.duration("interval"), f.duration("timeout")
	s.ServiceAccountName = f.text("serviceAccountName")
	s.Suspend = f.flag("suspend", false)
	f.tune("retryInterval")
	f.refuse("kubeConfig", elsewhere)
	for _, d := range f.objects("dependsOn") {
		d.refuse("readyExpr", "an Application depends on others that are synced and healthy; take it away")
		s.DependsOn = append(s.DependsOn, v1alpha1.Dependency{Name: d.text("name") + suffix, Namespace: d.text("namespace")})
	}
	return app
}

// kustomization translates Flux's Kustomization.
func (t *translation) kustomization(r *reading) ([]*v1alpha1.Application, error) {
	f := r.spec()
	app := t.begin(r, f, "")
	s := &app.Spec
	id := reference(f.object("sourceRef"), app.Namespace)
	if id.kind != "GitRepository" && id.kind != externalArtifact {
		f.fail("sourceRef.kind", "manifests are read from a GitRepository, not from %s", id)
		return nil, nil
	}
	found, err := t.source(r, "spec.sourceRef", id)
	if err != nil {
		return nil, err
	}
	s.Source = found.git
	s.Source.Path = strings.TrimPrefix(f.text("path"), "./")
	s.Source.Directory = &v1alpha1.Directory{Include: []string{"*.yaml", "*.yml"}} // which is what Flux makes a kustomization of where there is none
	if found.part != nil {
		if s.Source.Path, err = found.part.in(s.Source.Path); err != nil {
			f.fail("path", "%v", err)
		}
	}
	if !f.flag("prune", false) {
		s.Prune = new(bool)
	}
	f.same("wait", "healthChecks", "validation") // health is always waited for, and everything always tried first
	switch policy := f.text("deletionPolicy"); policy {
	case "", "MirrorPrune":
	case "Delete", "WaitForTermination":
		s.OnDeletion = v1alpha1.DeletionPrune
	case "Orphan":
		s.OnDeletion = v1alpha1.DeletionKeep
	default:
		f.fail("deletionPolicy", "%q is none of MirrorPrune, Delete, WaitForTermination and Orphan", policy)
	}
	f.refuse("ignoreMissingComponents", "a component that is named must be there; take it away")
	s.Replace = f.flag("force", false)
	for _, c := range f.objects("healthCheckExprs") {
		gv, err := schema.ParseGroupVersion(c.text("apiVersion"))
		if err != nil {
			c.fail("apiVersion", "%v", err)
		}
		s.HealthChecks = append(s.HealthChecks, v1alpha1.HealthCheck{Group: gv.Group, Kind: c.text("kind"), Failed: c.text("failed"), InProgress: c.text("inProgress"), Current: c.text("current")})
	}
	s.Source.Kustomize = fluxOverlay(f)
	build := f.object("postBuild")
	if build.there() {
		s.Source.Substitute = &v1alpha1.Substitute{}
		build.into("substitute", &s.Source.Substitute.Variables)
		build.into("substituteFrom", &s.Source.Substitute.From)
	}
	if d := f.object("decryption"); d.there() {
		if provider := d.text("provider"); provider != "sops" {
			d.fail("provider", "only sops is known")
		}
		s.Source.Decryption = &v1alpha1.Decryption{}
		if !d.into("secretRef", &s.Source.Decryption.SecretRef) {
			d.fail("secretRef", "keys must be in a Secret")
		}
	}
	f.done()
	return []*v1alpha1.Application{app}, nil
}

// fluxOverlay is what a Kustomization says on top of the folder; nil for nothing.
func fluxOverlay(f *fields) *v1alpha1.Kustomize {
	k := v1alpha1.Kustomize{Namespace: f.text("targetNamespace"), NamePrefix: f.text("namePrefix"), NameSuffix: f.text("nameSuffix"), Components: f.strings("components")}
	f.into("images", &k.Images)
	f.into("patches", &k.Patches)
	meta := f.object("commonMetadata")
	meta.into("labels", &k.Labels)
	meta.into("annotations", &k.Annotations)
	for _, old := range []string{"patchesStrategicMerge", "patchesJson6902"} {
		f.refuse(old, "Flux has given it up; use patches")
	}
	if emptyOverlay(k) {
		return nil
	}
	return &k
}

func emptyOverlay(k v1alpha1.Kustomize) bool {
	return k.Namespace == "" && k.NamePrefix == "" && k.NameSuffix == "" && len(k.Components)+len(k.Images)+len(k.Patches)+len(k.Replicas)+len(k.Labels)+len(k.CommonLabels)+len(k.CommonAnnotations)+len(k.Annotations) == 0
}

// releaseSuffix is behind the names of Applications that stand for HelmReleases: the Kustomization that brings one often has the same name.
const releaseSuffix = "-release"

// helmRelease translates Flux's HelmRelease.
func (t *translation) helmRelease(r *reading) ([]*v1alpha1.Application, error) {
	f := r.spec()
	app := t.begin(r, f, releaseSuffix)
	s := &app.Spec
	s.Source.Helm = &v1alpha1.Helm{ReleaseName: f.text("releaseName")}
	h := s.Source.Helm
	s.TargetNamespace = f.text("targetNamespace")
	if h.ReleaseName == "" {
		h.ReleaseName = r.object.Name()
		if s.TargetNamespace != "" {
			h.ReleaseName = s.TargetNamespace + "-" + h.ReleaseName
		}
	}
	if s.TargetNamespace == "" {
		s.TargetNamespace = app.Namespace
	}
	if err := t.chartOf(r, f, app); err != nil {
		return nil, err
	}
	if v, ok := f.take("values"); ok {
		h.Values = raw(v)
	}
	for _, v := range f.objects("valuesFrom") {
		v.refuse("targetPath", "give the value in the form of a values file instead")
		h.ValuesFrom = append(h.ValuesFrom, v1alpha1.HelmValuesFrom{Kind: v.text("kind"), Name: v.text("name"), Key: v.text("valuesKey"), Optional: v.flag("optional", false)})
	}
	install, upgrade := f.object("install"), f.object("upgrade")
	h.SkipCRDs = install.text("crds") == "Skip"
	upgrade.tune("crds")
	if install.flag("createNamespace", false) {
		t.namespace(r, s.TargetNamespace, nil, nil)
	}
	for _, stage := range []*fields{install, upgrade} {
		if stage.flag("disableHooks", false) {
			stage.fail("disableHooks", "the chart's hooks are run at every sync; take it away")
		}
	}
	remediation := upgrade.object("remediation")
	if strategy := remediation.text("strategy"); remediation.has("retries") && strategy != "uninstall" {
		s.OnFailure = v1alpha1.FailureRollback
	}
	remediation.rest()
	install.rest()
	upgrade.rest()
	driftOf(f.object("driftDetection"), s)
	f.tune("maxHistory", "persistentClient", "storageNamespace", "test", "rollback", "uninstall", "waitStrategy")
	s.Source.Kustomize = postRendered(f)
	f.done()
	return []*v1alpha1.Application{app}, nil
}

// postRendered is what a HelmRelease changes in what the chart's templates make; nil for nothing.
func postRendered(f *fields) *v1alpha1.Kustomize {
	var k v1alpha1.Kustomize
	meta := f.object("commonMetadata")
	meta.into("labels", &k.Labels)
	meta.into("annotations", &k.Annotations)
	for _, p := range f.objects("postRenderers") {
		var more v1alpha1.Kustomize
		overlay := p.object("kustomize")
		overlay.into("patches", &more.Patches)
		overlay.into("images", &more.Images)
		for _, old := range []string{"patchesStrategicMerge", "patchesJson6902"} {
			overlay.refuse(old, "Flux has given it up; use patches")
		}
		if len(k.Images) > 0 && !emptyOverlay(more) {
			p.fail("kustomize", "images are replaced after all patches, once; join it with the one before")
		}
		k.Patches, k.Images = append(k.Patches, more.Patches...), append(k.Images, more.Images...)
	}
	if emptyOverlay(k) {
		return nil
	}
	return &k
}

// chartOf is where a HelmRelease's chart comes from.
func (t *translation) chartOf(r *reading, f *fields, app *v1alpha1.Application) error {
	h := app.Spec.Source.Helm
	if f.has("chartRef") {
		id := reference(f.object("chartRef"), app.Namespace)
		if id.kind != "OCIRepository" {
			f.fail("chartRef.kind", "only an OCIRepository can be named here, not %s", id)
			return nil
		}
		found, err := t.source(r, "spec.chartRef", id)
		h.Chart = &found.chart
		return err
	}
	c := f.object("chart").object("spec")
	f.object("chart").tune("metadata")
	c.tune("interval", "reconcileStrategy")
	name, version := c.text("chart"), first(c.text("version"), "*")
	files := append(c.strings("valuesFiles"), c.strings("valuesFile")...)
	h.IgnoreMissingValuesFiles = c.flag("ignoreMissingValuesFiles", false)
	id := reference(c.object("sourceRef"), app.Namespace)
	if id.kind != "HelmRepository" && id.kind != "GitRepository" {
		c.fail("sourceRef.kind", "a chart is read from a HelmRepository, a GitRepository or an OCIRepository, not from %s", id)
		return nil
	}
	found, err := t.source(r, c.at("sourceRef"), id)
	if err != nil {
		return err
	}
	if id.kind == "HelmRepository" {
		if len(files) > 0 {
			c.fail("valuesFiles", "they would be files of the chart; give their content in values")
		}
		h.Chart = &found.chart
		h.Chart.Name, h.Chart.Version = name, version
		return nil
	}
	found.git.Helm, found.git.Path = h, strings.TrimPrefix(name, "./")
	app.Spec.Source = found.git
	for _, v := range files {
		h.ValuesFiles = append(h.ValuesFiles, "/"+strings.TrimPrefix(strings.TrimPrefix(v, "./"), "/"))
	}
	return nil
}

// driftOf is what a HelmRelease says about drift: without a word Flux leaves it until the next upgrade.
func driftOf(f *fields, s *v1alpha1.ApplicationSpec) {
	s.Drift = v1alpha1.DriftReport
	if f.text("mode") == "enabled" {
		s.Drift = v1alpha1.DriftRevert
	}
	for _, i := range f.objects("ignore") {
		target := i.object("target")
		rule := v1alpha1.IgnoreDifference{
			Group: target.text("group"), Kind: target.text("kind"), Namespace: target.text("namespace"), Name: target.text("name"), JSONPointers: i.strings("paths"),
		}
		target.tune("version")
		if rule.Kind == "" {
			i.fail("target", "name the kind")
		}
		s.IgnoreDifferences = append(s.IgnoreDifferences, rule)
	}
}

func raw(v any) *runtime.RawExtension {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("values that were read as YAML cannot be written as JSON: %v", err))
	}
	return &runtime.RawExtension{Raw: text}
}

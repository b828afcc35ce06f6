package gitops_test

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// ready waits until an Application of any namespace is synced and healthy.
func (b *bench) ready(namespace, name string) *v1alpha1.Application {
	b.t.Helper()
	return b.findIn(namespace, name, "Application "+namespace+"/"+name+" is synced and healthy", func(a *v1alpha1.Application) bool {
		return a.Status.Sync == "Synced" && a.Status.Health == "Healthy"
	})
}

// fleet is a repository as Flux's users lay theirs out: a folder for each cluster, which names the folders of what runs there, charts among it.
func fleet(charts string) map[string]string {
	kustomization := func(name, path, more string) string {
		return "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: " + name + ", namespace: flux-system}\n" +
			"spec:\n  interval: 10m\n  sourceRef: {kind: GitRepository, name: flux-system}\n  path: " + path + "\n  prune: true\n" + more
	}
	return map[string]string{
		"clusters/staging/infra.yaml": kustomization("infra", "./infra", ""),
		"clusters/staging/apps.yaml":  kustomization("apps", "./apps/staging", "  dependsOn: [{name: infra}]\n  postBuild: {substitute: {colour: red}}\n"),
		"infra/charts.yaml": "apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata: {name: charts, namespace: flux-system}\nspec: {interval: 5m, url: '" + charts +
			"', secretRef: {name: charts}}\n",
		"apps/base/kustomization.yaml": "namespace: web\nresources: [namespace.yaml, release.yaml]\n",
		"apps/base/namespace.yaml":     "apiVersion: v1\nkind: Namespace\nmetadata: {name: web}\n",
		"apps/base/release.yaml": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  interval: 50m\n  releaseName: web\n  targetNamespace: shop\n  chart: {spec: {chart: web, version: 0.x, sourceRef: {kind: HelmRepository, name: charts, namespace: flux-system}}}\n  values: {colour: none}\n" +
			"  postRenderers: [{kustomize: {patches: [{target: {kind: ConfigMap, name: web}, patch: '[{\"op\": \"add\", \"path\": \"/data/patched\", \"value\": \"yes\"}]'}]}}]\n",
		"apps/staging/kustomization.yaml": "resources: [../base]\npatches: [{path: values.yaml, target: {kind: HelmRelease}}]\n",
		"apps/staging/values.yaml":        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  chart: {spec: {version: '>=1.0.0'}}\n  values: {colour: '${colour}'}\n",
	}
}

func TestARepositoryForFluxIsAppliedAsItIs(t *testing.T) {
	host := chartHost(t)
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Path = "clusters/staging" })
	if _, err := b.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "web"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.secret("web", "charts", host.secret)
	files := fleet(host.url)
	b.applied(b.push(files))
	b.ready("flux-system", "infra")
	b.ready("flux-system", "apps")
	app := b.ready("web", "web-release")
	if app.Status.AppliedRevision != "1.0.0" {
		t.Errorf("revision %s, want the chart's version", app.Status.AppliedRevision)
	}
	if from := app.Annotations[v1alpha1.AnnotationTranslatedFrom]; !strings.HasPrefix(from, "HelmRelease web/web of helm.toolkit.fluxcd.io/v2") {
		t.Errorf("it is said to be from %q", from)
	}
	if origin := app.Annotations[v1alpha1.AnnotationOrigin]; !strings.Contains(origin, "apps/base/release.yaml") {
		t.Errorf("origin %s", origin)
	}
	cm, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil || cm.Data["colour"] != "red" || cm.Data["chart"] != "1.0.0" || cm.Data["patched"] != "yes" {
		t.Errorf("the chart's ConfigMap: %v %v", cm.Data, err)
	}

	// What Git drops goes, down to the chart's objects.
	delete(files, "clusters/staging/apps.yaml")
	w, err := b.kube.CoreV1().ConfigMaps("shop").Watch(t.Context(), metav1.ListOptions{FieldSelector: "metadata.name=web", ResourceVersion: cm.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	b.applied(b.push(files))
	for timeout := time.After(20 * time.Second); ; {
		select {
		case e := <-w.ResultChan():
			if e.Type == watch.Deleted {
				return
			}
		case <-timeout:
			t.Fatal("the chart's ConfigMap is still there after 20 s")
		}
	}
}

// appsOfApps is a repository as Argo CD's users lay theirs out: a chart whose templates are Applications, and the folders that they name.
func appsOfApps(url string) map[string]string {
	files := shop("web:1")
	delete(files, "deploy/namespace.yaml")
	files["apps/Chart.yaml"] = "apiVersion: v1\nname: applications\nversion: 0.1.0\n"
	files["apps/values.yaml"] = "spec:\n  destination: {server: https://kubernetes.default.svc}\n  source: {repoURL: '" + url + "', targetRevision: HEAD}\n"
	for name, path := range map[string]string{"web": "deploy", "own": "own"} {
		files["apps/templates/"+name+".yaml"] = "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata:\n  name: " + name + "\n  namespace: argocd\n  finalizers: [resources-finalizer.argocd.argoproj.io]\n" +
			"spec:\n  project: default\n  destination: {namespace: shop, server: '{{ .Values.spec.destination.server }}'}\n" +
			"  source: {path: " + path + ", repoURL: '{{ .Values.spec.source.repoURL }}', targetRevision: '{{ .Values.spec.source.targetRevision }}'}\n" +
			"  syncPolicy: {automated: {prune: true, selfHeal: true}, syncOptions: [CreateNamespace=true]}\n"
	}
	// One of the two brings the namespace that both ask for.
	files["own/namespace.yaml"] = strings.Replace(namespace, "name: shop", "name: shop\n  labels: {team: shop}", 1)
	files["own/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own}\n"
	return files
}

func TestARepositoryForArgoCDIsAppliedAsItIs(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Path = "apps" })
	files := appsOfApps(b.git.Repo())
	b.applied(b.push(files))
	b.ready("gitopsd-system", "own")
	b.find("web", "the Deployment is applied", func(a *v1alpha1.Application) bool { return a.Status.Sync == "Synced" })
	b.deployment()
	ns, err := b.kube.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
	if err != nil || ns.Labels["team"] != "shop" {
		t.Errorf("the namespace has not got the labels that Git gives it: %v %v", ns.Labels, err)
	}
	// A push goes down all the way: the branch is the repository's default one.
	files["deploy/web.yaml"] = web("web:2")
	b.push(files)
	b.find("web", "the new image is there", func(*v1alpha1.Application) bool {
		return b.deployment().Spec.Template.Spec.Containers[0].Image == "web:2"
	})
	// Neither the parent nor the child that came second wants the namespace back or away.
	b.applied(b.push(files))
	b.ready("gitopsd-system", "own")
}

func TestAnApplicationSetFollowsTheFoldersOfItsRepository(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Path = "sets" })
	files := map[string]string{"sets/apps.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: apps, namespace: argocd}\nspec:\n  goTemplate: true\n  generators:\n" +
		"  - git: {repoURL: '" + b.git.Repo() + "', revision: HEAD, directories: [{path: apps/*}]}\n  template:\n    metadata: {name: '{{ .path.basename }}'}\n    spec:\n" +
		"      source: {repoURL: '" + b.git.Repo() + "', targetRevision: HEAD, path: '{{ .path.path }}'}\n      destination: {namespace: default, server: https://kubernetes.default.svc}\n" +
		"      syncPolicy: {automated: {prune: true}, syncOptions: [CreateNamespace=true]}\n"}
	app := func(name string) {
		files["apps/"+name+"/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
	}
	app("a")
	app("b")
	b.applied(b.push(files))
	b.ready("gitopsd-system", "a")
	b.ready("gitopsd-system", "b")
	// A folder that comes is an Application more, and one that goes takes its Application along, with what that brought.
	app("c")
	delete(files, "apps/a/cm.yaml")
	b.applied(b.push(files))
	b.ready("gitopsd-system", "c")
	b.gone("a")
	_, err := b.kube.CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{})
	b.absent(err, "what the Application of a folder that went had brought")
}

func TestAnApplicationSetThatMatchesNothingAnyMorePrunesOnlyWhenThatIsAllowed(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Path = "sets" })
	files := map[string]string{
		"apps/a/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n",
		"apps/b/cm.yaml": "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\n",
	}
	set := func(name, pattern, annotations string) {
		files["sets/"+name+".yaml"] = "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: " + name + ", annotations: {" + annotations + "}}\nspec:\n  generators:\n" +
			"  - git: {repoURL: '" + b.git.Repo() + "', directories: [{path: '" + pattern + "'}]}\n  template:\n    metadata: {name: '" + name + "-{{path.basename}}'}\n    spec:\n" +
			"      source: {repoURL: '" + b.git.Repo() + "', path: '{{path}}'}\n      destination: {namespace: default}\n      syncPolicy: {syncOptions: [CreateNamespace=true]}\n"
	}
	set("one", "apps/a", "")
	set("two", "apps/b", "")
	b.applied(b.push(files))
	b.ready("gitopsd-system", "one-a")
	b.ready("gitopsd-system", "two-b")

	// A typo in one of two sets: the other still makes something.
	set("one", "app/*", "")
	commit := b.push(files)
	app := b.refused(commit)
	if c := meta.FindStatusCondition(app.Status.Conditions, v1alpha1.ConditionReady); !strings.Contains(c.Message, "sets/one.yaml:1: ApplicationSet one makes no Applications any more") || !strings.Contains(c.Message, "gitopsd.io/allow-empty") {
		t.Errorf("message %s", c.Message)
	}
	b.ready("gitopsd-system", "one-a")

	// The same is refused after a restart, from what the cluster knows.
	b.halt()
	b.run()
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`)
	b.until("it looked again", func(a *v1alpha1.Application) bool { return a.Status.HandledRequest == "1" && a.Status.Sync == "Failed" })
	b.ready("gitopsd-system", "one-a")

	// Git may say that it is meant. A set that goes itself takes its Applications along without a word; they have no use for what made them.
	set("one", "app/*", "gitopsd.io/allow-empty: 'true'")
	delete(files, "sets/two.yaml")
	b.applied(b.push(files))
	b.gone("one-a")
	b.gone("two-b")
	_, err := b.kube.CoreV1().ConfigMaps("default").Get(t.Context(), "a", metav1.GetOptions{})
	b.absent(err, "what an Application of the empty set had brought")
}

func TestAnApplicationSetThatPreservesResourcesPrunesUntilItsApplicationsAreDeleted(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Source.Path = "sets" })
	files := map[string]string{"sets/apps.yaml": "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: apps}\nspec:\n  syncPolicy: {preserveResourcesOnDeletion: true}\n  generators: [{list: {elements: [{name: a}]}}]\n" +
		"  template:\n    metadata: {name: '{{name}}'}\n    spec:\n      source: {repoURL: '" + b.git.Repo() + "', path: 'apps/{{name}}'}\n      destination: {namespace: default}\n      syncPolicy: {automated: {prune: true}, syncOptions: [CreateNamespace=true]}\n"}
	for _, name := range []string{"stays", "goes"} {
		files["apps/a/"+name+".yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " + name + "}\n"
	}
	b.applied(b.push(files))
	b.ready("gitopsd-system", "a")
	delete(files, "apps/a/goes.yaml")
	commit := b.push(files)
	b.find("a", "what Git dropped is pruned", func(a *v1alpha1.Application) bool {
		return a.Status.AppliedRevision == commit && a.Status.Sync == "Synced"
	})
	_, err := b.kube.CoreV1().ConfigMaps("default").Get(t.Context(), "goes", metav1.GetOptions{})
	b.absent(err, "what Git dropped")
	delete(files, "sets/apps.yaml")
	files["sets/other.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: other}\n"
	b.applied(b.push(files))
	b.gone("a")
	if _, err := b.kube.CoreV1().ConfigMaps("default").Get(t.Context(), "stays", metav1.GetOptions{}); err != nil {
		t.Errorf("what the deleted Application had brought: %v", err)
	}
}

func TestWhereTheirOwnDefinitionsAreInTheClusterTheirObjectsStayAsTheyAre(t *testing.T) {
	b := start(t, nil)
	files := map[string]string{
		"deploy/crd.yaml": "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: helmreleases.helm.toolkit.fluxcd.io}\n" +
			"spec:\n  group: helm.toolkit.fluxcd.io\n  scope: Namespaced\n  names: {kind: HelmRelease, plural: helmreleases}\n" +
			"  versions: [{name: v2, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]\n",
		"deploy/release.yaml": "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: gitopsd-system}\nspec: {chart: {spec: {chart: web}}}\n",
	}
	app := b.applied(b.push(files))
	for _, r := range app.Status.Inventory {
		if r.Kind == "HelmRelease" {
			return
		}
	}
	t.Errorf("the HelmRelease is not in the inventory: %v", app.Status.Inventory)
}

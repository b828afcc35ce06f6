package gitops_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

func TestAPushIsAppliedAndDroppedFilesArePruned(t *testing.T) {
	b := start(t, nil)
	first := b.push(shop("web:1"))
	app := b.applied(first)
	if n := len(app.Status.Inventory); n != 3 {
		t.Errorf("%d objects in the inventory, want 3: %v", n, app.Status.Inventory)
	}
	if got := b.deployment().Spec.Template.Spec.Containers[0].Image; got != "web:1" {
		t.Errorf("image %s", got)
	}
	b.eventually("Applied", "3 created")

	files := shop("web:2")
	delete(files, "deploy/service.yaml")
	second := b.push(files)
	app = b.applied(second)
	h := app.Status.History[0]
	if h.Updated != 1 || h.Pruned != 1 || h.Unchanged != 1 || h.Trigger != "webhook" {
		t.Errorf("history %+v, want 1 updated, 1 pruned, 1 unchanged by webhook", h)
	}
	_, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	b.absent(err, "the Service that Git dropped")
}

func TestABadCommitIsRefusedWithFileAndLineAndNothingOfItIsApplied(t *testing.T) {
	b := start(t, nil)
	good := b.push(shop("web:1"))
	b.applied(good)
	version := b.deployment().ResourceVersion
	for name, c := range map[string]struct {
		file, content string
		want          []string
	}{
		"unparsable":             {"deploy/web.yaml", "apiVersion: v1\nkind: [\n", []string{"deploy/web.yaml:2:"}},
		"unknown kind":           {"deploy/x.yaml", "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: x}\n", []string{"deploy/x.yaml:2: Widget x: kind: ", "Widget"}},
		"Flux's kind":            {"deploy/x.yaml", "apiVersion: source.toolkit.fluxcd.io/v1\nkind: Bucket\nmetadata: {name: x}\n", []string{"deploy/x.yaml:2: Bucket x: kind: ", "gitopsd has nothing like Bucket", "spec.source.omit"}},
		"Flux's field":           {"deploy/x.yaml", "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: x}\nspec:\n  sourceRef: {kind: GitRepository, name: flux-system}\n  kubeConfig: {}\n", []string{"deploy/x.yaml:6: Kustomization x: spec.kubeConfig: ", "its own cluster only"}},
		"unknown version":        {"deploy/x.yaml", "apiVersion: apps/v1beta1\nkind: Deployment\nmetadata: {name: x}\n", []string{"deploy/x.yaml:1: Deployment x: apiVersion: ", "use apps/v1"}},
		"unknown field":          {"deploy/web.yaml", strings.Replace(web("web:2"), "replicas:", "replica:", 1), []string{"deploy/web.yaml:7: Deployment shop/web: spec.replica: ", "did you mean replicas?"}},
		"deep unknown field":     {"deploy/web.yaml", strings.Replace(web("web:2"), "image:", "imagee:", 1), []string{"deploy/web.yaml:14: Deployment shop/web: spec.template.spec.containers[name=\"web\"].imagee: ", "did you mean image?"}},
		"wrong type":             {"deploy/web.yaml", strings.Replace(web("web:2"), "replicas: 0", "replicas: three", 1), []string{"deploy/web.yaml:7: Deployment shop/web: spec.replicas: must be a", `number, got "three"`}},
		"missing required field": {"deploy/web.yaml", strings.Replace(web("web:2"), "  selector: {matchLabels: {app: web}}\n", "", 1), []string{"deploy/web.yaml:", "spec.selector"}},
		"immutable field":        {"deploy/web.yaml", strings.ReplaceAll(web("web:2"), "{app: web}", "{app: other}"), []string{"deploy/web.yaml:8: Deployment shop/web: spec.selector", "immutable"}},
		"duplicate object":       {"deploy/z.yaml", service, []string{"deploy/z.yaml:1: Service shop/web is already defined at deploy/service.yaml:1"}},
		"missing namespace":      {"deploy/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n  namespace: nowhere\n", []string{"deploy/x.yaml:5: ConfigMap nowhere/x: metadata.namespace: ", `namespace "nowhere" does not exist`}},
		"kustomize":              {"deploy/kustomization.yaml", "resources: [nothing.yaml]\n", []string{"deploy/kustomization.yaml:1: nothing.yaml is not in the commit"}},
	} {
		t.Run(name, func(t *testing.T) {
			files := shop("web:2")
			files["deploy/service.yaml"] = strings.Replace(service, "port: 80,", "port: 81,", 1) // a good change next to the bad one
			if name == "duplicate object" {
				files["deploy/service.yaml"] = service
			}
			files[c.file] = c.content
			bad := b.push(files)
			app := b.refused(bad)
			message := ""
			for _, cond := range app.Status.Conditions {
				if cond.Type == v1alpha1.ConditionReady {
					message = cond.Message
				}
			}
			for _, want := range c.want {
				if !strings.Contains(message, want) {
					t.Errorf("the message lacks %q:\n%s", want, message)
				}
			}
			if app.Status.AppliedRevision != good {
				t.Errorf("applied revision %s, want still %s", app.Status.AppliedRevision, good)
			}
			if v := b.deployment().ResourceVersion; v != version {
				t.Errorf("the Deployment was written: version %s, was %s", v, version)
			}
			svc, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
			if err != nil || svc.Spec.Ports[0].Port != 80 {
				t.Errorf("the good half of the commit was applied: %v %v", svc.Spec.Ports, err)
			}
		})
	}
	fixed := b.push(shop("web:3"))
	b.applied(fixed)
}

func TestDriftIsSetBackAndToldWithWhoDidIt(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	app := b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if got := *b.deployment().Spec.Replicas; got != 0 {
		t.Errorf("replicas %d after the revert", got)
	}
	d := app.Status.Reverted[0]
	if d.Field != "spec.replicas" || d.Want != "0" || d.Live != "5" || d.User != "alice" || d.Manager != "kubectl-edit" || d.File != "deploy/web.yaml" || d.Line != 7 || d.Time == nil {
		t.Errorf("reverted %+v", d)
	}
	b.eventually("Reverted", "spec.replicas: is 5, Git says 0, changed by alice with kubectl-edit (deploy/web.yaml:7)")
	if h := app.Status.History[0]; h.Trigger != "drift" || h.Updated != 1 {
		t.Errorf("history %+v", h)
	}
}

func TestDriftIsReportedAndLeftWhenAskedTo(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Drift = v1alpha1.DriftReport })
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.editAs("alice", `{"spec":{"replicas":5,"template":{"spec":{"containers":[{"name":"web","image":"evil:1"}]}}}}`)
	app := b.until("two fields have drifted", func(a *v1alpha1.Application) bool { return len(a.Status.Drift) == 2 })
	if app.Status.Sync != "OutOfSync" {
		t.Errorf("sync %s", app.Status.Sync)
	}
	var fields []string
	for _, d := range app.Status.Drift {
		fields = append(fields, d.Field+" "+d.Want+" "+d.Live+" "+d.User)
	}
	want := `spec.replicas 0 5 alice,spec.template.spec.containers[name="web"].image "web:1" "evil:1" alice`
	if got := strings.Join(fields, ","); got != want {
		t.Errorf("drift\n%s, want\n%s", got, want)
	}
	if got := *b.deployment().Spec.Replicas; got != 5 {
		t.Errorf("replicas %d, want 5 left alone", got)
	}
	b.editAs("alice", `{"spec":{"replicas":0,"template":{"spec":{"containers":[{"name":"web","image":"web:1"}]}}}}`)
	b.applied(commit)
}

func TestADeletedObjectComesBack(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	if err := b.as("alice").CoreV1().Services("shop").Delete(t.Context(), "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the Service is back", func(a *v1alpha1.Application) bool {
		return len(a.Status.Reverted) > 0 && a.Status.Reverted[0].Kind == "Service" && a.Status.Sync == "Synced"
	})
	b.eventually("Reverted", "Service shop/web: is not in the cluster, deleted by alice (deploy/service.yaml:1)")
	if _, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

func TestARenamedServiceKeepsItsNodePortAndClusterIP(t *testing.T) {
	b := start(t, nil)
	const spec = "kind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {type: NodePort, clusterIP: 10.43.0.77, ports: [{port: 80, nodePort: 30077}]}\n"
	files := shop("web:1")
	files["deploy/service.yaml"] = "apiVersion: v1\n" + fmt.Sprintf(spec, "old")
	b.applied(b.push(files))
	files["deploy/service.yaml"] = "apiVersion: v1\n" + strings.Replace(fmt.Sprintf(spec, "new"), "port: 80,", "port: 0,", 1)
	b.refused(b.push(files)) // the rest of the Service is judged while the old one still has its numbers
	if _, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "old", metav1.GetOptions{}); err != nil {
		t.Errorf("after a refused commit: %v", err)
	}
	files["deploy/service.yaml"] = "apiVersion: v1\n" + fmt.Sprintf(spec, "new")
	b.applied(b.push(files))
	svc, err := b.kube.CoreV1().Services("shop").Get(t.Context(), "new", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if svc.Spec.ClusterIP != "10.43.0.77" || svc.Spec.Ports[0].NodePort != 30077 {
		t.Errorf("cluster IP %s, node port %d", svc.Spec.ClusterIP, svc.Spec.Ports[0].NodePort)
	}
	_, err = b.kube.CoreV1().Services("shop").Get(t.Context(), "old", metav1.GetOptions{})
	b.absent(err, "the Service under its old name")
}

func TestANodePortOfAServiceThatStaysIsRefused(t *testing.T) {
	b := start(t, nil)
	const spec = "---\napiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: shop}\nspec: {type: NodePort, ports: [{port: 80, nodePort: 30077}]}\n"
	files := shop("web:1")
	files["deploy/service.yaml"] = fmt.Sprintf(spec, "old")
	b.applied(b.push(files))
	files["deploy/service.yaml"] += fmt.Sprintf(spec, "new")
	b.refused(b.push(files))
}

func TestWhatGitDidNotCreateIsNeverDeleted(t *testing.T) {
	b := start(t, nil)
	for _, name := range []string{"shop", "mine"} {
		if _, err := b.kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mine := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "adopted", Namespace: "shop"}, Data: map[string]string{"by": "hand"}}
	if _, err := b.kube.CoreV1().ConfigMaps("shop").Create(t.Context(), mine, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	mine.Name, mine.Namespace = "stranger", "temporary"

	files := shop("web:1")
	files["deploy/cm.yaml"] = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: adopted, namespace: shop}\ndata: {from: git}\n"
	files["deploy/ns.yaml"] = "apiVersion: v1\nkind: Namespace\nmetadata: {name: temporary}\n"
	b.applied(b.push(files))
	if _, err := b.kube.CoreV1().ConfigMaps("temporary").Create(t.Context(), mine, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	app := b.applied(b.push(map[string]string{"deploy/service.yaml": service}))
	for _, get := range []func() error{
		func() error {
			_, err := b.kube.CoreV1().Namespaces().Get(t.Context(), "shop", metav1.GetOptions{})
			return err
		},
		func() error {
			_, err := b.kube.CoreV1().ConfigMaps("shop").Get(t.Context(), "adopted", metav1.GetOptions{})
			return err
		},
		func() error {
			_, err := b.kube.CoreV1().ConfigMaps("temporary").Get(t.Context(), "stranger", metav1.GetOptions{})
			return err
		},
	} {
		if err := get(); err != nil {
			t.Error(err)
		}
	}
	if n := len(app.Status.Inventory); n != 1 {
		t.Errorf("inventory %v, want the Service only", app.Status.Inventory)
	}
	b.eventually("Released", "ConfigMap shop/adopted")
	b.eventually("NotPruned", "Namespace temporary stays in the cluster: it holds ConfigMap stranger")
}

func TestDeletingAnApplicationDeletesWhatItCreated(t *testing.T) {
	b := start(t, nil)
	b.applied(b.push(shop("web:1")))
	if err := b.apps.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.vanishes()
	_, err := b.kube.AppsV1().Deployments("shop").Get(t.Context(), "web", metav1.GetOptions{})
	b.absent(err, "the Deployment of the deleted Application")
}

func TestDeletingAnApplicationThatDoesNotPruneLeavesItsObjects(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Prune = ptr.To(false) })
	b.applied(b.push(shop("web:1")))
	if err := b.apps.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.vanishes()
	b.deployment()
}

// editAs changes the Deployment the way kubectl edit does, as a user with a certificate.
func (b *bench) editAs(user, patch string) {
	b.t.Helper()
	kube := b.as(user)
	if _, err := kube.AppsV1().Deployments("shop").Patch(b.t.Context(), "web", types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		b.t.Fatal(err)
	}
}

// A status that lists hundreds of objects is not written for each of them that becomes healthy.
func TestManyObjectsThatBecomeHealthyAreFewNotes(t *testing.T) {
	const objects = 200
	files := map[string]string{"deploy/namespace.yaml": namespace}
	for i := range objects {
		files[fmt.Sprintf("deploy/%d.yaml", i)] = strings.ReplaceAll(web("web:1"), "name: web", fmt.Sprint("name: web-", i))
	}
	b := start(t, nil)
	app := b.applied(b.push(files))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	w, err := b.apps.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=shop", ResourceVersion: app.ResourceVersion})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	begun := time.Now()
	var patching errgroup.Group
	patching.Go(func() error {
		for i := range objects {
			patch := []byte(`{"status":{"observedGeneration":1}}`)
			if _, err := b.kube.AppsV1().Deployments("shop").Patch(ctx, fmt.Sprint("web-", i), types.MergePatchType, patch, metav1.PatchOptions{}, "status"); err != nil {
				return err
			}
		}
		return nil
	})
	notes, healthy := 0, false
	for e := range w.ResultChan() {
		notes++
		if a, ok := e.Object.(*v1alpha1.Application); ok && a.Status.Health == "Healthy" {
			healthy = true
			break
		}
	}
	if err := patching.Wait(); err != nil || !healthy {
		t.Fatalf("healthy: %t, %v", healthy, err)
	}
	if most := int(time.Since(begun)/(100*time.Millisecond)) + 5; notes > most {
		t.Errorf("%d notes of %d objects, want at most %d", notes, objects, most)
	}
}

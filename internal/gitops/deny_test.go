package gitops_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/kubernetes"
	typedappsv1 "k8s.io/client-go/kubernetes/typed/apps/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	kubectl "k8s.io/kubectl/pkg/cmd"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/gitops"
)

func deny(a *v1alpha1.Application) { a.Spec.Drift = v1alpha1.DriftDeny }

const crd = `apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: rings.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: rings, singular: ring, kind: Ring}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {status: {}, scale: {specReplicasPath: .spec.size, statusReplicasPath: .status.size}}
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer}, colour: {type: string}, note: {type: string}}}
          status: {type: object, properties: {size: {type: integer}}}
`

const ring = `apiVersion: example.com/v1
kind: Ring
metadata: {name: one, namespace: shop}
spec:
  size: 3
  colour: gold
`

// kubectlAs runs kubectl in this process as a user over TLS, and returns what it says when it fails.
func (b *bench) kubectlAs(user *rest.Config, args ...string) (string, error) {
	b.t.Helper()
	b.t.Setenv("TMPDIR", b.t.TempDir()) // where kubectl edit leaves what was refused
	file := filepath.Join(b.t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: user.Host, CertificateAuthorityData: user.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": {ClientCertificateData: user.CertData, ClientKeyData: user.KeyData}},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
	if err != nil {
		b.t.Fatal(err)
	}
	var out, errOut bytes.Buffer
	var failure error
	cmdutil.BehaviorOnFatal(func(text string, _ int) {
		failure = errors.New(text)
		panic(failure) // kubectl expects that this does not return
	})
	defer cmdutil.DefaultBehaviorOnFatal()
	cmd := kubectl.NewKubectlCommand(kubectl.KubectlOptions{
		ConfigFlags: genericclioptions.NewConfigFlags(true), IOStreams: genericiooptions.IOStreams{In: strings.NewReader(""), Out: &out, ErrOut: &errOut},
		Arguments: append([]string{"kubectl"}, args...),
	})
	cmd.SetArgs(append([]string{"--kubeconfig", file}, args...))
	func() {
		defer func() {
			if p := recover(); p != nil && p != any(failure) {
				panic(p)
			}
		}()
		if err := cmd.ExecuteContext(b.t.Context()); err != nil {
			failure = err
		}
	}()
	if failure != nil {
		return "", errors.New(failure.Error() + errOut.String())
	}
	return out.String(), nil
}

// refusedWith fails the test unless the error is a refusal that says all of it.
func refusedWith(t *testing.T, what string, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s went through", what)
		return
	}
	for _, s := range append(says, "forbidden") {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: the refusal does not say %q:\n%s", what, s, err)
		}
	}
}

func TestWhatGitSaysCannotBeChangedPastGit(t *testing.T) {
	b := start(t, deny)
	commit := b.push(withRing(shop("web:1")))
	b.applied(commit)
	alice := b.cluster.User(t, "alice", "system:masters")
	repo := b.git.Repo()

	_, err := b.kubectlAs(alice, "scale", "deployment/web", "-n", "shop", "--replicas=5")
	refusedWith(t, "kubectl scale", err, "Deployment shop/web", "spec.replicas is 0, not 5", "deploy/web.yaml:7 of "+repo, "gitopsd-system/shop")
	_, err = b.kubectlAs(alice, "patch", "deployment/web", "-n", "shop", "-p", `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil:1"}]}}}}`)
	refusedWith(t, "kubectl patch", err, `spec.template.spec.containers[name="web"].image is "web:1", not "evil:1"`, "deploy/web.yaml:14")
	_, err = b.kubectlAs(alice, "delete", "deployment/web", "-n", "shop")
	refusedWith(t, "kubectl delete", err, "Deployment shop/web comes from Git", "remove it at deploy/web.yaml:1")
	_, err = b.kubectlAs(alice, "label", "deployment/web", "-n", "shop", "gitopsd.io/application-")
	refusedWith(t, "taking the mark off", err, "metadata.labels[gitopsd.io/application]", "not absent")
	_, err = b.kubectlAs(alice, "delete", "namespace", "shop")
	refusedWith(t, "deleting the namespace", err, "Namespace shop")
	_, err = b.kubectlAs(alice, "delete", "crd", "rings.example.com")
	refusedWith(t, "deleting a definition", err, "CustomResourceDefinition rings.example.com comes from Git")
	_, err = b.kubectlAs(alice, "patch", "crd/rings.example.com", "--type=merge", "-p", `{"spec":{"names":{"singular":"rung"}}}`)
	refusedWith(t, "changing a definition", err, `spec.names.singular is "ring", not "rung"`)
	_, err = b.kubectlAs(alice, "delete", "service", "--all", "-n", "shop")
	refusedWith(t, "deleting all", err, "Service shop/web")
	_, err = b.kubectlAs(alice, "patch", "ring/one", "-n", "shop", "--type=merge", "-p", `{"spec":{"colour":"tin"}}`)
	refusedWith(t, "patching a custom resource", err, `spec.colour is "gold", not "tin"`, "deploy/ring.yaml:6")
	_, err = b.kubectlAs(alice, "scale", "ring/one", "-n", "shop", "--replicas=5")
	refusedWith(t, "scaling a custom resource", err, "spec.size is 3, not 5", "deploy/ring.yaml:5")

	t.Setenv("KUBE_EDITOR", "sed -i s/web:1/evil:1/")
	_, err = b.kubectlAs(alice, "edit", "deployment/web", "-n", "shop")
	refusedWith(t, "kubectl edit", err, `not "evil:1"`)

	// The name of the field manager is anybody's to give, and so is that of the user to an administrator.
	manifest := filepath.Join(t.TempDir(), "m.yaml")
	if err := os.WriteFile(manifest, []byte(strings.Replace(web("web:1"), "replicas: 0", "replicas: 4", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, manager := range []string{"other", v1alpha1.FieldManager} {
		_, err = b.kubectlAs(alice, "apply", "--server-side", "--force-conflicts", "--field-manager", manager, "-f", manifest)
		refusedWith(t, "apply as "+manager, err, "spec.replicas is 0, not 4")
	}
	_, err = b.kubectlAs(alice, "--as=system:gitopsd", "--as-group=system:masters", "scale", "deployment/web", "-n", "shop", "--replicas=5")
	refusedWith(t, "as gitopsd's own user", err, "spec.replicas is 0, not 5")
	d := b.deployment()
	d.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	_, err = b.as("alice").AppsV1().Deployments("shop").Update(t.Context(), d, metav1.UpdateOptions{})
	refusedWith(t, "throwing away the owners", err, "somebody else's to set")
	// A size is refused to whoever asks, gitopsd's own autoscaler among them.
	_, err = b.kube.AppsV1().Deployments("shop").UpdateScale(t.Context(), "web", &autoscalingv1.Scale{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}, Spec: autoscalingv1.ScaleSpec{Replicas: 7},
	}, metav1.UpdateOptions{})
	refusedWith(t, "an autoscaler", err, "spec.replicas is 0, not 7")

	// What Git does not set is free, and so is status.
	for _, args := range [][]string{
		{"label", "deployment/web", "-n", "shop", "team=blue"}, {"annotate", "deployment/web", "-n", "shop", "note=x"},
		{"patch", "deployment/web", "-n", "shop", "-p", `{"spec":{"paused":true}}`},
		{"patch", "ring/one", "-n", "shop", "--type=merge", "-p", `{"spec":{"note":"x"}}`},
		{"patch", "ring/one", "-n", "shop", "--subresource=status", "--type=merge", "-p", `{"status":{"size":3}}`},
	} {
		if _, err := b.kubectlAs(alice, args...); err != nil {
			t.Errorf("%v was refused: %v", args, err)
		}
	}
	// Git is not: the next commit changes and prunes.
	files := shop("web:2")
	delete(files, "deploy/service.yaml")
	b.applied(b.push(files))
	if image := b.deployment().Spec.Template.Spec.Containers[0].Image; image != "web:2" {
		t.Errorf("the image is %s after the push, want web:2", image)
	}
	_, err = b.kube.CoreV1().Services("shop").Get(t.Context(), "web", metav1.GetOptions{})
	b.absent(err, "the pruned Service")
}

func withRing(files map[string]string) map[string]string {
	files["deploy/crd.yaml"], files["deploy/ring.yaml"] = crd, ring
	return files
}

func TestAnApplicationThatDeniesDriftSetsBackWhatDriftedBeforeItDid(t *testing.T) {
	b := start(t, nil)
	commit := b.push(shop("web:1"))
	b.applied(commit)
	b.halt() // while nobody watches, and nobody denies
	alice := b.as("alice")
	if _, err := alice.AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":6}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.apps.Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"drift":"deny"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.run()
	b.until("the drift is set back", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 && a.Status.Sync == "Synced" })
	if n := *b.deployment().Spec.Replicas; n != 0 {
		t.Errorf("replicas are %d, want Git's 0", n)
	}
	_, err := alice.AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":6}}`), metav1.PatchOptions{})
	refusedWith(t, "the same change now", err, "spec.replicas is 0, not 6")
}

func TestASuspendedApplicationDeniesNothingAndOneThatIsDeletedGoes(t *testing.T) {
	b := start(t, deny)
	b.applied(b.push(shop("web:1")))
	alice := b.as("alice").AppsV1().Deployments("shop")
	if _, err := b.apps.Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"suspend":true}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.eventuallyAllowed("a change while suspended", func() error {
		_, err := alice.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{})
		return err
	})
	if _, err := b.apps.Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	b.until("the change is set back", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 && a.Status.Sync == "Synced" })
	if err := b.apps.Delete(t.Context(), "shop", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.vanishes()
	_, err := alice.Get(t.Context(), "web", metav1.GetOptions{})
	b.absent(err, "the Deployment of the deleted Application")
}

// eventuallyAllowed repeats a write while it is refused: the API server decides by its cache, which is a moment behind.
func (b *bench) eventuallyAllowed(what string, write func() error) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 10*time.Second)
	defer cancel()
	for {
		err := write()
		if err == nil {
			return
		}
		if !apierrors.IsForbidden(err) || ctx.Err() != nil {
			b.t.Fatalf("%s: %v", what, err)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

func TestAnOverrideIsForThoseWhoMayAndEndsWithItsAnnotation(t *testing.T) {
	b := start(t, deny)
	b.applied(b.push(shop("web:1")))
	for _, err := range []error{
		create(b.kube.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "deployer"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"apps"}, Resources: []string{"deployments", "deployments/scale"}, Verbs: []string{"*"}},
		}}, metav1.CreateOptions{})),
		create(b.kube.RbacV1().ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "overrider"}, Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"gitopsd.io"}, Resources: []string{"applications"}, ResourceNames: []string{"shop"}, Verbs: []string{v1alpha1.VerbOverride}},
		}}, metav1.CreateOptions{})),
		create(b.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding("deployer", "bob", "carol"), metav1.CreateOptions{})),
		create(b.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), binding("overrider", "carol"), metav1.CreateOptions{})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	bob, carol := b.deployments("bob"), b.deployments("carol")
	set := []byte(`{"metadata":{"annotations":{"gitopsd.io/override":"incident 7","gitopsd.io/overridden-by":"{\"user\":\"mallory\"}"}}}`)
	scale := []byte(`{"spec":{"replicas":9}}`)
	patch := func(who typedappsv1.DeploymentInterface, body []byte) error {
		_, err := who.Patch(t.Context(), "web", types.MergePatchType, body, metav1.PatchOptions{})
		return err
	}
	b.eventuallyAllowed("what Git does not set, once the rules are known", func() error { return patch(bob, []byte(`{"metadata":{"labels":{"x":"y"}}}`)) })
	refusedWith(t, "an override by one who may not", patch(bob, set), "takes the verb override on applications.gitopsd.io \"shop\"")
	b.eventuallyAllowed("an override by one who may", func() error { return patch(carol, set) })
	refusedWith(t, "a change under an override by one who may not", patch(bob, scale), "spec.replicas is 0, not 9", "incident 7")
	if err := patch(carol, scale); err != nil {
		t.Fatalf("a change under an override by one who may: %v", err)
	}
	refusedWith(t, "ending an override by one who may not", patch(bob, []byte(`{"metadata":{"annotations":{"gitopsd.io/override":null}}}`)), "takes the verb override")

	app := b.until("the drift is reported with its override", func(a *v1alpha1.Application) bool {
		return len(a.Status.Drift) == 1 && a.Status.Drift[0].Override != nil
	})
	d := app.Status.Drift[0]
	if d.Field != "spec.replicas" || d.Override.Reason != "incident 7" || d.Override.User != "carol" || d.Override.Time == nil || d.User != "carol" {
		t.Errorf("the drift is %+v with override %+v, want spec.replicas by carol for incident 7", d, d.Override)
	}
	b.eventually("Overridden", "overridden by carol: incident 7")
	// Another commit leaves it alone, also one that changes the object.
	next := b.push(shop("web:2"))
	b.until("the next commit is applied", func(a *v1alpha1.Application) bool { return a.Status.AppliedRevision == next })
	live := b.deployment()
	if *live.Spec.Replicas != 9 || live.Spec.Template.Spec.Containers[0].Image != "web:1" {
		t.Errorf("under the override the object has %d replicas of %s, want 9 of web:1", *live.Spec.Replicas, live.Spec.Template.Spec.Containers[0].Image)
	}
	if err := patch(carol, []byte(`{"metadata":{"annotations":{"gitopsd.io/override":null}}}`)); err != nil {
		t.Fatalf("ending the override: %v", err)
	}
	b.applied(next)
	live = b.deployment()
	if *live.Spec.Replicas != 0 || live.Spec.Template.Spec.Containers[0].Image != "web:2" {
		t.Errorf("after the override the object has %d replicas of %s, want Git's 0 of web:2", *live.Spec.Replicas, live.Spec.Template.Spec.Containers[0].Image)
	}
	if note, ok := live.Annotations[v1alpha1.AnnotationOverriddenBy]; ok {
		t.Errorf("the note of who overrode is still there: %s", note)
	}
	b.eventually("OverrideEnded", "Deployment shop/web")
}

func TestAnApplicationAppliedAsAnAccountIsNotDeniedItsOwnWrites(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { deny(a); a.Spec.ServiceAccountName = "deployer" })
	if _, err := b.kube.RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "deployer"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "gitopsd-system", Name: "deployer"}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.applied(b.push(shop("web:1")))
	b.applied(b.push(shop("web:2")))
	// The same account from outside is refused.
	config := rest.CopyConfig(b.cluster.User(t, "alice", "system:masters"))
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:gitopsd-system:deployer"}
	_, err := mustClient(t, config).AppsV1().Deployments("shop").Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":3}}`), metav1.PatchOptions{FieldManager: v1alpha1.FieldManager})
	refusedWith(t, "the account from outside", err, "spec.replicas is 0, not 3")
}

func create[T any](_ T, err error) error { return err }

func binding(role string, users ...string) *rbacv1.ClusterRoleBinding {
	b := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role},
	}
	for _, u := range users {
		b.Subjects = append(b.Subjects, rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "User", Name: u})
	}
	return b
}

// deployments are those of namespace shop as a user sees them who has no group.
func (b *bench) deployments(user string) typedappsv1.DeploymentInterface {
	b.t.Helper()
	return mustClient(b.t, b.cluster.User(b.t, user)).AppsV1().Deployments("shop")
}

func mustClient(t testing.TB, c *rest.Config) kubernetes.Interface {
	t.Helper()
	k, err := kubernetes.NewForConfig(c)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// A namespace that is one Application's, whose drift is only reported, may hold what another keeps.
func TestANamespaceOfAnotherApplicationCannotBeDeletedUnderWhatIsDenied(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) { a.Spec.Drift = v1alpha1.DriftDeny })
	files := shop("web:1")
	files["spaces/shop.yaml"] = files["deploy/namespace.yaml"]
	delete(files, "deploy/namespace.yaml")
	commit := b.repo.Push(files)
	spaces := &v1alpha1.Application{
		ObjectMeta: metav1.ObjectMeta{Name: "spaces", Namespace: "gitopsd-system"},
		Spec:       v1alpha1.ApplicationSpec{Source: v1alpha1.Source{RepoURL: b.git.Repo(), Path: "spaces"}, Drift: v1alpha1.DriftReport},
	}
	if err := gitops.EnsureRoot(t.Context(), b.cluster.System, spaces); err != nil {
		t.Fatal(err)
	}
	b.ready("gitopsd-system", "spaces")
	b.edit(`{"metadata":{"annotations":{"gitopsd.io/requested-at":"1"}}}`)
	b.applied(commit)
	err := b.as("alice").CoreV1().Namespaces().Delete(t.Context(), "shop", metav1.DeleteOptions{})
	refusedWith(t, "deleting the namespace", err, "it holds 2 objects from Git", "Application gitopsd-system/shop denies drift")
	// Its own drift is only reported, so everything else about it may change.
	if _, err := b.as("alice").CoreV1().Namespaces().Patch(t.Context(), "shop", types.MergePatchType, []byte(`{"metadata":{"labels":{"team":"shop"}}}`), metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
}

package gitops_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

func TestVariablesOfASecretAreAppliedWhenTheyChangeWithoutACommit(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.Source.Substitute = &v1alpha1.Substitute{From: []v1alpha1.SubstituteFrom{{Kind: "Secret", Name: "vars"}}, Variables: map[string]string{"tag": "v1"}}
	})
	commit := b.push(shop("${registry}/web:${tag}"))
	b.eventually("InvalidSource", "Secret gitopsd-system/vars")
	secrets := b.kube.CoreV1().Secrets("gitopsd-system")
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "vars"}, StringData: map[string]string{"registry": "one.example.com", "tag": "loses"}}
	secret, err := secrets.Create(t.Context(), secret, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	b.tell()
	b.applied(commit)
	if got := b.image(); got != "one.example.com/web:v1" {
		t.Errorf("image %s", got)
	}
	secret.Data["registry"] = []byte("two.example.com")
	if _, err := secrets.Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	b.tell()
	b.until("the new value is applied", func(*v1alpha1.Application) bool { return b.image() == "two.example.com/web:v1" })
}

func TestACommitThatIsNotSignedByTheRightKeyIsNotApplied(t *testing.T) {
	signer := gittest.NewSSHSigner(t, "ed25519")
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.Source.Verify = &v1alpha1.Verify{SecretRef: corev1.LocalObjectReference{Name: "keys"}}
	})
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "keys"}, Data: map[string][]byte{signer.Name: signer.Public}}
	if _, err := b.kube.CoreV1().Secrets("gitopsd-system").Create(t.Context(), secret, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	commit := b.repo.PushSigned(signer, shop("web:1"))
	b.tell()
	app := b.applied(commit)
	told := false
	for _, c := range app.Status.Conditions {
		told = told || c.Type == v1alpha1.ConditionSourceReady && strings.Contains(c.Message, "signed by the ssh key SHA256:")
	}
	if !told {
		t.Errorf("the status does not say who signed: %+v", app.Status.Conditions)
	}
	unsigned := b.push(shop("web:2"))
	b.eventually("SignatureRefused", unsigned)
	if got := b.image(); got != "web:1" {
		t.Errorf("image %s of a commit that nobody signed", got)
	}
	// What was good before is still kept as it is.
	b.editAs("alice", `{"spec":{"replicas":5}}`)
	b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
}

func TestAnOverlayIsAppliedAndDriftNamesThePatch(t *testing.T) {
	b := start(t, func(a *v1alpha1.Application) {
		a.Spec.Source.Path = "prod"
		a.Spec.Source.Kustomize = &v1alpha1.Kustomize{Images: []v1alpha1.KustomizeImage{{Name: "web", NewTag: "9"}}}
	})
	files := shop("web:1")
	files["deploy/kustomization.yaml"] = "resources: [namespace.yaml, web.yaml, service.yaml]\n"
	files["prod/kustomization.yaml"] = "resources: [../deploy]\npatches:\n- path: paused.yaml\n"
	files["prod/paused.yaml"] = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: web\n  namespace: shop\nspec:\n  revisionHistoryLimit: 3\n"
	b.applied(b.push(files))
	if got := b.image(); got != "web:9" {
		t.Errorf("image %s", got)
	}
	b.editAs("alice", `{"spec":{"revisionHistoryLimit":7}}`)
	app := b.until("the drift is reverted", func(a *v1alpha1.Application) bool { return len(a.Status.Reverted) > 0 })
	if d := app.Status.Reverted[0]; d.Field != "spec.revisionHistoryLimit" || d.File != "prod/paused.yaml" || d.Line != 7 {
		t.Errorf("reverted %+v, want the patch's line", d)
	}
	// A commit that changes only the base is seen; one that changes neither is applied without anything being written.
	files["deploy/web.yaml"] = strings.Replace(files["deploy/web.yaml"], "cpu: 1000m", "cpu: 500m", 1)
	b.applied(b.push(files))
	if got := b.deployment().Spec.Template.Spec.Containers[0].Resources.Requests.Cpu().String(); got != "500m" {
		t.Errorf("cpu %s after a change of the base", got)
	}
	before := b.deployment().ResourceVersion
	files["README.md"] = "Nothing of the Application.\n"
	b.applied(b.push(files))
	if got := b.deployment().ResourceVersion; got != before {
		t.Errorf("the Deployment was written at a commit that does not concern it: %s, then %s", before, got)
	}
}

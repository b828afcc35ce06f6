package main

import (
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestSecretsAreReadableWithNothingButTheNewKeyAfterARotation(t *testing.T) {
	dir := t.TempDir()
	file := server.EncryptionFile(filepath.Join(dir, "pki"))
	secrets := func(c *servertest.Cluster) kubernetes.Interface {
		t.Helper()
		k, err := kubernetes.NewForConfig(c.System)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	c, stop := servertest.StartIn(t, dir)
	k := secrets(c)
	if _, err := k.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	want := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "password"}, StringData: map[string]string{"word": "swordfish"}}
	if _, err := k.CoreV1().Secrets("shop").Create(t.Context(), want, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	writeAdmin(t, c)
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := rotate(t.Context(), filepath.Join(dir, "admin.kubeconfig"), file); err != nil || n == 0 {
		t.Fatalf("%d objects written anew: %v", n, err)
	}
	if after, err := os.ReadFile(file); err != nil || string(after) == string(before) {
		t.Fatalf("the keys are the old ones (%v)", err)
	}
	stop()
	// A new process knows only what the file says.
	c, stop = servertest.StartIn(t, dir)
	defer stop()
	got, err := secrets(c).CoreV1().Secrets("shop").Get(t.Context(), "password", metav1.GetOptions{})
	if err != nil || string(got.Data["word"]) != "swordfish" {
		t.Errorf("after the rotation: %v", err)
	}
}

func TestWithoutAControlPlaneNoKeyIsAdded(t *testing.T) {
	dir := deaf(t)
	c, stop := servertest.StartIn(t, t.TempDir())
	file := server.EncryptionFile(filepath.Join(c.Dir, "pki"))
	stop()
	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rotate(t.Context(), filepath.Join(dir, "admin.kubeconfig"), file); err == nil {
		t.Fatal("keys were rotated without a control plane")
	}
	if after, err := os.ReadFile(file); err != nil || string(after) != string(before) {
		t.Errorf("the keys were changed (%v)", err)
	}
}

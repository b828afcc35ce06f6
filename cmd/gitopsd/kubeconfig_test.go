package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/internal/controlplane/serve"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestAKubeconfigGivesItsUserTheRightsOfTheRoleAndNoMore(t *testing.T) {
	c := servertest.Start(t)
	writeAdmin(t, c)
	system, err := kubernetes.NewForConfig(c.System)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"shop", "elsewhere"} {
		if _, err := system.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	as := func(user string, o kubeconfigOptions) kubernetes.Interface {
		t.Helper()
		o.dir, o.ttl = c.Dir, time.Hour
		text, err := o.create(t.Context(), user, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		config, err := clientcmd.RESTConfigFromKubeConfig(text)
		if err != nil {
			t.Fatal(err)
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			t.Fatal(err)
		}
		return client
	}
	list := func(k kubernetes.Interface, namespace string) error {
		_, err := k.CoreV1().Secrets(namespace).List(t.Context(), metav1.ListOptions{})
		return err
	}
	if err := list(as("nobody", kubeconfigOptions{}), "shop"); !apierrors.IsForbidden(err) {
		t.Errorf("without a role: %v, want forbidden", err)
	}
	if err := list(as("hannah", kubeconfigOptions{groups: []string{"system:masters"}}), ""); err != nil {
		t.Errorf("in the group of administrators: %v", err)
	}
	local := as("alice", kubeconfigOptions{role: "cluster-admin", namespace: "shop"})
	// The authorizer hears of the binding by a watch.
	for deadline := time.Now().Add(10 * time.Second); list(local, "shop") != nil; {
		if time.Now().After(deadline) {
			t.Fatalf("with a role in the namespace: %v", list(local, "shop"))
		}
	}
	if err := list(local, "elsewhere"); !apierrors.IsForbidden(err) {
		t.Errorf("in another namespace: %v, want forbidden", err)
	}
	for want, o := range map[string]kubeconfigOptions{
		`there is no ClusterRole "nothing"`: {role: "nothing"},
		`there is no namespace "nowhere"`:   {role: "view", namespace: "nowhere"},
	} {
		o.dir, o.ttl = c.Dir, time.Hour
		if _, err := o.create(t.Context(), "alice", time.Now()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}

// writeAdmin writes the administrator's kubeconfig, as `gitopsd serve` does.
func writeAdmin(t *testing.T, c *servertest.Cluster) {
	t.Helper()
	cert, key, err := c.PKI.Client("gitopsd-admin", "system:masters")
	if err != nil {
		t.Fatal(err)
	}
	text, err := serve.Kubeconfig(c.URL, c.PKI.CAPEM(), "gitopsd", cert, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.Dir, "admin.kubeconfig"), text, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAKubeconfigThatCannotBeMadeSaysWhy(t *testing.T) {
	for name, test := range map[string]struct {
		user string
		o    kubeconfigOptions
		want string
	}{
		"no user":           {"", kubeconfigOptions{ttl: time.Hour}, "USER: must not be empty"},
		"no time":           {"alice", kubeconfigOptions{}, "--ttl: must be more than zero"},
		"namespace alone":   {"alice", kubeconfigOptions{ttl: time.Hour, namespace: "shop"}, "give --role too"},
		"no control plane":  {"alice", kubeconfigOptions{ttl: time.Hour, dir: t.TempDir()}, "start `gitopsd serve` or `gitopsd up` first"},
		"nobody that hears": {"alice", kubeconfigOptions{ttl: time.Hour, role: "view", dir: deaf(t)}, "the control plane does not answer"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := test.o.create(t.Context(), test.user, time.Now()); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
}

// deaf is the data directory of a control plane that does not run.
func deaf(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	text, err := serve.Kubeconfig("https://127.0.0.1:1", nil, "gitopsd", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "admin.kubeconfig"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

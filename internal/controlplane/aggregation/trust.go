package aggregation

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/kubernetes"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// trustKey is the ConfigMap from which API servers in Pods learn whom to believe: clients whose certificates the cluster's authority signed, and
// this API server when it says in headers for whom it asks. Its name and keys are Kubernetes'.
var trustKey = reconcile.Key{Namespace: metav1.NamespaceSystem, Name: "extension-apiserver-authentication"}

// trustData is what the ConfigMap says.
func trustData(clientCA, frontProxyCA []byte) map[string]string {
	list := func(names ...string) string {
		text, err := json.Marshal(names)
		if err != nil {
			panic(err) // strings always encode
		}
		return string(text)
	}
	return map[string]string{
		"client-ca-file":                     string(clientCA),
		"requestheader-client-ca-file":       string(frontProxyCA),
		"requestheader-allowed-names":        list(pki.FrontProxyName),
		"requestheader-username-headers":     list("X-Remote-User"),
		"requestheader-uid-headers":          list("X-Remote-Uid"),
		"requestheader-group-headers":        list("X-Remote-Group"),
		"requestheader-extra-headers-prefix": list("X-Remote-Extra-"),
	}
}

// trust keeps the ConfigMap as it must be.
type trust struct {
	client kubernetes.Interface
	lister corev1listers.ConfigMapLister
	synced cache.InformerSynced
	data   map[string]string
	loop   *reconcile.Loop
}

func newTrust(c kubernetes.Interface, in coreinformers.ConfigMapInformer, data map[string]string) *trust {
	t := &trust{client: c, lister: in.Lister(), data: data}
	t.loop = reconcile.New("extension-apiserver-authentication", t.reconcile)
	t.synced = reconcile.Listen(in.Informer(), t.loop.HandlerFor(func(obj any) []reconcile.Key {
		if m, ok := obj.(*corev1.ConfigMap); ok && m.Namespace == trustKey.Namespace && m.Name == trustKey.Name {
			return []reconcile.Key{trustKey}
		}
		return nil
	}))
	t.loop.Enqueue(trustKey)
	return t
}

func (t *trust) run(ctx context.Context) {
	if cache.WaitForCacheSync(ctx.Done(), t.synced) {
		t.loop.Run(ctx, 1)
	}
}

func (t *trust) reconcile(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	have, err := t.lister.ConfigMaps(key.Namespace).Get(key.Name)
	client := t.client.CoreV1().ConfigMaps(key.Namespace)
	switch {
	case apierrors.IsNotFound(err):
		want := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Data: t.data}
		if _, err = client.Create(ctx, want, metav1.CreateOptions{}); apierrors.IsNotFound(err) {
			if err = t.createNamespace(ctx, key.Namespace); err == nil {
				_, err = client.Create(ctx, want, metav1.CreateOptions{})
			}
		}
	case err == nil && !maps.Equal(have.Data, t.data):
		want := have.DeepCopy()
		want.Data = t.data
		_, err = client.Update(ctx, want, metav1.UpdateOptions{})
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return reconcile.Result{}, fmt.Errorf("keep the ConfigMap %s: %w", key, err)
	}
	return reconcile.Result{}, nil
}

func (t *trust) createNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if _, err := t.client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", name, err)
	}
	return nil
}

package gitops

import (
	"context"
	"fmt"
	"io/fs"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/translate"
)

// translated says in our words what a commit says in Flux's or Argo CD's, as far as the cluster does not serve their kinds. found says that something from outside
// the commit had a part in it. mayRead says whether the Application may be told what a ConfigMap of another namespace says.
func translated(ctx context.Context, mapper *apply.Mapper, core typedcorev1.ConfigMapsGetter, mayRead func(context.Context, types.NamespacedName) error,
	own *v1alpha1.Application, tree fs.FS, objects []*source.Object) (out []*source.Object, found bool, err error) {
	made, err := translate.Objects(ctx, translate.Input{
		Objects: objects, Own: own, Tree: tree,
		Served: func(gk schema.GroupKind) (bool, error) { return apply.Serves(ctx, mapper, gk, objects) },
		Find: func(ctx context.Context, kind, namespace, name string) (map[string]any, error) {
			where := types.NamespacedName{Namespace: namespace, Name: translate.ConfigMapName(kind, name)}
			if namespace != own.Namespace {
				if err := mayRead(ctx, where); err != nil {
					return nil, err
				}
			}
			cm, err := core.ConfigMaps(namespace).Get(ctx, where.Name, metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil, nil
			case err != nil:
				return nil, err
			}
			return translate.Described(cm.Data)
		},
	})
	return made.Objects, made.Found, err
}

// mayReadSource says whether the Application's account may read what another namespace says of a source: its URL may be a secret of the tenants there.
func (p *pass) mayReadSource(ctx context.Context, cm types.NamespacedName) error {
	allowed, err := p.may(ctx, p.app, authorizationv1.ResourceAttributes{Verb: "get", Version: "v1", Resource: "configmaps", Namespace: cm.Namespace, Name: cm.Name})
	switch {
	case err != nil:
		return err
	case !allowed:
		return &source.Error{Reason: source.Unauthorized, Message: fmt.Sprintf(
			"spec.serviceAccountName: the account %s may not read the ConfigMap %s, in which the source is described; grant it get, or describe the source in the Application's own namespace", p.app.Spec.ServiceAccountName, cm)}
	}
	return nil
}

// anyone is for Applications that are looked at with the rights of whoever asks: the server decides.
func anyone(context.Context, types.NamespacedName) error { return nil }

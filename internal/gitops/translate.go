package gitops

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/translate"
)

// translated says in our words what a commit says in Flux's or Argo CD's, as far as the cluster does not serve their kinds. found says that something from outside
// the commit had a part in it.
func translated(ctx context.Context, mapper *apply.Mapper, core typedcorev1.ConfigMapsGetter, own *v1alpha1.Application, objects []*source.Object) (out []*source.Object, found bool, err error) {
	made, err := translate.Objects(ctx, translate.Input{
		Objects: objects, Own: own,
		Served: func(gk schema.GroupKind) (bool, error) { return apply.Serves(ctx, mapper, gk, objects) },
		Find: func(ctx context.Context, kind, namespace, name string) (map[string]any, error) {
			cm, err := core.ConfigMaps(namespace).Get(ctx, translate.ConfigMapName(kind, name), metav1.GetOptions{})
			switch {
			case apierrors.IsNotFound(err):
				return nil, nil
			case err != nil:
				return nil, fmt.Errorf("looking for %s %s/%s: %w", kind, namespace, name, err)
			}
			return translate.Described(cm.Data)
		},
	})
	return made.Objects, made.Found, err
}

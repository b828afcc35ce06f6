package gitops

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/client"
)

// EnsureRoot creates an Application, and its namespace, or gives an existing one the source and interval of the given one. Everything else
// that somebody set on an existing Application stays. Starting with another --repo or --path therefore moves the installation there.
func EnsureRoot(ctx context.Context, config *rest.Config, root *v1alpha1.Application) error {
	core, err := typedcorev1.NewForConfig(config)
	if err != nil {
		return err
	}
	clients, err := client.New(config)
	if err != nil {
		return err
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: root.Namespace}}
	if _, err := core.Namespaces().Create(ctx, ns, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating namespace %s: %w", root.Namespace, err)
	}
	apps := clients.In(root.Namespace)
	for {
		_, err := apps.Create(ctx, root, metav1.CreateOptions{FieldManager: v1alpha1.FieldManager})
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		live, err := apps.Get(ctx, root.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		wanted := live.DeepCopy()
		wanted.Spec.Source.RepoURL, wanted.Spec.Source.Ref, wanted.Spec.Source.Path = root.Spec.Source.RepoURL, root.Spec.Source.Ref, root.Spec.Source.Path
		wanted.Spec.Interval = root.Spec.Interval
		if equality.Semantic.DeepEqual(live.Spec, wanted.Spec) {
			return nil
		}
		if _, err = apps.Update(ctx, wanted, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager}); !apierrors.IsConflict(err) && !apierrors.IsNotFound(err) {
			return err
		}
	}
}

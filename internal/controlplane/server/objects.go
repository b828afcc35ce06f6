package server

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/registry"
)

// objects reads objects for the decisions made about requests, from the same storage that serves them.
type objects struct{ registry *registry.Registry }

// get reads from the watch cache, which is a moment old, as every API server does for such decisions; only what is not there yet is looked for in etcd.
func get[T runtime.Object](ctx context.Context, o objects, resource, namespace, name string) (T, error) {
	t, err := read[T](ctx, o, resource, namespace, name, &metav1.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		return read[T](ctx, o, resource, namespace, name, &metav1.GetOptions{})
	}
	return t, err
}

func read[T runtime.Object](ctx context.Context, o objects, resource, namespace, name string, options *metav1.GetOptions) (T, error) {
	var none T
	obj, err := o.registry.Store(corev1.Resource(resource)).Get(genericapirequest.WithNamespace(ctx, namespace), name, options)
	if err != nil {
		return none, err
	}
	t, ok := obj.(T)
	if !ok {
		return none, fmt.Errorf("storage of %s holds a %T", resource, obj)
	}
	return t, nil
}

// Namespace is read from etcd: nothing may be created in one whose deletion has begun, not even a moment after.
func (o objects) Namespace(ctx context.Context, name string) (*corev1.Namespace, error) {
	obj, err := o.registry.Get(genericapirequest.WithNamespace(ctx, ""), corev1.Resource("namespaces"), name)
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Namespace), nil
}

func (o objects) ServiceAccount(ctx context.Context, namespace, name string) (*corev1.ServiceAccount, error) {
	return get[*corev1.ServiceAccount](ctx, o, "serviceaccounts", namespace, name)
}

func (o objects) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	return get[*corev1.Pod](ctx, o, "pods", namespace, name)
}

func (o objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](ctx, o, "secrets", namespace, name)
}

func (o objects) Node(ctx context.Context, name string) (*corev1.Node, error) {
	return get[*corev1.Node](ctx, o, "nodes", "", name)
}

func (o objects) SystemSecret(ctx context.Context, name string) (*corev1.Secret, error) {
	return get[*corev1.Secret](ctx, o, "secrets", metav1.NamespaceSystem, name)
}

// Services are all Services. The caches must be ready.
func (o objects) Services(ctx context.Context) ([]corev1.Service, error) {
	obj, err := o.registry.Store(corev1.Resource("services")).List(genericapirequest.WithNamespace(ctx, ""), &metainternalversion.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("list Services: %w", err)
	}
	return obj.(*corev1.ServiceList).Items, nil
}

// PodOnNode implements auth.NodeGraph. For a Pod that is gone, or cannot be read, it says yes: the request then fails with that answer, and a node
// that reports on a deleted Pod learns that there is nobody to tell.
func (o objects) PodOnNode(ctx context.Context, node, namespace, name string) bool {
	p, err := o.Pod(ctx, namespace, name)
	return err != nil || p.Spec.NodeName == node
}

// Uses implements auth.NodeGraph. It reads the watch cache: a node learns of its Pods from that same cache, never earlier.
func (o objects) Uses(ctx context.Context, node, resource, namespace, name string) bool {
	if resource == "persistentvolumes" {
		v, err := get[*corev1.PersistentVolume](ctx, o, resource, "", name)
		if err != nil || v.Spec.ClaimRef == nil {
			return false
		}
		resource, namespace, name = "persistentvolumeclaims", v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name
	}
	obj, err := o.registry.Store(corev1.Resource("pods")).List(genericapirequest.WithNamespace(ctx, namespace), &metainternalversion.ListOptions{
		ResourceVersion: "0", FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node),
	})
	if err != nil {
		return false
	}
	pods := obj.(*corev1.PodList).Items
	for i := range pods {
		if uses(&pods[i], resource, name) {
			return true
		}
	}
	return resource == "secrets" && o.driverNeeds(ctx, node, namespace, name)
}

// driverNeeds tells whether a storage driver, or the node itself, is to be given the Secret for a volume of a Pod on the node. Such a Secret may be in any namespace.
func (o objects) driverNeeds(ctx context.Context, node, namespace, name string) bool {
	obj, err := o.registry.Store(corev1.Resource("persistentvolumes")).List(genericapirequest.WithNamespace(ctx, ""), &metainternalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return false
	}
	volumes := obj.(*corev1.PersistentVolumeList).Items
	for i := range volumes {
		if namesSecret(&volumes[i], namespace, name) && o.Uses(ctx, node, "persistentvolumes", "", volumes[i].Name) {
			return true
		}
	}
	return false
}

// Application implements admission.Applications. It is read as others are for decisions, from the watch cache.
func (o objects) Application(ctx context.Context, namespace, name string) (*v1alpha1.Application, error) {
	obj, err := o.registry.Store(applications).Get(genericapirequest.WithNamespace(ctx, namespace), name, &metav1.GetOptions{ResourceVersion: "0"})
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read Application %s/%s: %w", namespace, name, err)
	}
	return obj.(*v1alpha1.Application), nil
}

// Applications implements admission.Applications.
func (o objects) Applications(ctx context.Context) ([]v1alpha1.Application, error) {
	obj, err := o.registry.Store(applications).List(genericapirequest.WithNamespace(ctx, ""), &metainternalversion.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return nil, fmt.Errorf("list Applications: %w", err)
	}
	return obj.(*v1alpha1.ApplicationList).Items, nil
}

var applications = v1alpha1.GroupVersion.WithResource("applications").GroupResource()

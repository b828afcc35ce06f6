package poddisruptionbudget

import (
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/informers"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/scale"
	"k8s.io/utils/ptr"
)

// owners looks up how many Pods a Pod's owner is to have: in the caches for the kinds that every cluster has, through the scale subresource for others.
type owners struct {
	deployments  appslisters.DeploymentLister
	replicaSets  appslisters.ReplicaSetLister
	statefulSets appslisters.StatefulSetLister
	controllers  corelisters.ReplicationControllerLister

	scales    scale.ScalesGetter
	kinds     meta.RESTMapper
	discovery discovery.DiscoveryInterface
}

func newOwners(f informers.SharedInformerFactory, scales scale.ScalesGetter, kinds meta.RESTMapper, d discovery.DiscoveryInterface) *owners {
	apps := f.Apps().V1()
	return &owners{
		deployments: apps.Deployments().Lister(), replicaSets: apps.ReplicaSets().Lister(), statefulSets: apps.StatefulSets().Lister(),
		controllers: f.Core().V1().ReplicationControllers().Lister(), scales: scales, kinds: kinds, discovery: d,
	}
}

// total adds up what the owners of the Pods ask for, each once.
func (o *owners) total(ctx context.Context, pods []*corev1.Pod) (n int, unmanaged []string, err error) {
	counted := map[types.UID]bool{} // by the UID of the Pod's own owner, and by that of the workload above it
	for _, p := range pods {
		ref := metav1.GetControllerOfNoCopy(p)
		if ref == nil {
			unmanaged = append(unmanaged, p.Name)
			continue
		}
		if counted[ref.UID] {
			continue
		}
		counted[ref.UID] = true
		owner, replicas, err := o.scale(ctx, p.Namespace, ref)
		if err != nil {
			return 0, nil, err
		}
		if owner == "" {
			return 0, nil, fmt.Errorf("found no controllers for pod %q: its %s %s is gone", p.Name, ref.Kind, ref.Name)
		}
		if owner != ref.UID && counted[owner] {
			continue
		}
		counted[owner] = true
		n += replicas
	}
	slices.Sort(unmanaged)
	return n, unmanaged, nil
}

// scale finds the workload behind an owner reference and the number of Pods it is to have; no owner: it is gone.
func (o *owners) scale(ctx context.Context, namespace string, ref *metav1.OwnerReference) (owner types.UID, replicas int, err error) {
	gv, err := schema.ParseGroupVersion(ref.APIVersion)
	if err != nil {
		return "", 0, fmt.Errorf("the owner reference to %s %s: apiVersion: %w", ref.Kind, ref.Name, err)
	}
	var obj metav1.Object
	var want *int32
	switch gv.WithKind(ref.Kind).GroupKind() {
	case appsv1.SchemeGroupVersion.WithKind("ReplicaSet").GroupKind():
		rs, err := o.replicaSets.ReplicaSets(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, ignoreNotFound(err)
		}
		obj, want = rs, rs.Spec.Replicas
		if above := metav1.GetControllerOfNoCopy(rs); rs.UID == ref.UID && above != nil && above.Kind == "Deployment" {
			return o.deployment(namespace, above)
		}
	case appsv1.SchemeGroupVersion.WithKind("StatefulSet").GroupKind():
		ss, err := o.statefulSets.StatefulSets(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, ignoreNotFound(err)
		}
		obj, want = ss, ss.Spec.Replicas
	case corev1.SchemeGroupVersion.WithKind("ReplicationController").GroupKind():
		rc, err := o.controllers.ReplicationControllers(namespace).Get(ref.Name)
		if err != nil {
			return "", 0, ignoreNotFound(err)
		}
		obj, want = rc, rc.Spec.Replicas
	default:
		s, err := o.subresource(ctx, namespace, gv.WithKind(ref.Kind), ref.Name)
		if err != nil || s == nil {
			return "", 0, err
		}
		obj, want = s, &s.Spec.Replicas
	}
	if obj.GetUID() != ref.UID {
		return "", 0, nil
	}
	return ref.UID, int(ptr.Deref(want, 1)), nil
}

func (o *owners) deployment(namespace string, ref *metav1.OwnerReference) (owner types.UID, replicas int, err error) {
	d, err := o.deployments.Deployments(namespace).Get(ref.Name)
	if err != nil || d.UID != ref.UID {
		return "", 0, ignoreNotFound(err)
	}
	return d.UID, int(ptr.Deref(d.Spec.Replicas, 1)), nil
}

// subresource asks for the scale of a kind that this program does not know; nil: the object is gone.
func (o *owners) subresource(ctx context.Context, namespace string, gvk schema.GroupVersionKind, name string) (*autoscalingv1.Scale, error) {
	m, err := o.kinds.RESTMapping(gvk.GroupKind(), gvk.Version)
	if err != nil {
		return nil, fmt.Errorf("the owner %s %s: %w", gvk.Kind, name, err)
	}
	s, err := o.scales.Scales(namespace).Get(ctx, m.Resource.GroupResource(), name, metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		return s, err
	}
	served, err := o.discovery.ServerResourcesForGroupVersion(m.Resource.GroupVersion().String())
	if err != nil {
		return nil, fmt.Errorf("finding out whether %s can be scaled: %w", m.Resource.GroupResource(), err)
	}
	if !slices.ContainsFunc(served.APIResources, func(r metav1.APIResource) bool { return r.Name == m.Resource.Resource+"/scale" }) {
		return nil, fmt.Errorf("%s does not implement the scale subresource", m.Resource.GroupResource())
	}
	return nil, nil
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

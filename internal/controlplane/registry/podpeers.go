package registry

import (
	"context"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
)

// podsREST shows a node of other nodes' Pods what NetworkPolicies ask of them, and everybody else, and a node that selects its own, the Pods as they are.
//
// A node whose Pods a policy guards follows the Pods of those namespaces that the policy names. What it is told of them are names, labels, addresses and named ports, which
// change a few times in a Pod's life: the rest, such as probes' results and what containers are started with, is neither its business nor worth sending to every node.
type podsREST struct{ *resource }

func newPodsREST(r *resource) (rest.Storage, error) { return &podsREST{r}, nil }

// List implements rest.Lister.
func (r *podsREST) List(ctx context.Context, options *metainternalversion.ListOptions) (runtime.Object, error) {
	obj, err := r.resource.List(ctx, options)
	list, ok := obj.(*corev1.PodList)
	if err != nil || !ok || !forPeers(ctx, options) {
		return obj, err
	}
	out := &corev1.PodList{TypeMeta: list.TypeMeta, ListMeta: list.ListMeta, Items: make([]corev1.Pod, len(list.Items))}
	for i := range list.Items {
		out.Items[i] = *peer(&list.Items[i])
	}
	return out, nil
}

// Watch implements rest.Watcher. The first change of each Pod that a watch shows is passed on in any case, since what was before it is not known.
func (r *podsREST) Watch(ctx context.Context, options *metainternalversion.ListOptions) (watch.Interface, error) {
	w, err := r.resource.Watch(ctx, options)
	if err != nil || !forPeers(ctx, options) {
		return w, err
	}
	last := map[types.UID]*corev1.Pod{}
	return watch.Filter(w, func(e watch.Event) (watch.Event, bool) {
		obj := e.Object
		if c, ok := obj.(runtime.CacheableObject); ok {
			obj = c.GetObject()
		}
		pod, ok := obj.(*corev1.Pod)
		if !ok || e.Type == watch.Bookmark {
			return e, true
		}
		now := peer(pod)
		was := last[now.UID]
		if last[now.UID] = now; e.Type == watch.Deleted {
			delete(last, now.UID)
		}
		e.Object = now
		return e, e.Type != watch.Modified || was == nil || !samePeer(was, now)
	}), nil
}

// forPeers tells whether a node asks for Pods that may be another's. That those it selects by spec.nodeName are its own is what authorization sees to.
func forPeers(ctx context.Context, o *metainternalversion.ListOptions) bool {
	u, ok := genericapirequest.UserFrom(ctx)
	if !ok || !slices.Contains(u.GetGroups(), user.NodesGroup) {
		return false
	}
	if o == nil || o.FieldSelector == nil {
		return true
	}
	_, own := o.FieldSelector.RequiresExactMatch("spec.nodeName")
	return !own
}

// peer is what policies ask of a Pod.
func peer(p *corev1.Pod) *corev1.Pod {
	return &corev1.Pod{
		TypeMeta:   p.TypeMeta,
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion, Labels: p.Labels},
		Spec:       corev1.PodSpec{HostNetwork: p.Spec.HostNetwork, InitContainers: namedPorts(p.Spec.InitContainers), Containers: namedPorts(p.Spec.Containers)},
		Status:     corev1.PodStatus{Phase: p.Status.Phase, PodIPs: p.Status.PodIPs},
	}
}

// namedPorts leaves of containers those ports that have names.
func namedPorts(list []corev1.Container) []corev1.Container {
	var out []corev1.Container
	for i := range list {
		var ports []corev1.ContainerPort
		for _, p := range list[i].Ports {
			if p.Name != "" {
				ports = append(ports, corev1.ContainerPort{Name: p.Name, ContainerPort: p.ContainerPort, Protocol: p.Protocol})
			}
		}
		if ports != nil {
			out = append(out, corev1.Container{Name: list[i].Name, Ports: ports})
		}
	}
	return out
}

// samePeer tells of two versions of a Pod, as peer leaves them, that they differ in nothing.
func samePeer(a, b *corev1.Pod) bool {
	return apiequality.Semantic.DeepEqual(a.Labels, b.Labels) && apiequality.Semantic.DeepEqual(a.Spec, b.Spec) && apiequality.Semantic.DeepEqual(a.Status, b.Status)
}

package replicaset

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	appslisters "k8s.io/client-go/listers/apps/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

// Kind is a ReplicaSet, as its Pods' owner references name it.
var Kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// kindRC is a ReplicationController: what ReplicaSets grew out of, with the same meaning in fewer words.
var kindRC = corev1.SchemeGroupVersion.WithKind("ReplicationController")

// workload is a kind that asks for a number of equal Pods. The controller knows only ReplicaSets; other kinds are shown to it as such.
type workload interface {
	kind() schema.GroupVersionKind
	// get and list read the cache.
	get(namespace, name string) (*appsv1.ReplicaSet, error)
	list(namespace string) ([]*appsv1.ReplicaSet, error)
	// shown makes a ReplicaSet of what an informer delivers; ok is false for anything else.
	shown(obj any) (rs *appsv1.ReplicaSet, ok bool)
	// real is the object that a ReplicaSet stands for, with its metadata alone.
	real(rs *appsv1.ReplicaSet) runtime.Object
	// read asks the API server.
	read(ctx context.Context, namespace, name string) (metav1.Object, error)
	writeStatus(ctx context.Context, rs *appsv1.ReplicaSet) error
}

type replicaSets struct {
	client kubernetes.Interface
	lister appslisters.ReplicaSetLister
}

func (replicaSets) kind() schema.GroupVersionKind { return Kind }
func (r replicaSets) get(namespace, name string) (*appsv1.ReplicaSet, error) {
	return r.lister.ReplicaSets(namespace).Get(name)
}
func (r replicaSets) list(namespace string) ([]*appsv1.ReplicaSet, error) {
	return r.lister.ReplicaSets(namespace).List(labels.Everything())
}
func (replicaSets) shown(obj any) (*appsv1.ReplicaSet, bool) {
	rs, ok := obj.(*appsv1.ReplicaSet)
	return rs, ok
}
func (replicaSets) real(rs *appsv1.ReplicaSet) runtime.Object { return rs }
func (r replicaSets) read(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return r.client.AppsV1().ReplicaSets(namespace).Get(ctx, name, metav1.GetOptions{})
}
func (r replicaSets) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet) error {
	_, err := r.client.AppsV1().ReplicaSets(rs.Namespace).UpdateStatus(ctx, rs, metav1.UpdateOptions{FieldManager: fieldManager})
	return err
}

type replicationControllers struct {
	client kubernetes.Interface
	lister corelisters.ReplicationControllerLister
}

func (replicationControllers) kind() schema.GroupVersionKind { return kindRC }
func (r replicationControllers) get(namespace, name string) (*appsv1.ReplicaSet, error) {
	rc, err := r.lister.ReplicationControllers(namespace).Get(name)
	if err != nil {
		return nil, err
	}
	return asReplicaSet(rc), nil
}
func (r replicationControllers) list(namespace string) ([]*appsv1.ReplicaSet, error) {
	all, err := r.lister.ReplicationControllers(namespace).List(labels.Everything())
	if err != nil {
		return nil, err
	}
	out := make([]*appsv1.ReplicaSet, len(all))
	for i, rc := range all {
		out[i] = asReplicaSet(rc)
	}
	return out, nil
}
func (replicationControllers) shown(obj any) (*appsv1.ReplicaSet, bool) {
	rc, ok := obj.(*corev1.ReplicationController)
	if !ok {
		return nil, false
	}
	return asReplicaSet(rc), true
}
func (replicationControllers) real(rs *appsv1.ReplicaSet) runtime.Object {
	return &corev1.ReplicationController{ObjectMeta: rs.ObjectMeta}
}
func (r replicationControllers) read(ctx context.Context, namespace, name string) (metav1.Object, error) {
	return r.client.CoreV1().ReplicationControllers(namespace).Get(ctx, name, metav1.GetOptions{})
}
func (r replicationControllers) writeStatus(ctx context.Context, rs *appsv1.ReplicaSet) error {
	rc := &corev1.ReplicationController{ObjectMeta: rs.ObjectMeta, Status: corev1.ReplicationControllerStatus{
		Replicas: rs.Status.Replicas, FullyLabeledReplicas: rs.Status.FullyLabeledReplicas, ReadyReplicas: rs.Status.ReadyReplicas,
		AvailableReplicas: rs.Status.AvailableReplicas, ObservedGeneration: rs.Status.ObservedGeneration,
	}}
	for _, c := range rs.Status.Conditions {
		rc.Status.Conditions = append(rc.Status.Conditions, corev1.ReplicationControllerCondition{
			Type: corev1.ReplicationControllerConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	// The spec is left out: a write of the status takes nothing of it.
	_, err := r.client.CoreV1().ReplicationControllers(rs.Namespace).UpdateStatus(ctx, rc, metav1.UpdateOptions{FieldManager: fieldManager})
	return err
}

// asReplicaSet shares what it can with rc, which must not be changed through it.
func asReplicaSet(rc *corev1.ReplicationController) *appsv1.ReplicaSet {
	rs := &appsv1.ReplicaSet{
		ObjectMeta: rc.ObjectMeta,
		Spec:       appsv1.ReplicaSetSpec{Replicas: rc.Spec.Replicas, MinReadySeconds: rc.Spec.MinReadySeconds, Selector: &metav1.LabelSelector{MatchLabels: rc.Spec.Selector}},
		Status: appsv1.ReplicaSetStatus{
			Replicas: rc.Status.Replicas, FullyLabeledReplicas: rc.Status.FullyLabeledReplicas, ReadyReplicas: rc.Status.ReadyReplicas,
			AvailableReplicas: rc.Status.AvailableReplicas, ObservedGeneration: rc.Status.ObservedGeneration,
		},
	}
	if rc.Spec.Template != nil {
		rs.Spec.Template = *rc.Spec.Template
	}
	for _, c := range rc.Status.Conditions {
		rs.Status.Conditions = append(rs.Status.Conditions, appsv1.ReplicaSetCondition{
			Type: appsv1.ReplicaSetConditionType(c.Type), Status: c.Status, LastTransitionTime: c.LastTransitionTime, Reason: c.Reason, Message: c.Message,
		})
	}
	return rs
}

func replicaSetsOf(client kubernetes.Interface, f informers.SharedInformerFactory) (workload, cache.SharedIndexInformer) {
	inf := f.Apps().V1().ReplicaSets()
	return replicaSets{client, inf.Lister()}, inf.Informer()
}

func replicationControllersOf(client kubernetes.Interface, f informers.SharedInformerFactory) (workload, cache.SharedIndexInformer) {
	inf := f.Core().V1().ReplicationControllers()
	return replicationControllers{client, inf.Lister()}, inf.Informer()
}

// loopName is the queue's name in metrics and logs.
func loopName(w workload) string { return strings.ToLower(w.kind().Kind) }

package forecast

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/why"
)

// Change is one object of a plan: Before is nil where it is created, After where it is deleted.
type Change struct {
	Name          string
	Before, After *unstructured.Unstructured
}

// Load turns the changes of a plan into the Pods that they bring and those that they take away. A Pod in a namespace that is not there yet is completed in the
// stand-in namespace. Claims that come with the plan are put into the World.
func Load(ctx context.Context, c kubernetes.Interface, w *why.World, changes []Change, standIn string) (gone []types.UID, workloads []Workload, err error) {
	for _, ch := range changes {
		if claim, ok := typed(ch.After).(*corev1.PersistentVolumeClaim); ok && w.Snapshot.Claim(claim.Namespace+"/"+claim.Name) == nil {
			w.Snapshot.SetClaim(claim)
		}
	}
	for _, ch := range changes {
		before, after := shapeOf(typed(ch.Before)), shapeOf(typed(ch.After))
		if before == nil && after == nil {
			continue
		}
		replaced := before != nil && (after == nil || !equality.Semantic.DeepEqual(before.template.Spec, after.template.Spec))
		if replaced {
			pods, err := c.CoreV1().Pods(ch.Before.GetNamespace()).List(ctx, metav1.ListOptions{LabelSelector: before.selector})
			if err != nil {
				return nil, nil, fmt.Errorf("the Pods of %s: %w", ch.Name, err)
			}
			for _, p := range pods.Items {
				gone = append(gone, p.UID)
			}
		}
		if after == nil {
			continue
		}
		wl := Workload{Name: ch.Name, Count: after.replicas, EachNode: after.eachNode, Claims: after.claims}
		if before != nil && !replaced {
			if wl.Count -= before.replicas; wl.Count <= 0 || wl.EachNode {
				continue // the Pods that there are stay
			}
		}
		if wl.Pod, err = complete(ctx, c, after, ch.After, standIn); err != nil {
			if !apierrors.IsForbidden(err) && !apierrors.IsInvalid(err) {
				return nil, nil, fmt.Errorf("a Pod of %s: %w", ch.Name, err)
			}
			wl.Refused = err.Error()
		}
		workloads = append(workloads, wl)
	}
	return gone, workloads, nil
}

// shape is what matters of a workload.
type shape struct {
	template corev1.PodTemplateSpec
	replicas int
	selector string
	eachNode bool
	claims   []corev1.PersistentVolumeClaim
}

// shapeOf returns nil for what has no Pods of its own. A CronJob's come and go with its Jobs.
func shapeOf(obj runtime.Object) *shape {
	switch o := obj.(type) {
	case *appsv1.Deployment:
		return &shape{template: o.Spec.Template, replicas: count(o.Spec.Replicas), selector: selector(o.Spec.Selector)}
	case *appsv1.ReplicaSet:
		return &shape{template: o.Spec.Template, replicas: count(o.Spec.Replicas), selector: selector(o.Spec.Selector)}
	case *appsv1.StatefulSet:
		return &shape{template: o.Spec.Template, replicas: count(o.Spec.Replicas), selector: selector(o.Spec.Selector), claims: o.Spec.VolumeClaimTemplates}
	case *appsv1.DaemonSet:
		return &shape{template: o.Spec.Template, eachNode: true, selector: selector(o.Spec.Selector)}
	case *batchv1.Job:
		n := count(o.Spec.Parallelism)
		if o.Spec.Suspend != nil && *o.Spec.Suspend {
			n = 0
		}
		return &shape{template: o.Spec.Template, replicas: n, selector: labels.Set{batchv1.JobNameLabel: o.Name}.String()}
	case *corev1.Pod:
		return &shape{template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: o.Labels}, Spec: o.Spec}, replicas: 1, selector: labels.Set(o.Labels).String()}
	}
	return nil
}

// count is a number of replicas with its default.
func count(n *int32) int {
	if n == nil {
		return 1
	}
	return int(*n)
}

func selector(s *metav1.LabelSelector) string {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing().String()
	}
	return parsed.String()
}

// typed reads an object into its Go type; nil for a kind without one, or one that the server's dry run refuses.
func typed(u *unstructured.Unstructured) runtime.Object {
	if u == nil {
		return nil
	}
	obj, err := scheme.Scheme.New(u.GroupVersionKind())
	if err != nil || runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, obj) != nil {
		return nil
	}
	return obj
}

// complete has the API server complete a Pod without creating it.
func complete(ctx context.Context, c kubernetes.Interface, s *shape, of *unstructured.Unstructured, standIn string) (*corev1.Pod, error) {
	p := &corev1.Pod{ObjectMeta: *s.template.ObjectMeta.DeepCopy(), Spec: *s.template.Spec.DeepCopy()}
	p.Name, p.Namespace, p.GenerateName = of.GetName(), of.GetNamespace(), ""
	p.Spec.NodeName = ""
	p.Spec.ServiceAccountName, p.Spec.DeprecatedServiceAccount = "", "" // it may come with the plan, and has no say in where a Pod runs
	for _, claim := range s.claims {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}}) // the place of the claim
	}
	create := func(namespace string) (*corev1.Pod, error) {
		p.Namespace = namespace
		return c.CoreV1().Pods(namespace).Create(ctx, p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	}
	done, err := create(of.GetNamespace())
	if apierrors.IsNotFound(err) {
		done, err = create(standIn)
	}
	if apierrors.IsAlreadyExists(err) {
		p.Name += "-forecast"
		done, err = create(p.Namespace)
	}
	if err != nil {
		return nil, err
	}
	done.Name, done.Namespace = of.GetName(), of.GetNamespace()
	return done, nil
}

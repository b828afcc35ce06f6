package job

import (
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// A Pod whose Job is gone or over is nobody's to count: without its finalizer it can be deleted.

// orphanOf names a Pod that, by the caches, nobody is going to count.
func (c *Controller) orphanOf(obj any) []reconcile.Key {
	pod, ok := obj.(*corev1.Pod)
	if !ok || !tracked(pod) {
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		if ref.Kind != kind.Kind || ref.APIVersion != batchv1.SchemeGroupVersion.String() {
			return nil
		}
		if job, err := c.jobs.Jobs(pod.Namespace).Get(ref.Name); err == nil && counts(job, ref) {
			return nil
		}
	}
	return []reconcile.Key{{Namespace: pod.Namespace, Name: pod.Name}}
}

// orphansOf names the Pods that a Job leaves behind.
func (c *Controller) orphansOf(obj any) []reconcile.Key {
	job, ok := obj.(*batchv1.Job)
	if !ok {
		return nil
	}
	if now, err := c.jobs.Jobs(job.Namespace).Get(job.Name); err == nil && now.UID == job.UID && !Finished(now) {
		return nil
	}
	var keys []reconcile.Key
	for _, p := range index.ControlledBy[*corev1.Pod](c.pods, job.UID) {
		keys = append(keys, c.orphanOf(p)...)
	}
	return keys
}

// counts says that the owner a Pod names is this Job, and that the Job, or another controller on its behalf, still counts its Pods.
func counts(job *batchv1.Job, ref *metav1.OwnerReference) bool {
	return job.UID == ref.UID && (!Finished(job) || !ours(job))
}

// releaseOrphan takes the finalizer off a Pod, if nobody is going to count it. The API server is asked, since a Job just made may not be in the cache yet.
func (c *Controller) releaseOrphan(ctx context.Context, key reconcile.Key) (reconcile.Result, error) {
	obj, exists, err := c.pods.GetByKey(key.String())
	if err != nil || !exists {
		return reconcile.Result{}, err
	}
	pod := obj.(*corev1.Pod)
	if len(c.orphanOf(pod)) == 0 {
		return reconcile.Result{}, nil
	}
	if ref := metav1.GetControllerOfNoCopy(pod); ref != nil {
		switch job, err := c.client.BatchV1().Jobs(pod.Namespace).Get(ctx, ref.Name, metav1.GetOptions{}); {
		case err == nil && counts(job, ref):
			return reconcile.Result{}, nil
		case err != nil && !apierrors.IsNotFound(err):
			return reconcile.Result{}, fmt.Errorf("the Pod %s: reading the Job %s that owns it: %w", key, ref.Name, err)
		}
	} else if pod.DeletionTimestamp == nil && len(c.selecting(pod)) > 0 {
		return reconcile.Result{}, nil // it will be adopted
	}
	_, err = c.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, untrackPatch(pod, true), metav1.PatchOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return reconcile.Result{}, fmt.Errorf("the Pod %s: taking the finalizer %s off, as no Job is going to count it: %w", key, batchv1.JobTrackingFinalizer, err)
	}
	return reconcile.Result{}, nil
}

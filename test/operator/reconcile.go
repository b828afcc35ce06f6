package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// finalizer keeps a Site until its entry in the directory is gone.
const finalizer = "sites.example.com/directory"

// directory is the ConfigMap that lists every Site, in the operator's own namespace.
const directory = "directory"

type reconciler struct {
	client client.Client
	// direct reads past the cache: the operator may watch no ConfigMaps.
	direct    client.Reader
	namespace string
}

func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	site := &Site{}
	if err := r.client.Get(ctx, request.NamespacedName, site); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !site.DeletionTimestamp.IsZero() {
		if err := r.list(ctx, site, ""); err != nil {
			return ctrl.Result{}, err
		}
		if controllerutil.RemoveFinalizer(site, finalizer) {
			return ctrl.Result{}, r.client.Update(ctx, site)
		}
		return ctrl.Result{}, nil
	}
	if controllerutil.AddFinalizer(site, finalizer) {
		if err := r.client.Update(ctx, site); err != nil {
			return ctrl.Result{}, err
		}
	}
	if err := r.list(ctx, site, site.Spec.Image); err != nil {
		return ctrl.Result{}, err
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: site.Name, Namespace: site.Namespace}}
	if _, err := controllerutil.CreateOrUpdate(ctx, r.client, deployment, func() error {
		labels := map[string]string{"site": site.Name}
		deployment.Spec.Replicas = &site.Spec.Replicas
		deployment.Spec.Selector = &metav1.LabelSelector{MatchLabels: labels}
		deployment.Spec.Template.Labels = labels
		deployment.Spec.Template.Spec.TerminationGracePeriodSeconds = new(int64)
		if len(deployment.Spec.Template.Spec.Containers) == 0 {
			deployment.Spec.Template.Spec.Containers = []corev1.Container{{Name: "web"}}
		}
		deployment.Spec.Template.Spec.Containers[0].Image = site.Spec.Image
		return controllerutil.SetControllerReference(site, deployment, r.client.Scheme())
	}); err != nil {
		return ctrl.Result{}, fmt.Errorf("Deployment of Site %s: %w", request, err)
	}
	ready := metav1.Condition{Type: "Ready", Status: metav1.ConditionFalse, Reason: "Starting", ObservedGeneration: site.Generation}
	s := deployment.Status
	ready.Message = fmt.Sprintf("%d of %d replicas are ready", s.ReadyReplicas, site.Spec.Replicas)
	if s.ObservedGeneration >= deployment.Generation && s.UpdatedReplicas == site.Spec.Replicas && s.ReadyReplicas == s.UpdatedReplicas && s.Replicas == s.UpdatedReplicas {
		ready.Status, ready.Reason = metav1.ConditionTrue, "Serving"
	}
	before := site.DeepCopyObject().(*Site)
	site.Status.ReadyReplicas = s.ReadyReplicas
	if meta.SetStatusCondition(&site.Status.Conditions, ready) || before.Status.ReadyReplicas != s.ReadyReplicas {
		return ctrl.Result{}, r.client.Status().Patch(ctx, site, client.MergeFrom(before))
	}
	return ctrl.Result{}, nil
}

// list writes a Site's entry in the directory; an empty one takes it away.
func (r *reconciler) list(ctx context.Context, site *Site, entry string) error {
	key := site.Namespace + "." + site.Name
	return retry.OnError(retry.DefaultRetry, func(err error) bool { return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) }, func() error {
		all := &corev1.ConfigMap{}
		err := r.direct.Get(ctx, types.NamespacedName{Namespace: r.namespace, Name: directory}, all)
		switch {
		case apierrors.IsNotFound(err) && entry == "":
			return nil
		case apierrors.IsNotFound(err):
			all.Name, all.Namespace, all.Data = directory, r.namespace, map[string]string{key: entry}
			return r.client.Create(ctx, all)
		case err != nil:
			return err
		case all.Data[key] == entry:
			return nil
		}
		if delete(all.Data, key); entry != "" {
			if all.Data == nil {
				all.Data = map[string]string{}
			}
			all.Data[key] = entry
		}
		return r.client.Update(ctx, all)
	})
}

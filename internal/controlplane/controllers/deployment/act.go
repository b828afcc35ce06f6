package deployment

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
)

// act carries out one step: first what lets Pods start or stop, then what only tells about it.
func (c *Controller) act(ctx context.Context, d *appsv1.Deployment, a Actions) error {
	if a.Create != nil {
		if err := c.create(ctx, d, a); err != nil {
			return err
		}
	}
	for _, u := range a.Update {
		if err := c.update(ctx, d, u); err != nil {
			return err
		}
	}
	latest, err := c.writeStatus(ctx, d, a.Status)
	if err != nil || latest == nil {
		return err
	}
	if a.Revision != "" {
		next := latest.DeepCopy()
		metav1.SetMetaDataAnnotation(&next.ObjectMeta, annotationRevision, a.Revision)
		revised, err := c.client.AppsV1().Deployments(d.Namespace).Update(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%s: writing its revision: %w", named(d), err)
		}
		if err == nil {
			c.written.Note(revised)
		}
	}
	for _, rs := range a.Delete {
		err := c.client.AppsV1().ReplicaSets(rs.Namespace).Delete(ctx, rs.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &rs.UID, ResourceVersion: &rs.ResourceVersion},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("ReplicaSet %s/%s: deleting it beyond the history limit of Deployment %s: %w", rs.Namespace, rs.Name, d.Name, err)
		}
	}
	return nil
}

func (c *Controller) create(ctx context.Context, d *appsv1.Deployment, a Actions) error {
	rs := a.Create
	got, err := c.write(d, rs.Name, func() (*appsv1.ReplicaSet, error) {
		return c.client.AppsV1().ReplicaSets(rs.Namespace).Create(ctx, rs, metav1.CreateOptions{FieldManager: fieldManager})
	})
	switch {
	case err == nil:
		if n := size(got); n > 0 {
			c.events.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", describe(rs.Name, 0, n))
		}
		return nil
	case apierrors.IsAlreadyExists(err):
		return c.taken(ctx, d, rs)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return nil
	}
	c.events.Eventf(d, corev1.EventTypeWarning, reasonCreateError, "Failed to create new replica set %q: %v", rs.Name, err)
	if hasDeadline(d) {
		s := &step{Observed: Observed{Now: time.Now()}, d: d}
		s.set(&a.Status, appsv1.DeploymentCondition{
			Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: reasonCreateError,
			Message: fmt.Sprintf("Failed to create new replica set %q: %v", rs.Name, err),
		})
		if _, err := c.writeStatus(ctx, d, a.Status); err != nil {
			return err
		}
	}
	return fmt.Errorf("%s: creating ReplicaSet %s: %w", named(d), rs.Name, err)
}

// taken finds out who has the name: this Deployment's own ReplicaSet, which the cache does not show yet or which is to be adopted first, or
// another template with the same hash, in which case the collision count makes the next attempt another name.
func (c *Controller) taken(ctx context.Context, d *appsv1.Deployment, want *appsv1.ReplicaSet) error {
	got, err := c.client.AppsV1().ReplicaSets(want.Namespace).Get(ctx, want.Name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("%s: reading ReplicaSet %s, whose name it wants: %w", named(d), want.Name, err)
	}
	same := sameTemplate(&d.Spec.Template, &got.Spec.Template)
	if same && metav1.IsControlledBy(got, d) {
		c.unseen.Wrote(d.UID, got.Name, got.ResourceVersion) // its event is on the way
		return nil
	}
	if ref := metav1.GetControllerOfNoCopy(got); same && (ref == nil || (ref.Kind == Kind.Kind && ref.Name == d.Name)) {
		// An orphan, which will be adopted when the cache shows it; or the ReplicaSet of a Deployment of the same name that was deleted just now,
		// which will be deleted or orphaned soon. Either way the next event decides.
		return fmt.Errorf("%s: ReplicaSet %s exists and is not yet this Deployment's; waiting for it to be orphaned, adopted or deleted", named(d), want.Name)
	}
	next := d.DeepCopy()
	next.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
	if _, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("%s: writing its collision count: %w", named(d), err)
	}
	return fmt.Errorf("%s: the name %s is taken by a ReplicaSet of another template; another name will be tried", named(d), want.Name)
}

// write sends a write of a ReplicaSet and notes what came of it.
func (c *Controller) write(d *appsv1.Deployment, name string, send func() (*appsv1.ReplicaSet, error)) (*appsv1.ReplicaSet, error) {
	c.unseen.Writing(d.UID, name)
	rs, err := send()
	switch {
	case err == nil:
		c.unseen.Wrote(d.UID, name, rs.ResourceVersion)
	case ledger.Refused(err):
		c.unseen.Absent(d.UID, name)
	}
	return rs, err
}

// update sends the whole object with its resourceVersion, so that a decision made on a late cache is refused and made again.
func (c *Controller) update(ctx context.Context, d *appsv1.Deployment, u Update) error {
	rs := u.Set.DeepCopy()
	rs.Spec.Replicas, rs.Spec.MinReadySeconds, rs.Annotations = &u.Replicas, u.MinReadySeconds, u.Annotations
	_, err := c.write(d, rs.Name, func() (*appsv1.ReplicaSet, error) {
		return c.client.AppsV1().ReplicaSets(rs.Namespace).Update(ctx, rs, metav1.UpdateOptions{FieldManager: fieldManager})
	})
	if apierrors.IsNotFound(err) {
		return nil // deleted by somebody; its event will bring the next step
	}
	if err != nil {
		return fmt.Errorf("ReplicaSet %s/%s: scaling it to %d for Deployment %s: %w", rs.Namespace, rs.Name, u.Replicas, d.Name, err)
	}
	if from := size(u.Set); from != u.Replicas {
		c.events.Event(d, corev1.EventTypeNormal, "ScalingReplicaSet", describe(rs.Name, from, u.Replicas))
	}
	return nil
}

// writeStatus writes the status if it differs, and returns the Deployment as it is then; nil if it is gone.
func (c *Controller) writeStatus(ctx context.Context, d *appsv1.Deployment, status appsv1.DeploymentStatus) (*appsv1.Deployment, error) {
	if apiequality.Semantic.DeepEqual(d.Status, status) {
		return d, nil
	}
	next := d.DeepCopy()
	next.Status = status
	latest, err := c.client.AppsV1().Deployments(d.Namespace).UpdateStatus(ctx, next, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%s: writing its status: %w", named(d), err)
	}
	c.written.Note(latest)
	return latest, nil
}

// named is how messages call a Deployment.
func named(d *appsv1.Deployment) string { return Kind.Kind + " " + d.Namespace + "/" + d.Name }

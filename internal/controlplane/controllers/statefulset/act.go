package statefulset

import (
	"context"
	"errors"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/burst"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/verify"
)

// errTerminating ends the creating of Pods in a namespace that is being deleted; nothing will ever be created there again.
var errTerminating = errors.New("the namespace is terminating")

// act carries out a decision, up to the first step that fails. What is left is decided anew.
func (c *Controller) act(ctx context.Context, set *appsv1.StatefulSet, a Actions) error {
	for _, e := range a.Events {
		c.events.Event(set, e.Type, e.Reason, e.Message)
	}
	for _, step := range []func() error{
		func() error {
			return burst.Each(len(a.Own), func(i int) error { return c.own(ctx, set, a.Own[i]) })
		},
		func() error {
			return burst.Each(len(a.Mark), func(i int) error { return c.mark(ctx, set, a.Mark[i]) })
		},
		func() error {
			return burst.Each(len(a.Claim), func(i int) error { return c.claim(ctx, set, a.Claim[i]) })
		},
		func() error {
			return burst.Growing(len(a.Create), func(i int) error { return c.create(ctx, set, a.Create[i]) })
		},
		func() error {
			return burst.Each(len(a.Delete), func(i int) error { return c.delete(ctx, set, a.Delete[i]) })
		},
	} {
		if err := step(); errors.Is(err, errTerminating) {
			return nil
		} else if err != nil {
			return err
		}
	}
	return nil
}

// own writes a claim's owners, on top of the version they were worked out from: a claim's end hangs on them.
func (c *Controller) own(ctx context.Context, set *appsv1.StatefulSet, claim *corev1.PersistentVolumeClaim) error {
	_, err := c.client.CoreV1().PersistentVolumeClaims(set.Namespace).Update(ctx, claim, metav1.UpdateOptions{FieldManager: fieldManager})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("the StatefulSet %s/%s: writing who owns PersistentVolumeClaim %s: %w", set.Namespace, set.Name, claim.Name, err)
	}
	return nil
}

func (c *Controller) mark(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	_, err := c.client.CoreV1().Pods(set.Namespace).Update(ctx, pod, metav1.UpdateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.tell(set, corev1.EventTypeNormal, "SuccessfulUpdate", "Update Pod %s in StatefulSet %s successful", pod.Name, set.Name)
		return nil
	case apierrors.IsNotFound(err):
		return nil
	case !apierrors.IsConflict(err):
		c.tell(set, corev1.EventTypeWarning, "FailedUpdate", "Update Pod %s in StatefulSet %s failed error: %v", pod.Name, set.Name, err)
	}
	return fmt.Errorf("the StatefulSet %s/%s: labelling Pod %s: %w", set.Namespace, set.Name, pod.Name, err)
}

// claim makes a claim. One that is there already is used, whoever made it.
func (c *Controller) claim(ctx context.Context, set *appsv1.StatefulSet, n Claim) error {
	_, err := c.client.CoreV1().PersistentVolumeClaims(set.Namespace).Create(ctx, n.Claim, metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.tell(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Claim %s Pod %s in StatefulSet %s success", n.Claim.Name, n.Pod, set.Name)
		return nil
	case apierrors.IsAlreadyExists(err):
		return nil
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return errTerminating
	}
	c.tell(set, corev1.EventTypeWarning, "FailedCreate", "Create Claim %s for Pod %s in StatefulSet %s failed error: %v", n.Claim.Name, n.Pod, set.Name, err)
	return fmt.Errorf("the StatefulSet %s/%s: creating PersistentVolumeClaim %s for Pod %s: %w", set.Namespace, set.Name, n.Claim.Name, n.Pod, err)
}

func (c *Controller) create(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	c.ledger.Creating(set.UID, pod.Name)
	got, err := c.client.CoreV1().Pods(set.Namespace).Create(ctx, pod, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		var own bool
		if own, err = c.verifyCreated(ctx, set, pod.Name); own {
			return nil
		} else if err == nil {
			err = fmt.Errorf("there is a Pod of that name, which is not the StatefulSet's; delete it, or label it as its selector says and take off its controller")
		}
	} else if err == nil {
		c.ledger.Created(set.UID, pod.Name, got.ResourceVersion)
		c.tell(set, corev1.EventTypeNormal, "SuccessfulCreate", "Create Pod %s in StatefulSet %s successful", pod.Name, set.Name)
		return nil
	}
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		c.ledger.NotCreated(set.UID, pod.Name)
		return errTerminating
	case ledger.Refused(err):
		c.ledger.CreateRefused(set.UID, pod.Name)
	default:
		c.ledger.CreateUnsure(set.UID, pod.Name) // where it has been asked after, there is nothing left to be unsure of
	}
	c.tell(set, corev1.EventTypeWarning, "FailedCreate", "Create Pod %s in StatefulSet %s failed error: %v", pod.Name, set.Name, err)
	return fmt.Errorf("the StatefulSet %s/%s: creating Pod %s: %w", set.Namespace, set.Name, pod.Name, err)
}

// verifyCreated asks the API server what became of a create, and notes it.
func (c *Controller) verifyCreated(ctx context.Context, set *appsv1.StatefulSet, name string) (own bool, err error) {
	own, err = verify.Created(ctx, c.client.CoreV1().Pods(set.Namespace), &c.ledger, set, name)
	if err != nil {
		return false, fmt.Errorf("the StatefulSet %s/%s: %w", set.Namespace, set.Name, err)
	}
	return own, nil
}

func (c *Controller) delete(ctx context.Context, set *appsv1.StatefulSet, pod *corev1.Pod) error {
	c.ledger.Deleting(set.UID, ledger.Deletion{Name: pod.Name, UID: pod.UID})
	err := c.client.CoreV1().Pods(set.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &pod.UID}})
	switch {
	case err == nil:
		c.ledger.Deleted(set.UID, pod.UID)
		c.tell(set, corev1.EventTypeNormal, "SuccessfulDelete", "Delete Pod %s in StatefulSet %s successful", pod.Name, set.Name)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone already, though the cache still shows it; or it changed just then
		return c.verifyDeleted(ctx, set, ledger.Deletion{Name: pod.Name, UID: pod.UID})
	case ledger.Refused(err):
		c.ledger.DeleteRefused(set.UID, pod.UID)
	default:
		c.ledger.DeleteUnsure(set.UID, pod.UID)
	}
	c.tell(set, corev1.EventTypeWarning, "FailedDelete", "Delete Pod %s in StatefulSet %s failed error: %v", pod.Name, set.Name, err)
	return fmt.Errorf("the StatefulSet %s/%s: deleting Pod %s: %w", set.Namespace, set.Name, pod.Name, err)
}

// verifyDeleted asks the API server what became of a delete, and notes it.
func (c *Controller) verifyDeleted(ctx context.Context, set *appsv1.StatefulSet, d ledger.Deletion) error {
	if err := verify.Deleted(ctx, c.client.CoreV1().Pods(set.Namespace), &c.ledger, set.UID, d); err != nil {
		return fmt.Errorf("the StatefulSet %s/%s: %w", set.Namespace, set.Name, err)
	}
	return nil
}

func (c *Controller) tell(set *appsv1.StatefulSet, eventType, reason, format string, args ...any) {
	c.events.Eventf(set, eventType, reason, format, args...)
}

package daemonset

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

// act carries out a decision. What fails is decided anew.
func (c *Controller) act(ctx context.Context, set *appsv1.DaemonSet, hash string, a Actions) error {
	for _, e := range a.Events {
		c.events.Event(set, e.Type, e.Reason, e.Message)
	}
	for _, node := range a.Failed {
		c.backoff.failed(set.UID, node, c.clock())
	}
	// One does not hang on the other: Pods that are refused, by a quota say, must not keep others from going.
	deleted := burst.Each(len(a.Delete), func(i int) error {
		return c.delete(ctx, set, ledger.Deletion{Name: a.Delete[i].Name, UID: a.Delete[i].UID})
	})
	created := burst.Growing(len(a.Create), func(i int) error { return c.create(ctx, set, a.Create[i], hash) })
	if errors.Is(created, errTerminating) {
		created = nil
	}
	return errors.Join(deleted, created)
}

func (c *Controller) create(ctx context.Context, set *appsv1.DaemonSet, node, hash string) error {
	name := podName(set)
	c.ledger.Creating(set.UID, name)
	got, err := c.client.CoreV1().Pods(set.Namespace).Create(ctx, newPod(set, name, node, hash), metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.ledger.Created(set.UID, name, got.ResourceVersion)
		c.events.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", name)
		return nil
	case apierrors.IsAlreadyExists(err): // of somebody else: the name was made up just now
		c.ledger.NotCreated(set.UID, name)
		return fmt.Errorf("the DaemonSet %s/%s: the name %s is taken by another Pod; another name will be tried", set.Namespace, set.Name, name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		c.ledger.NotCreated(set.UID, name)
		return errTerminating
	case ledger.Refused(err):
		c.ledger.CreateRefused(set.UID, name)
	default:
		c.ledger.CreateUnsure(set.UID, name)
	}
	c.events.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	return fmt.Errorf("the DaemonSet %s/%s: creating Pod %s for node %s: %w", set.Namespace, set.Name, name, node, err)
}

// verifyCreated asks the API server what became of a create, and notes it.
func (c *Controller) verifyCreated(ctx context.Context, set *appsv1.DaemonSet, name string) (own bool, err error) {
	own, err = verify.Created(ctx, c.client.CoreV1().Pods(set.Namespace), &c.ledger, set, name)
	if err != nil {
		return false, fmt.Errorf("the DaemonSet %s/%s: %w", set.Namespace, set.Name, err)
	}
	return own, nil
}

func (c *Controller) delete(ctx context.Context, set *appsv1.DaemonSet, d ledger.Deletion) error {
	c.ledger.Deleting(set.UID, d)
	err := c.client.CoreV1().Pods(set.Namespace).Delete(ctx, d.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &d.UID}})
	switch {
	case err == nil:
		c.ledger.Deleted(set.UID, d.UID)
		c.events.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", d.Name)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err): // gone already, though the cache still shows it; or it changed just then
		return c.verifyDeleted(ctx, set, d)
	case ledger.Refused(err):
		c.ledger.DeleteRefused(set.UID, d.UID)
	default:
		c.ledger.DeleteUnsure(set.UID, d.UID)
	}
	c.events.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return fmt.Errorf("the DaemonSet %s/%s: deleting Pod %s: %w", set.Namespace, set.Name, d.Name, err)
}

// verifyDeleted asks the API server what became of a delete, and notes it.
func (c *Controller) verifyDeleted(ctx context.Context, set *appsv1.DaemonSet, d ledger.Deletion) error {
	if err := verify.Deleted(ctx, c.client.CoreV1().Pods(set.Namespace), &c.ledger, set.UID, d); err != nil {
		return fmt.Errorf("the DaemonSet %s/%s: %w", set.Namespace, set.Name, err)
	}
	return nil
}

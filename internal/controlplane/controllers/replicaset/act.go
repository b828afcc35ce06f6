package replicaset

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

// act carries out a. The Failure says what to tell the ReplicaSet's readers, the error what to retry.
func (c *Controller) act(ctx context.Context, rs *appsv1.ReplicaSet, a Actions) (*Failure, error) {
	err := c.resend(ctx, rs, a)
	if err == nil {
		err = burst.Growing(a.Create, func(int) error { return c.create(ctx, rs, podName(rs)) })
	}
	if errors.Is(err, errTerminating) {
		return nil, nil
	}
	if err != nil {
		return &Failure{Reason: "FailedCreate", Message: err.Error()}, err
	}
	err = burst.Each(len(a.Delete), func(i int) error {
		return c.remove(ctx, rs, ledger.Deletion{Name: a.Delete[i].Name, UID: a.Delete[i].UID})
	})
	if err != nil {
		return &Failure{Reason: "FailedDelete", Message: err.Error()}, err
	}
	return nil, nil
}

// resend sends again what may or may not have taken effect. A create under a name that is taken by then took effect the first time.
func (c *Controller) resend(ctx context.Context, rs *appsv1.ReplicaSet, a Actions) error {
	return errors.Join(
		burst.Each(len(a.Recreate), func(i int) error { return c.create(ctx, rs, a.Recreate[i]) }),
		burst.Each(len(a.Redelete), func(i int) error { return c.remove(ctx, rs, a.Redelete[i]) }),
		burst.Each(len(a.VerifyCreated), func(i int) error { _, err := c.verifyCreated(ctx, rs, a.VerifyCreated[i]); return err }),
		burst.Each(len(a.VerifyDeleted), func(i int) error { return c.verifyDeleted(ctx, rs, a.VerifyDeleted[i]) }),
	)
}

func (c *Controller) create(ctx context.Context, rs *appsv1.ReplicaSet, name string) error {
	c.ledger.Creating(rs.UID, name)
	pod, err := c.client.CoreV1().Pods(rs.Namespace).Create(ctx, newPod(rs, c.sets.kind(), name), metav1.CreateOptions{FieldManager: fieldManager})
	switch {
	case err == nil:
		c.ledger.Created(rs.UID, name, pod.ResourceVersion)
		c.events.Eventf(c.sets.real(rs), corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", name)
		return nil
	case apierrors.IsAlreadyExists(err):
		return c.taken(ctx, rs, name)
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		c.ledger.NotCreated(rs.UID, name)
		return errTerminating
	case ledger.Refused(err):
		c.ledger.CreateRefused(rs.UID, name)
	default:
		c.ledger.CreateUnsure(rs.UID, name)
	}
	c.events.Eventf(c.sets.real(rs), corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
	return fmt.Errorf("%s %s/%s: creating Pod %s: %w", c.sets.kind().Kind, rs.Namespace, rs.Name, name, err)
}

// taken finds out whether a Pod that already exists is the one this controller meant to create.
func (c *Controller) taken(ctx context.Context, rs *appsv1.ReplicaSet, name string) error {
	own, err := c.verifyCreated(ctx, rs, name)
	if err == nil && !own {
		err = fmt.Errorf("%s %s/%s: the name %s is taken by a Pod of another owner; another name will be tried", c.sets.kind().Kind, rs.Namespace, rs.Name, name)
	}
	return err
}

// verifyCreated asks the API server what became of a create, and notes it.
func (c *Controller) verifyCreated(ctx context.Context, rs *appsv1.ReplicaSet, name string) (own bool, err error) {
	own, err = verify.Created(ctx, c.client.CoreV1().Pods(rs.Namespace), &c.ledger, rs, name)
	if err != nil {
		return false, fmt.Errorf("%s %s/%s: %w", c.sets.kind().Kind, rs.Namespace, rs.Name, err)
	}
	return own, nil
}

// verifyDeleted asks the API server what became of a delete, and notes it.
func (c *Controller) verifyDeleted(ctx context.Context, rs *appsv1.ReplicaSet, d ledger.Deletion) error {
	if err := verify.Deleted(ctx, c.client.CoreV1().Pods(rs.Namespace), &c.ledger, rs.UID, d); err != nil {
		return fmt.Errorf("%s %s/%s: %w", c.sets.kind().Kind, rs.Namespace, rs.Name, err)
	}
	return nil
}

func (c *Controller) remove(ctx context.Context, rs *appsv1.ReplicaSet, d ledger.Deletion) error {
	c.ledger.Deleting(rs.UID, d)
	err := c.client.CoreV1().Pods(rs.Namespace).Delete(ctx, d.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &d.UID}})
	switch {
	case err == nil:
		c.ledger.Deleted(rs.UID, d.UID)
		c.events.Eventf(c.sets.real(rs), corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", d.Name)
		return nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		c.ledger.Deleted(rs.UID, d.UID) // gone already, though the cache still shows it
		return nil
	case ledger.Refused(err):
		c.ledger.DeleteRefused(rs.UID, d.UID)
	default:
		c.ledger.DeleteUnsure(rs.UID, d.UID)
	}
	c.events.Eventf(c.sets.real(rs), corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
	return fmt.Errorf("%s %s/%s: deleting Pod %s: %w", c.sets.kind().Kind, rs.Namespace, rs.Name, d.Name, err)
}

package verify

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
)

// Created says whether there is a Pod of that name that owner controls. If there is none, the create did not happen, or the name is somebody else's. While the
// API server does not say, the error names the Pod and the create stays unsure.
func Created(ctx context.Context, pods typedv1.PodInterface, l *ledger.Ledger, owner metav1.Object, name string) (own bool, err error) {
	pod, err := pods.Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil && metav1.IsControlledBy(pod, owner):
		l.Created(owner.GetUID(), name, pod.ResourceVersion)
		return true, nil
	case err == nil, apierrors.IsNotFound(err):
		l.NotCreated(owner.GetUID(), name)
		return false, nil
	}
	l.CreateUnsure(owner.GetUID(), name)
	return false, fmt.Errorf("reading Pod %s: %w", name, err)
}

// Deleted finds out whether the Pod is gone or going. While the API server does not say, the error names the Pod and the delete stays unsure.
func Deleted(ctx context.Context, pods typedv1.PodInterface, l *ledger.Ledger, owner types.UID, d ledger.Deletion) error {
	pod, err := pods.Get(ctx, d.Name, metav1.GetOptions{})
	switch {
	case err == nil && pod.UID == d.UID && pod.DeletionTimestamp == nil:
		l.NotDeleted(owner, d.UID)
	case err == nil, apierrors.IsNotFound(err):
		l.Deleted(owner, d.UID)
	default:
		l.DeleteUnsure(owner, d.UID)
		return fmt.Errorf("reading Pod %s: %w", d.Name, err)
	}
	return nil
}

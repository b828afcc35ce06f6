package register

import (
	"context"
	"log/slog"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"
)

// The Lease of a node: renewed every 10 s, void after 40 (KEP-589).
const (
	LeaseSeconds = 40
	renewEvery   = 10 * time.Second
	renewRetry   = time.Second
)

// RenewLease keeps the node's Lease renewed until ctx ends. current gives the Node that owns it, which is another one once it was deleted and made anew.
func RenewLease(ctx context.Context, c kubernetes.Interface, current func() *v1.Node) {
	leases := c.CoordinationV1().Leases(v1.NamespaceNodeLease)
	var have *coordinationv1.Lease
	failing := false
	for {
		err := func() (err error) {
			ctx, cancel := context.WithTimeout(ctx, renewEvery)
			defer cancel()
			node := current()
			if have == nil {
				have, err = leases.Get(ctx, node.Name, metav1.GetOptions{})
				if apierrors.IsNotFound(err) {
					have, err = leases.Create(ctx, &coordinationv1.Lease{
						ObjectMeta: metav1.ObjectMeta{Name: node.Name, Namespace: v1.NamespaceNodeLease, OwnerReferences: []metav1.OwnerReference{
							{APIVersion: "v1", Kind: "Node", Name: node.Name, UID: node.UID},
						}},
						Spec: renewed(node.Name),
					}, metav1.CreateOptions{})
					return err
				}
				if err != nil {
					have = nil
					return err
				}
			}
			next := have.DeepCopy()
			next.Spec = renewed(node.Name)
			have, err = leases.Update(ctx, next, metav1.UpdateOptions{})
			if err != nil {
				have = nil // changed or deleted by somebody: read it anew
			}
			return err
		}()
		pause := renewEvery
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if !failing {
				slog.Warn("renewing this node's lease failed; Pods go on running, but the cluster will hold the node for lost", "err", err)
			}
			pause = renewRetry
		} else if failing {
			slog.Info("this node's lease is renewed again")
		}
		failing = err != nil
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

func renewed(holder string) coordinationv1.LeaseSpec {
	return coordinationv1.LeaseSpec{
		HolderIdentity: ptr.To(holder), LeaseDurationSeconds: ptr.To[int32](LeaseSeconds), RenewTime: &metav1.MicroTime{Time: time.Now()},
	}
}

package server

import (
	"context"
	"errors"
	"fmt"

	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// systemPriorityClasses are above everything that users can make (their values are Kubernetes' own): the cluster's own Pods are the last to be evicted.
var systemPriorityClasses = []schedulingv1.PriorityClass{
	{
		ObjectMeta: metav1.ObjectMeta{Name: "system-node-critical"}, Value: 2_000_001_000,
		Description: "Used for system critical pods that must not be moved from their current node.",
	},
	{
		ObjectMeta: metav1.ObjectMeta{Name: "system-cluster-critical"}, Value: 2_000_000_000,
		Description: "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
	},
}

func ensurePriorityClasses(ctx context.Context, client kubernetes.Interface) error {
	var errs []error
	for i := range systemPriorityClasses {
		_, err := client.SchedulingV1().PriorityClasses().Create(ctx, &systemPriorityClasses[i], metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) && ctx.Err() == nil {
			errs = append(errs, fmt.Errorf("PriorityClass %s: %w", systemPriorityClasses[i].Name, err))
		}
	}
	return errors.Join(errs...)
}

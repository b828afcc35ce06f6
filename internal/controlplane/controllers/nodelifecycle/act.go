package nodelifecycle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// act carries out a: first what stops traffic, then what stops Pods.
func (c *Controller) act(ctx context.Context, n *corev1.Node, a Actions) error {
	var errs []error
	version := n.ResourceVersion
	if len(a.Conditions) > 0 {
		next, err := c.patchNode(ctx, n, version, map[string]any{"status": map[string]any{"conditions": a.Conditions}}, "status")
		if err != nil {
			return fmt.Errorf("writing that Node %s is silent: %w", n.Name, err)
		}
		version = next.ResourceVersion
		c.events.Event(n, corev1.EventTypeNormal, "NodeNotReady", fmt.Sprintf("Node %s status is now: NodeNotReady", n.Name))
	}
	for _, p := range a.NotReady {
		errs = append(errs, c.markNotReady(ctx, p))
	}
	if a.WriteTaints {
		if _, err := c.patchNode(ctx, n, version, map[string]any{"spec": map[string]any{"taints": a.Taints}}); err != nil {
			errs = append(errs, fmt.Errorf("writing the taints of Node %s: %w", n.Name, err))
			return errors.Join(errs...) // no Pod is evicted for a taint that is not there
		}
	}
	for _, p := range a.Evict {
		errs = append(errs, c.evict(ctx, n, p))
	}
	return errors.Join(errs...)
}

// patchNode carries the version the decision was made on: what the node itself has written meanwhile must not be overwritten.
func (c *Controller) patchNode(ctx context.Context, n *corev1.Node, version string, change map[string]any, sub ...string) (*corev1.Node, error) {
	change["metadata"] = map[string]any{"uid": n.UID, "resourceVersion": version}
	patch, err := json.Marshal(change)
	if err != nil {
		return nil, err
	}
	return c.client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, sub...)
}

// markNotReady takes a Pod out of its Services. The node sets it right when it is back.
func (c *Controller) markNotReady(ctx context.Context, p *corev1.Pod) error {
	err := c.patchCondition(ctx, p, corev1.PodCondition{
		Type: corev1.PodReady, Status: corev1.ConditionFalse, LastTransitionTime: metav1.Now(),
		Reason: "NodeNotReady", Message: fmt.Sprintf("node %s is silent", p.Spec.NodeName),
	})
	if err != nil {
		return fmt.Errorf("marking Pod %s/%s not ready: %w", p.Namespace, p.Name, err)
	}
	c.events.Event(p, corev1.EventTypeWarning, "NodeNotReady", "Node is not ready")
	return nil
}

func (c *Controller) evict(ctx context.Context, n *corev1.Node, p *corev1.Pod) error {
	c.events.Eventf(p, corev1.EventTypeNormal, "TaintManagerEviction", "Marking for deletion Pod %s/%s", p.Namespace, p.Name)
	if podstate.Condition(p, corev1.DisruptionTarget) == nil {
		err := c.patchCondition(ctx, p, corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now(),
			Reason: "DeletionByTaintManager", Message: fmt.Sprintf("deleting due to a NoExecute taint of node %s", n.Name),
		})
		if err != nil {
			return fmt.Errorf("noting why Pod %s/%s is evicted: %w", p.Namespace, p.Name, err)
		}
	}
	err := c.client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &p.UID}})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return fmt.Errorf("evicting Pod %s/%s from node %s: %w", p.Namespace, p.Name, n.Name, err)
	}
	return nil
}

func (c *Controller) patchCondition(ctx context.Context, p *corev1.Pod, cond corev1.PodCondition) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": p.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{cond}},
	})
	if err != nil {
		return err
	}
	_, err = c.client.CoreV1().Pods(p.Namespace).Patch(ctx, p.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil // it is gone
	}
	return err
}

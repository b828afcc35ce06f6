package scheduler

import (
	"context"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// evict deletes a Pod to make room for another, with its own grace period. If it cannot be deleted it keeps its place, and the Pod that wanted it is looked
// at again.
func (s *Scheduler) evict(ctx context.Context, victim, preemptor *corev1.Pod, node string) {
	err := s.announceAndDelete(ctx, victim, preemptor, node)
	if err == nil || ctx.Err() != nil {
		return
	}
	slog.Warn("a Pod could not be deleted to make room for one of higher priority; another way is looked for",
		"pod", victim.Namespace+"/"+victim.Name, "for", preemptor.Namespace+"/"+preemptor.Name, "node", node, "err", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snap.Spare(victim.UID)
	s.queue.Activate(preemptor.UID, time.Now())
	s.signal()
}

func (s *Scheduler) announceAndDelete(ctx context.Context, victim, preemptor *corev1.Pod, node string) error {
	if victim.DeletionTimestamp == nil {
		// Controllers tell by this condition that the Pod has not failed by itself (KEP-3329).
		err := s.patchStatus(ctx, victim, map[string]any{"conditions": []any{map[string]any{
			"type":               corev1.DisruptionTarget,
			"status":             corev1.ConditionTrue,
			"reason":             corev1.PodReasonPreemptionByScheduler,
			"message":            preemptor.Spec.SchedulerName + ": preempting to accommodate a higher priority pod",
			"lastTransitionTime": metav1.Now(),
			"observedGeneration": victim.Generation,
		}}})
		if gone(err) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	err := s.client.CoreV1().Pods(victim.Namespace).Delete(ctx, victim.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &victim.UID}})
	if gone(err) {
		return nil
	}
	if err == nil {
		s.events.Eventf(victim, corev1.EventTypeNormal, "Preempted", "Preempted by pod %s on node %s", preemptor.UID, node)
	}
	return err
}

// gone says that the Pod is there no more, or another one of its name is.
func gone(err error) bool { return apierrors.IsNotFound(err) || apierrors.IsConflict(err) }

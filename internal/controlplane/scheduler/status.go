package scheduler

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/plugins"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/queue"
	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// bind tells the API server which node was chosen.
func (s *Scheduler) bind(ctx context.Context, e *queue.Entry, pod *corev1.Pod, node string) {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	// A call of unknown outcome is sent again for the same node, and only that one: the Pod may already be there.
	err := retry.OnError(retry.DefaultBackoff, func(err error) bool { return !ledger.Refused(err) && ctx.Err() == nil }, func() error {
		return s.client.CoreV1().Pods(pod.Namespace).Bind(ctx, binding, metav1.CreateOptions{FieldManager: fieldManager})
	})
	if err == nil {
		bound(e, pod.Spec.SchedulerName)
		s.events.Eventf(pod, corev1.EventTypeNormal, "Scheduled", "Successfully assigned %s/%s to %s", pod.Namespace, pod.Name, node)
		return
	}
	if ctx.Err() != nil {
		return
	}
	log := slog.With("pod", pod.Namespace+"/"+pod.Name, "node", node)
	live, getErr := s.client.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(getErr), getErr == nil && live.UID != pod.UID:
		log.Debug("the Pod was deleted while it was being bound")
		s.undo(e, pod.UID, nil)
	case getErr == nil && live.Spec.NodeName != "":
		log.Debug("the Pod was bound already", "to", live.Spec.NodeName, "err", err)
		s.podPlaced(live)
	default:
		if getErr != nil {
			live = pod
		}
		attempted(e, pod.Spec.SchedulerName, failed)
		log.Warn("binding failed, the Pod will be looked at again", "err", err)
		s.events.Eventf(pod, corev1.EventTypeWarning, "FailedScheduling", "Binding to %s failed: %v", node, err)
		s.undo(e, pod.UID, live)
	}
}

// undo takes an assumed Pod off its node, and lets it be looked at again as again; nil if it is gone.
func (s *Scheduler) undo(e *queue.Entry, uid types.UID, again *corev1.Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, assumed, ok := s.snap.Placed(uid); !ok || !assumed {
		return // an event was faster: it is gone, or it is bound after all
	}
	now := time.Now()
	if p, n := s.snap.Remove(uid); n != nil {
		s.helped(plugins.Event{Change: plugins.PodGone, Node: n, Pod: p}, now)
	}
	if again != nil && again.DeletionTimestamp == nil {
		e.Pod = snapshot.NewPod(again)
		s.queue.Retry(e, now)
	}
	s.signal()
}

// pending is what is to be written on a Pod that waits.
type pending struct {
	pod       *corev1.Pod
	message   string // why; "" to leave what is written there
	nominated string // the node on which room is promised; "" for none
	withdrawn bool   // what was promised before is not any more
}

// reportPending writes on the Pod why it waits and where room is being made for it, and as an Event. A Pod that says so already is left alone.
func (s *Scheduler) reportPending(ctx context.Context, r pending) {
	pod, status := r.pod, map[string]any{}
	c := podstate.Condition(pod, corev1.PodScheduled)
	if r.message != "" && (c == nil || c.Status != corev1.ConditionFalse || c.Reason != corev1.PodReasonUnschedulable || c.Message != r.message) {
		s.events.Event(pod, corev1.EventTypeWarning, "FailedScheduling", r.message)
		status["conditions"] = []any{map[string]any{
			"type":               corev1.PodScheduled,
			"status":             corev1.ConditionFalse,
			"reason":             corev1.PodReasonUnschedulable,
			"message":            r.message,
			"lastTransitionTime": transition(pod),
			"observedGeneration": pod.Generation,
		}}
	}
	if r.nominated != pod.Status.NominatedNodeName || r.withdrawn {
		status["nominatedNodeName"] = nullable(r.nominated)
	}
	if len(status) == 0 {
		return
	}
	err := s.patchStatus(ctx, pod, status)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		slog.Warn("writing why a Pod waits failed", "pod", pod.Namespace+"/"+pod.Name, "err", err)
	}
}

// nullable is s, or null, which takes the field away.
func nullable(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func (s *Scheduler) patchStatus(ctx context.Context, pod *corev1.Pod, status map[string]any) error {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": pod.UID}, "status": status})
	if err != nil {
		return fmt.Errorf("encoding the status of Pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	_, err = s.client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}, "status")
	return err
}

// transition keeps the time since when the Pod has been waiting for a node, however often the message changes: a scheduler that starts goes by it. The time that its gates took is none of that.
func transition(pod *corev1.Pod) metav1.Time {
	if c := podstate.Condition(pod, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
		return c.LastTransitionTime
	}
	return metav1.Now()
}

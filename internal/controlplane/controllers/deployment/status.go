package deployment

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Reasons of conditions, as kubectl rollout status, kstatus and dashboards know them.
const (
	reasonAvailable        = "MinimumReplicasAvailable"
	reasonUnavailable      = "MinimumReplicasUnavailable"
	reasonCreated          = "NewReplicaSetCreated"
	reasonFound            = "FoundNewReplicaSet"
	reasonUpdated          = "ReplicaSetUpdated"
	reasonComplete         = "NewReplicaSetAvailable"
	reasonDeadlineExceeded = "ProgressDeadlineExceeded"
	reasonCreateError      = "ReplicaSetCreateError"
	reasonPaused           = "DeploymentPaused"
	reasonResumed          = "DeploymentResumed"
)

// status is what the ReplicaSets, as observed before this step, amount to; and when the progress deadline has to be looked at again.
func (s *step) status() (appsv1.DeploymentStatus, time.Duration) {
	st := appsv1.DeploymentStatus{
		ObservedGeneration:  s.d.Generation,
		CollisionCount:      s.d.Status.CollisionCount,
		TerminatingReplicas: ptr.To[int32](0),
		Conditions:          slices.Clone(s.d.Status.Conditions),
	}
	var wanted int32
	for _, rs := range s.before {
		wanted += size(rs)
		st.Replicas += rs.Status.Replicas
		st.ReadyReplicas += rs.Status.ReadyReplicas
		st.AvailableReplicas += rs.Status.AvailableReplicas
		*st.TerminatingReplicas += ptr.Deref(rs.Status.TerminatingReplicas, 0)
	}
	st.UnavailableReplicas = max(0, max(wanted, s.desired())-st.AvailableReplicas)
	if s.current != nil && !s.create {
		st.UpdatedReplicas = s.before[s.current.UID].Status.Replicas
	}
	s.availableCondition(&st)
	s.failureCondition(&st)
	return st, s.progressingCondition(&st)
}

func (s *step) availableCondition(st *appsv1.DeploymentStatus) {
	c := appsv1.DeploymentCondition{
		Type: appsv1.DeploymentAvailable, Status: corev1.ConditionFalse,
		Reason: reasonUnavailable, Message: "Deployment does not have minimum availability.",
	}
	if st.AvailableReplicas >= s.desired()-maxUnavailable(s.d) {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, reasonAvailable, "Deployment has minimum availability."
	}
	s.set(st, c)
}

// failureCondition repeats what a ReplicaSet says about not being able to create Pods: the current one's word, or else any other's.
func (s *step) failureCondition(st *appsv1.DeploymentStatus) {
	sets := s.all()
	slices.Reverse(sets)
	for _, rs := range sets {
		for _, c := range rs.Status.Conditions {
			if c.Type == appsv1.ReplicaSetReplicaFailure {
				s.set(st, appsv1.DeploymentCondition{Type: appsv1.DeploymentReplicaFailure, Status: c.Status, Reason: c.Reason, Message: c.Message})
				return
			}
		}
	}
	remove(st, appsv1.DeploymentReplicaFailure)
}

func (s *step) progressingCondition(st *appsv1.DeploymentStatus) time.Duration {
	if !hasDeadline(s.d) {
		remove(st, appsv1.DeploymentProgressing)
		return 0
	}
	was := condition(s.d.Status, appsv1.DeploymentProgressing)
	c := appsv1.DeploymentCondition{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionTrue}
	subject := fmt.Sprintf("Deployment %q", s.d.Name)
	if s.current != nil {
		subject = fmt.Sprintf("ReplicaSet %q", s.current.Name)
	}
	timedOut := was != nil && was.Reason == reasonDeadlineExceeded
	switch {
	case s.d.DeletionTimestamp != nil:
		return 0
	case s.d.Spec.Paused:
		if timedOut {
			return 0 // that it failed is worth more than that it is paused
		}
		c.Status, c.Reason, c.Message = corev1.ConditionUnknown, reasonPaused, "Deployment is paused"
	case was != nil && was.Reason == reasonPaused:
		c.Status, c.Reason, c.Message = corev1.ConditionUnknown, reasonResumed, "Deployment is resumed"
	case s.create:
		c.Reason, c.Message = reasonCreated, fmt.Sprintf("Created new replica set %q", s.current.Name)
	case complete(s.d, *st):
		c.Reason, c.Message = reasonComplete, subject+" has successfully progressed."
	case s.progressed(*st):
		c.Reason, c.Message = reasonUpdated, subject+" is progressing."
		s.renew(st, c)
		return s.untilDeadline(st)
	case was != nil && was.Reason == reasonComplete && steady(*st), timedOut:
		return 0
	case s.current != nil && (was == nil || was.Reason == reasonComplete):
		// A rollout towards a ReplicaSet that exists, as after a rollback; its time starts now, not when the last one ended.
		c.Reason, c.Message = reasonFound, fmt.Sprintf("Found new replica set %q", s.current.Name)
	case was == nil:
		return 0
	case s.untilDeadline(st) > 0:
		return s.untilDeadline(st)
	default:
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, reasonDeadlineExceeded, subject+" has timed out progressing."
	}
	s.set(st, c)
	if c.Reason == reasonComplete || c.Reason == reasonPaused || c.Reason == reasonDeadlineExceeded {
		return 0
	}
	return s.untilDeadline(st)
}

// complete says that every Pod is of the present template and available, and none is left of an older one.
func complete(d *appsv1.Deployment, st appsv1.DeploymentStatus) bool {
	n := ptr.Deref(d.Spec.Replicas, 1)
	return st.UpdatedReplicas == n && st.Replicas == n && st.AvailableReplicas == n && st.ObservedGeneration >= d.Generation
}

// steady says that a finished rollout is still finished, though Pods of it may be unavailable for now: losing a Pod starts no deadline.
func steady(st appsv1.DeploymentStatus) bool { return st.Replicas == st.UpdatedReplicas }

func (s *step) progressed(st appsv1.DeploymentStatus) bool {
	was := s.d.Status
	return st.UpdatedReplicas > was.UpdatedReplicas ||
		st.Replicas-st.UpdatedReplicas < was.Replicas-was.UpdatedReplicas ||
		st.ReadyReplicas > was.ReadyReplicas ||
		st.AvailableReplicas > was.AvailableReplicas
}

// untilDeadline is the time left for the next sign of progress, and 0 once it is over. A second is added because conditions hold whole seconds.
func (s *step) untilDeadline(st *appsv1.DeploymentStatus) time.Duration {
	c := condition(*st, appsv1.DeploymentProgressing)
	if c == nil {
		return 0
	}
	deadline := time.Duration(*s.d.Spec.ProgressDeadlineSeconds)*time.Second + time.Second
	return max(0, c.LastUpdateTime.Add(deadline).Sub(s.Now))
}

func condition(st appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) *appsv1.DeploymentCondition {
	for i := range st.Conditions {
		if st.Conditions[i].Type == t {
			return &st.Conditions[i]
		}
	}
	return nil
}

// set puts c into st. One that says the same as before keeps its times, so that nothing is written only because time has passed.
func (s *step) set(st *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	if was := condition(*st, c.Type); was != nil && was.Status == c.Status && was.Reason == c.Reason {
		return
	}
	s.renew(st, c)
}

// renew puts c into st with the time of now, also when it only repeats what was said: the progress deadline counts from there.
func (s *step) renew(st *appsv1.DeploymentStatus, c appsv1.DeploymentCondition) {
	c.LastUpdateTime, c.LastTransitionTime = metav1.NewTime(s.Now), metav1.NewTime(s.Now)
	if was := condition(*st, c.Type); was != nil {
		if was.Status == c.Status {
			c.LastTransitionTime = was.LastTransitionTime
		}
		*was = c
		return
	}
	st.Conditions = append(st.Conditions, c)
}

func remove(st *appsv1.DeploymentStatus, t appsv1.DeploymentConditionType) {
	st.Conditions = slices.DeleteFunc(st.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == t })
}

package registry

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	budget "k8s.io/component-helpers/apps/poddisruptionbudget"
)

const (
	// maxDisruptedPods is how many evictions may wait for the controller to see them, before it is clear that it does not look.
	maxDisruptedPods = 2000
	// retryBudget is after how many seconds a client is asked to try again where the controller is a moment behind.
	retryBudget = 10
)

// takeDisruption takes one disruption from a budget for a Pod, or says why there is none. Clients such as `kubectl drain` wait and try again on 429 and give up on 403.
func takeDisruption(pdb *policyv1.PodDisruptionBudget, pod string, now time.Time) error {
	s := &pdb.Status
	switch {
	case s.ObservedGeneration < pdb.Generation:
		return tooManyDisruptions(retryBudget, fmt.Sprintf("The disruption budget %s is still being processed by the server.", pdb.Name))
	case s.DisruptionsAllowed < 0:
		return noDisruptions(pdb, "pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(s.DisruptedPods) > maxDisruptedPods:
		return noDisruptions(pdb, "DisruptedPods map too big - too many evictions not confirmed by PDB controller", "too many pending evictions not confirmed by PDB controller")
	case s.DisruptionsAllowed == 0:
		return tooManyDisruptions(0, whyNone(pdb))
	}
	s.DisruptionsAllowed--
	if s.DisruptionsAllowed == 0 {
		budget.UpdateDisruptionAllowedCondition(pdb)
	}
	if s.DisruptedPods == nil {
		s.DisruptedPods = map[string]metav1.Time{}
	}
	s.DisruptedPods[pod] = metav1.NewTime(now)
	return nil
}

func whyNone(pdb *policyv1.PodDisruptionBudget) string {
	s := &pdb.Status
	c := meta.FindStatusCondition(s.Conditions, policyv1.DisruptionAllowedCondition)
	said := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case said && c.Reason == policyv1.SyncFailedReason: // the numbers are those of before
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", pdb.Name, c.Message)
	case s.CurrentHealthy <= s.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", pdb.Name, s.DesiredHealthy, s.CurrentHealthy)
	case said:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", pdb.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", pdb.Name)
}

func tooManyDisruptions(retryAfter int, why string) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", retryAfter)
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: why})
	return err
}

func noDisruptions(pdb *policyv1.PodDisruptionBudget, short, why string) error {
	err := apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), pdb.Name, fmt.Errorf("%s", short))
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{
		Type: policyv1.DisruptionBudgetCause, Message: fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", pdb.Name, why),
	})
	return err
}

// setDisruptionTarget says that a Pod is about to be disrupted, and by whom.
func setDisruptionTarget(pod *corev1.Pod) {
	c := corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		LastTransitionTime: metav1.Now(), ObservedGeneration: pod.Generation,
	}
	for i, old := range pod.Status.Conditions {
		if old.Type == c.Type {
			if old.Status == c.Status {
				c.LastTransitionTime = old.LastTransitionTime
			}
			pod.Status.Conditions[i] = c
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}

package poddisruptionbudget

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// deletionTimeout is how long an evicted Pod may take to be seen as being deleted; after that it is taken to stay.
const deletionTimeout = 2 * time.Minute

// Observed is everything a decision rests on.
type Observed struct {
	PDB  *policyv1.PodDisruptionBudget
	Pods []*corev1.Pod // all that the budget selects
	// Scale is how many Pods the workloads that own Pods are to have, all together; it is looked up only where CountsOwners says so. Unmanaged are Pods that no
	// workload owns.
	Scale     int
	Unmanaged []string
	Now       time.Time
}

// Verdict is what is to be reported.
type Verdict struct {
	Status policyv1.PodDisruptionBudgetStatus
	Events []Event
	// Recheck is the time until an evicted Pod that is still there is given up; zero for none.
	Recheck time.Duration
}

// Event tells readers what happened. Pod names the one it is about; empty: the budget.
type Event struct {
	Pod                   string
	Type, Reason, Message string
}

// CountsOwners says that a budget is a share of what its Pods' workloads ask for, not of the Pods that happen to be there.
func CountsOwners(pdb *policyv1.PodDisruptionBudget) bool {
	return pdb.Spec.MaxUnavailable != nil || pdb.Spec.MinAvailable != nil && pdb.Spec.MinAvailable.Type == intstr.String
}

// Decide works out the status. The error is about a budget that cannot be read; it allows nothing then.
func Decide(o Observed) (Verdict, error) {
	expected, desired, err := numbers(o)
	if err != nil {
		return Verdict{}, err
	}
	var v Verdict
	disrupted := v.disrupted(o)
	healthy := 0
	for _, p := range o.Pods {
		if _, going := disrupted[p.Name]; !going && p.DeletionTimestamp == nil && podstate.Ready(p) {
			healthy++
		}
	}
	allowed := max(0, healthy-desired)
	if expected == 0 {
		allowed = 0 // the first Pods may come at any moment, and be seen by an eviction before they are by this controller
	}
	old := &o.PDB.Status
	v.Status = policyv1.PodDisruptionBudgetStatus{
		ObservedGeneration: o.PDB.Generation, DisruptedPods: disrupted, DisruptionsAllowed: int32(allowed), CurrentHealthy: int32(healthy),
		DesiredHealthy: int32(desired), ExpectedPods: int32(expected), Conditions: slices.Clone(old.Conditions),
	}
	reason, status := policyv1.InsufficientPodsReason, metav1.ConditionFalse
	if allowed > 0 {
		reason, status = policyv1.SufficientPodsReason, metav1.ConditionTrue
	}
	v.condition(o, status, reason, "")
	// Told when it begins, not with every Pod that comes or goes.
	if began := old.ObservedGeneration != o.PDB.Generation; len(o.Pods) == 0 && (began || old.ExpectedPods > 0) {
		v.Events = append(v.Events, Event{"", corev1.EventTypeNormal, "NoPods", "No matching pods found"})
	} else if len(o.Unmanaged) > 0 && (began || old.ExpectedPods != v.Status.ExpectedPods || old.CurrentHealthy != v.Status.CurrentHealthy) {
		v.Events = append(v.Events, Event{"", corev1.EventTypeWarning, "UnmanagedPods", fmt.Sprintf("Pods selected by this PodDisruptionBudget (selector: %v) were found "+
			"to be unmanaged: %v. As a result, the status of the PDB cannot be calculated correctly, which may result in undefined behavior. "+
			"To account for these pods please set \".spec.minAvailable\" field of the PDB to an integer value.", metav1.FormatLabelSelector(o.PDB.Spec.Selector), o.Unmanaged)})
	}
	return v, nil
}

// Failed is the status of a budget that could not be worked out: what was known stays, and nothing is allowed.
func Failed(o Observed, err error) Verdict {
	v := Verdict{Status: *o.PDB.Status.DeepCopy()}
	v.Status.DisruptionsAllowed = 0
	v.condition(o, metav1.ConditionFalse, policyv1.SyncFailedReason, err.Error())
	return v
}

func (v *Verdict) condition(o Observed, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&v.Status.Conditions, metav1.Condition{
		Type: policyv1.DisruptionAllowedCondition, Status: status, Reason: reason, Message: message,
		ObservedGeneration: v.Status.ObservedGeneration, LastTransitionTime: metav1.NewTime(o.Now),
	})
}

// numbers are how many Pods there should be, and how many of them have to be healthy. Shares are rounded up, as the API documents it for both fields.
func numbers(o Observed) (expected, desired int, err error) {
	spec := &o.PDB.Spec
	expected = len(o.Pods)
	if CountsOwners(o.PDB) {
		expected = o.Scale
	}
	switch {
	case spec.MaxUnavailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MaxUnavailable, expected, true)
		if err != nil {
			return 0, 0, fmt.Errorf("spec.maxUnavailable %q is neither a number nor a percentage: %w", spec.MaxUnavailable, err)
		}
		return expected, max(0, expected-n), nil
	case spec.MinAvailable != nil:
		n, err := intstr.GetScaledValueFromIntOrPercent(spec.MinAvailable, expected, true)
		if err != nil {
			return 0, 0, fmt.Errorf("spec.minAvailable %q is neither a number nor a percentage: %w", spec.MinAvailable, err)
		}
		return expected, n, nil
	}
	return 0, 0, nil // a budget that says nothing protects nothing, and allows nothing
}

// disrupted are the Pods that the API server has agreed to evict and that are not seen to go yet.
func (v *Verdict) disrupted(o Observed) map[string]metav1.Time {
	out := map[string]metav1.Time{}
	for _, p := range o.Pods {
		at, ok := o.PDB.Status.DisruptedPods[p.Name]
		if !ok || p.DeletionTimestamp != nil || p.CreationTimestamp.After(at.Time) { // gone, going, or another of the same name
			continue
		}
		left := at.Add(deletionTimeout).Sub(o.Now)
		if left <= 0 {
			v.Events = append(v.Events, Event{p.Name, corev1.EventTypeWarning, "NotDeleted", fmt.Sprintf("Pod was expected by PDB %s/%s to be deleted but it wasn't", o.PDB.Namespace, o.PDB.Name)})
			continue
		}
		out[p.Name] = at
		if v.Recheck == 0 || left < v.Recheck {
			v.Recheck = left
		}
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// stale says in how long the condition that announces a Pod's disruption is to be taken back: nobody has deleted the Pod. What the node announces about
// its own Pods may take as long as it wants.
func stale(p *corev1.Pod, now time.Time) (left time.Duration, ok bool) {
	c := podstate.Condition(p, corev1.DisruptionTarget)
	if c == nil || c.Status != corev1.ConditionTrue || c.Reason == corev1.PodReasonTerminationByKubelet || p.DeletionTimestamp != nil || podstate.Finished(p) {
		return 0, false
	}
	return max(0, c.LastTransitionTime.Add(deletionTimeout).Sub(now)), true
}

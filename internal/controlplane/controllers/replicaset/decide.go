package replicaset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/podstate"
)

// Observed is everything a decision rests on.
type Observed struct {
	ReplicaSet *appsv1.ReplicaSet
	Pods       []*corev1.Pod  // all Pods the ReplicaSet owns
	Open       ledger.Open    // writes that Pods does not show yet
	Neighbours map[string]int // per node: active Pods of all ReplicaSets of the same owner, this one included
	Now        time.Time
}

// Actions is what is to be done now. Writes of unknown outcome are sent again while all of them are wanted; otherwise it is only found out what became of
// them.
type Actions struct {
	Create        int           // number of Pods to create
	Delete        []*corev1.Pod // Pods to delete
	Recreate      []string      // creates of unknown outcome to send again, under the same names
	Redelete      []ledger.Deletion
	VerifyCreated []string
	VerifyDeleted []ledger.Deletion
}

// Decide chooses how many Pods to create or which to delete.
//
// While Pods just created are not in the cache yet, none is deleted: the best ones to delete, the newest, would not be among the candidates.
func Decide(o Observed) Actions {
	if o.ReplicaSet.DeletionTimestamp != nil {
		return Actions{}
	}
	active := activePods(o)
	desired := int(ptr.Deref(o.ReplicaSet.Spec.Replicas, 1))
	have := len(active) + o.Open.Creating
	missing, excess := max(0, desired-have), max(0, have-desired)

	var a Actions
	// Of several, one that is not wanted any more may have happened in the place of one that is; and of a create and a delete one may have happened and the
	// other not. Then all are asked after, and none is sent again.
	both := len(o.Open.Recreate) > 0 && len(o.Open.Redelete) > 0
	if excess > 0 || both {
		a.VerifyCreated = o.Open.Recreate
	} else {
		a.Recreate = o.Open.Recreate
	}
	if missing > 0 || both {
		a.VerifyDeleted = o.Open.Redelete
	} else {
		a.Redelete = o.Open.Redelete
	}
	// A Pod whose deletion may have failed may be one that need not be created.
	a.Create = max(0, missing-len(a.VerifyDeleted))
	if excess > 0 && o.Open.Creating == 0 {
		a.Delete = rank(active, o.Neighbours, o.Now)[:excess]
	}
	return a
}

// activePods leaves out Pods whose deletion has been asked for, whether the cache shows it or not.
func activePods(o Observed) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range o.Pods {
		if podstate.Active(p) && !o.Open.Deleting.Has(p.UID) {
			out = append(out, p)
		}
	}
	return out
}

// Failure is why the last create or delete did not succeed.
type Failure struct {
	Reason  string // FailedCreate or FailedDelete
	Message string
}

// NextStatus is the status that the observed Pods call for, and, where a ready Pod is not yet available, the time until it will be.
func NextStatus(o Observed, failure *Failure) (appsv1.ReplicaSetStatus, time.Duration) {
	rs := o.ReplicaSet
	s := appsv1.ReplicaSetStatus{ObservedGeneration: rs.Generation, TerminatingReplicas: ptr.To[int32](0)}
	template := labels.SelectorFromSet(rs.Spec.Template.Labels)
	minReady := time.Duration(rs.Spec.MinReadySeconds) * time.Second
	var recheck time.Duration
	for _, p := range o.Pods {
		if podstate.Terminating(p) {
			*s.TerminatingReplicas++
		}
		if !podstate.Active(p) {
			continue
		}
		s.Replicas++
		if template.Matches(labels.Set(p.Labels)) {
			s.FullyLabeledReplicas++
		}
		if podstate.Ready(p) {
			s.ReadyReplicas++
		}
		available, left := podstate.Available(p, minReady, o.Now)
		if available {
			s.AvailableReplicas++
		} else if left > 0 && (recheck == 0 || left < recheck) {
			recheck = left
		}
	}
	s.Conditions = conditions(rs.Status.Conditions, failure, o.Now)
	return s, recheck
}

// conditions sets or removes ReplicaFailure and keeps every other condition.
func conditions(old []appsv1.ReplicaSetCondition, failure *Failure, now time.Time) []appsv1.ReplicaSetCondition {
	var out []appsv1.ReplicaSetCondition
	for _, c := range old {
		if c.Type != appsv1.ReplicaSetReplicaFailure {
			out = append(out, c)
			continue
		}
		// The first failure's text and time stay: a message that changes with every attempt would be a write with every attempt.
		if failure != nil && c.Status == corev1.ConditionTrue && c.Reason == failure.Reason {
			out = append(out, c)
			failure = nil
		}
	}
	if failure != nil {
		out = append(out, appsv1.ReplicaSetCondition{
			Type:               appsv1.ReplicaSetReplicaFailure,
			Status:             corev1.ConditionTrue,
			LastTransitionTime: metav1.NewTime(now),
			Reason:             failure.Reason,
			Message:            failure.Message,
		})
	}
	return out
}

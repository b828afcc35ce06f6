package commitstatus

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// State is what became of a commit.
type State string

// The states, in the words of GitHub; GitLab says failed for failure.
const (
	Pending State = "pending"
	Success State = "success"
	Failure State = "failure"
)

// Report is what is to be said of one commit.
type Report struct {
	Commit string
	State  State
	// Description is one line for people; hosts cut it.
	Description string
}

// Of says what the Application has to report of the commit at its ref; false when there is none yet, or when nothing is known of it.
func Of(app *v1alpha1.Application) (Report, bool) {
	s := &app.Status
	if s.WantedRevision == "" || s.ObservedGeneration != app.Generation || app.DeletionTimestamp != nil {
		return Report{}, false
	}
	r := Report{Commit: s.WantedRevision, State: Pending}
	synced := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSynced)
	source := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSourceReady)
	switch {
	case app.Spec.Suspend:
		r.Description = "suspended: the commit is not applied"
	case source != nil && source.Status == metav1.ConditionFalse && s.Sync == "Failed":
		r.State, r.Description = Failure, firstLines(source.Message)
	case synced == nil || source == nil || source.Status != metav1.ConditionTrue:
		return Report{}, false // the commit at the ref may be another by now
	case synced.Reason == "RolledBack", synced.Reason == "RolloutFailed", synced.Reason == "Refused", synced.Reason == "Denied":
		r.State, r.Description = Failure, firstLines(synced.Message)
	case s.AppliedRevision != s.WantedRevision:
		r.Description = firstLines(synced.Message)
	case s.Health == "Healthy":
		r.State, r.Description = Success, fmt.Sprintf("applied to %s: %d objects, all healthy", app.Namespace+"/"+app.Name, len(s.Inventory))
	case s.Health == "Degraded":
		healthy := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionHealthy)
		r.State, r.Description = Failure, "applied, and not healthy"
		if healthy != nil {
			r.Description += ": " + firstLines(healthy.Message)
		}
	default:
		r.Description = fmt.Sprintf("applied; %d objects are not healthy yet", len(s.Unhealthy))
	}
	return r, true
}

// firstLines puts a message into one line.
func firstLines(text string) string { return strings.Join(strings.Fields(text), " ") }

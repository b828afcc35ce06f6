package cli

import (
	"cmp"
	"fmt"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Progress says in one line how far the request made with the annotation requested-at is, and, once that is certain, how it ended.
func Progress(app *v1alpha1.Application, request string) (line string, code int, done bool) {
	name := app.Namespace + "/" + app.Name
	s := &app.Status
	switch {
	case app.Spec.Suspend:
		return name + ": suspended; gitopsd resume it first", ExitOutOfSync, true
	case s.HandledRequest != request:
		return name + ": looking at Git", 0, false
	}
	if c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSourceReady); c != nil && c.Status == metav1.ConditionFalse {
		return fmt.Sprintf("%s: %s", name, c.Reason), ExitOutOfSync, true
	}
	switch c := meta.FindStatusCondition(s.Conditions, v1alpha1.ConditionSynced); {
	case s.Sync == "Failed":
		return fmt.Sprintf("%s: %s failed", name, Revision(s.WantedRevision)), ExitOutOfSync, true
	case c != nil && c.Reason == "RolledBack":
		return fmt.Sprintf("%s: %s was rolled back", name, Revision(s.WantedRevision)), ExitOutOfSync, true
	case s.Sync != "Synced":
		reason := "not applied yet"
		if c != nil {
			reason = cmp.Or(c.Message, c.Reason)
		}
		return fmt.Sprintf("%s: %s: %s", name, Revision(s.WantedRevision), oneLine(reason, 160)), ExitOutOfSync, false
	}
	switch s.Health {
	case "Healthy":
		return fmt.Sprintf("%s: %s is applied and healthy", name, Revision(s.AppliedRevision)), ExitInSync, true
	case "Degraded":
		return fmt.Sprintf("%s: %s is applied and not healthy", name, Revision(s.AppliedRevision)), ExitUnhealthy, true
	}
	return fmt.Sprintf("%s: %s is applied; %d objects are not healthy yet", name, Revision(s.AppliedRevision), len(s.Unhealthy)), ExitUnhealthy, false
}

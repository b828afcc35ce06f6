package gitops

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/health"
	"github.com/gitopsd/gitopsd/internal/source"
)

// Values of status.sync.
const (
	syncSynced    = "Synced"
	syncOutOfSync = "OutOfSync"
	syncFailed    = "Failed"
	syncUnknown   = "Unknown"
)

// Reasons of the condition Synced that are about steps.
const (
	reasonRollingOut    = "RollingOut"
	reasonRolloutFailed = "RolloutFailed"
)

// reasonDenied is that of the condition Synced when the commit was refused because the Application's account lacks a right.
const reasonDenied = "Denied"

// Values of a history entry's result.
const (
	resultApplied    = "Applied"
	resultRefused    = "Refused"
	resultFailed     = "Failed"
	resultRolledBack = "RolledBack"
)

const (
	// historyLength and the others bound the status, which every watcher of Applications receives on every change.
	historyLength  = 10
	revertedLength = 10
	shownDrift     = 100
	shownUnhealthy = 50
	maxMessage     = 4096
)

// outlook is what a pass found out, as far as the status speaks of it.
type outlook struct {
	now        time.Time
	generation int64
	suspended  bool
	head       source.Commit
	headErr    error
	refusal    *refusal
	// failed is why applying stopped half-way.
	failed  error
	waiting string
	// rolling says which step of a commit is under way; partial, that what was measured is such a commit.
	rolling string
	partial bool
	// drift is what differs and stays so for now.
	drift  []v1alpha1.FieldDrift
	health []v1alpha1.ObjectHealth
	// pinned says that somebody chose another commit than the one at the ref.
	pinned bool
	// measured says that the objects of the applied commit are known, so that drift and health mean something.
	measured bool
	late     bool
	// fighting says whom a revert waits for because the field keeps being changed.
	fighting string
}

// conclude writes into the status what follows from the outlook. It changes nothing else, so that a status that says the same is not written.
func conclude(s *v1alpha1.ApplicationStatus, o outlook) {
	s.ObservedGeneration = o.generation
	if o.head.Hash != "" {
		s.WantedRevision = o.head.Hash
	}
	s.Drift = bound(o.drift, shownDrift)
	concludeHealth(s, o)
	concludeSync(s, o)
	concludeReady(s, o)
}

func concludeHealth(s *v1alpha1.ApplicationStatus, o outlook) {
	if !o.measured {
		s.Health, s.Unhealthy = string(health.Unknown), nil
		set(s, o, v1alpha1.ConditionHealthy, metav1.ConditionUnknown, "NotMeasured", "no commit has been applied yet")
		return
	}
	worst := health.Healthy
	for _, h := range o.health {
		worst = health.Worst(worst, health.Status(h.Health))
	}
	if worst == health.Progressing && o.late {
		worst = health.Degraded
	}
	s.Health, s.Unhealthy = string(worst), bound(o.health, shownUnhealthy)
	if worst == health.Healthy {
		s.UnhealthySince = nil
		if !o.partial {
			s.HealthyRevision = s.AppliedRevision
		}
		set(s, o, v1alpha1.ConditionHealthy, metav1.ConditionTrue, "Healthy", "all objects are healthy")
		return
	}
	if s.UnhealthySince == nil {
		s.UnhealthySince = &metav1.MicroTime{Time: o.now}
	}
	why := make([]string, 0, 3)
	for _, h := range o.health[:min(3, len(o.health))] {
		why = append(why, fmt.Sprintf("%s: %s", diff.KeyOf(h.ObjectRef), h.Message))
	}
	message := strings.Join(why, "; ")
	if n := len(o.health) - len(why); n > 0 {
		message += fmt.Sprintf("; and %d more", n)
	}
	set(s, o, v1alpha1.ConditionHealthy, metav1.ConditionFalse, string(worst), message)
}

func concludeSync(s *v1alpha1.ApplicationStatus, o outlook) {
	sourceFault := o.refusal != nil && o.refusal.stage == "source"
	switch {
	case o.headErr != nil:
		set(s, o, v1alpha1.ConditionSourceReady, metav1.ConditionFalse, string(source.ReasonOf(o.headErr)), o.headErr.Error())
	case sourceFault:
		set(s, o, v1alpha1.ConditionSourceReady, metav1.ConditionFalse, string(source.ReasonOf(o.refusal.err)), refused(o.refusal))
	case o.head.Hash != "":
		set(s, o, v1alpha1.ConditionSourceReady, metav1.ConditionTrue, "Fetched", fetched(o.head))
	}
	synced := func(value string, status metav1.ConditionStatus, reason, message string) {
		s.Sync = value
		set(s, o, v1alpha1.ConditionSynced, status, reason, message)
	}
	switch {
	case o.refusal != nil:
		reason := resultRefused
		if objects := (apply.Errors)(nil); errors.As(o.refusal.err, &objects) && objects.Denied() {
			reason = reasonDenied
		}
		synced(syncFailed, metav1.ConditionFalse, reason, refused(o.refusal))
	case o.failed != nil:
		reason := "ApplyFailed"
		if s.Rollout != nil && s.Rollout.Phase == phaseFailed {
			reason = reasonRolloutFailed
		}
		synced(syncFailed, metav1.ConditionFalse, reason, o.failed.Error())
	case o.rolling != "":
		synced(syncOutOfSync, metav1.ConditionFalse, reasonRollingOut, o.rolling)
	case o.waiting != "":
		synced(syncOutOfSync, metav1.ConditionFalse, "WaitingForDependency", o.waiting)
	case s.AppliedRevision == "":
		synced(syncUnknown, metav1.ConditionUnknown, "NotApplied", "no commit has been applied yet")
	case s.WantedRevision != s.AppliedRevision && o.pinned:
		synced(syncOutOfSync, metav1.ConditionFalse, resultRolledBack, fmt.Sprintf("%s is applied instead of %s, because somebody rolled back to it; that holds until a push, or gitopsd sync", named(s.AppliedRevision), short(s.WantedRevision)))
	case s.WantedRevision != s.AppliedRevision && rolledBack(s, s.WantedRevision, o.generation):
		synced(syncOutOfSync, metav1.ConditionFalse, resultRolledBack, fmt.Sprintf("%s: %s; push a fix, or ask for it again with gitopsd sync", named(s.WantedRevision), latest(s, s.WantedRevision).Error))
	case s.WantedRevision != s.AppliedRevision:
		synced(syncOutOfSync, metav1.ConditionFalse, "Behind", fmt.Sprintf("%s is applied, %s is wanted", named(s.AppliedRevision), short(s.WantedRevision)))
	case len(o.drift) > 0:
		message := fmt.Sprintf("%d fields differ from Git: %s", len(o.drift), describeDrift(o.drift[0]))
		if len(o.drift) == 1 {
			message = "differs from Git: " + describeDrift(o.drift[0])
		}
		if o.fighting != "" {
			message += "; " + o.fighting
		}
		synced(syncOutOfSync, metav1.ConditionFalse, "Drifted", message)
	case !o.measured:
		synced(syncUnknown, metav1.ConditionUnknown, "NotMeasured", fmt.Sprintf("%s was applied; the cluster has not been compared with it since the start", named(s.AppliedRevision)))
	default:
		synced(syncSynced, metav1.ConditionTrue, resultApplied, named(s.AppliedRevision)+" is applied")
	}
}

// onlyWhich says whether two statuses differ, and in nothing but which objects are not healthy, and why.
func onlyWhich(before, after *v1alpha1.ApplicationStatus) bool {
	if equality.Semantic.DeepEqual(before, after) {
		return false
	}
	as := before.DeepCopy()
	as.Unhealthy = after.Unhealthy
	for i := range as.Conditions {
		c := &as.Conditions[i]
		if a := meta.FindStatusCondition(after.Conditions, c.Type); a != nil && a.Reason == string(health.Progressing) && c.Reason == a.Reason {
			c.Message = a.Message
		}
	}
	return equality.Semantic.DeepEqual(as, after)
}

// onlyHealth says whether two statuses differ, and in nothing but how healthy the objects are.
func onlyHealth(before, after *v1alpha1.ApplicationStatus) bool {
	if equality.Semantic.DeepEqual(before, after) {
		return false
	}
	as := before.DeepCopy()
	as.Health, as.Unhealthy, as.UnhealthySince, as.HealthyRevision = after.Health, after.Unhealthy, after.UnhealthySince, after.HealthyRevision
	for i := range as.Conditions {
		c := &as.Conditions[i]
		if a := meta.FindStatusCondition(after.Conditions, c.Type); a != nil && (c.Type == v1alpha1.ConditionHealthy || c.Type == v1alpha1.ConditionReady) {
			*c = *a
		}
	}
	return equality.Semantic.DeepEqual(as, after)
}

// concludeReady sums up: the condition that people and scripts wait for.
func concludeReady(s *v1alpha1.ApplicationStatus, o outlook) {
	if o.suspended {
		set(s, o, v1alpha1.ConditionReady, metav1.ConditionFalse, "Suspended", "spec.suspend is true: nothing is fetched, applied or reverted")
		return
	}
	for _, kind := range []string{v1alpha1.ConditionSourceReady, v1alpha1.ConditionSynced, v1alpha1.ConditionHealthy} {
		c := meta.FindStatusCondition(s.Conditions, kind)
		if c != nil && c.Status != metav1.ConditionTrue {
			set(s, o, v1alpha1.ConditionReady, c.Status, c.Reason, c.Message)
			return
		}
	}
	set(s, o, v1alpha1.ConditionReady, metav1.ConditionTrue, "Ready", fmt.Sprintf("%s is applied and healthy", named(s.AppliedRevision)))
}

func refused(r *refusal) string {
	if r.stage == "source" && r.temporary {
		return fmt.Sprintf("%s cannot be read whole and is tried again, nothing of it was applied:\n%s", named(r.commit), r.err)
	}
	return fmt.Sprintf("%s was refused, nothing of it was applied:\n%s", named(r.commit), r.err)
}

func set(s *v1alpha1.ApplicationStatus, o outlook, kind string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&s.Conditions, metav1.Condition{
		Type: kind, Status: status, Reason: reason, Message: clip(message, maxMessage), ObservedGeneration: o.generation,
		LastTransitionTime: metav1.NewTime(o.now),
	})
}

// addHistory adds an entry to the history. Entries that only repeat the one before, a revert of drift or the same refusal again, take its place.
func addHistory(s *v1alpha1.ApplicationStatus, e v1alpha1.HistoryEntry) {
	e.Error = clip(firstLine(e.Error), 1024)
	if len(s.History) > 0 {
		last := s.History[0]
		same := last.Revision == e.Revision && last.Result == e.Result && last.Error == e.Error
		if same && (e.Result != resultApplied || last.Trigger == triggerDrift && e.Trigger == triggerDrift) {
			s.History[0] = e
			return
		}
	}
	s.History = slices.Insert(s.History, 0, e)
	if len(s.History) > historyLength {
		s.History = s.History[:historyLength]
	}
}

// describeDrift says in one line what differs, who did it, and where Git says otherwise.
func describeDrift(d v1alpha1.FieldDrift) string {
	var b strings.Builder
	b.WriteString(diff.KeyOf(d.ObjectRef).String())
	switch {
	case d.Field == "":
		b.WriteString(": is not in the cluster")
	case d.Want == "":
		fmt.Fprintf(&b, ": %s: is %s, Git no longer sets it", d.Field, d.Live)
	case d.Live == "":
		fmt.Fprintf(&b, ": %s: is absent, Git says %s", d.Field, d.Want)
	default:
		fmt.Fprintf(&b, ": %s: is %s, Git says %s", d.Field, d.Live, d.Want)
	}
	if who := whoChanged(d); who != "" {
		did := "changed"
		if d.Field == "" {
			did = "deleted"
		}
		fmt.Fprintf(&b, ", %s by %s", did, who)
	}
	if d.File != "" {
		fmt.Fprintf(&b, " (%s:%d)", d.File, d.Line)
	}
	if d.Override != nil {
		fmt.Fprintf(&b, "; overridden: %s", d.Override.Reason)
	}
	return b.String()
}

func whoChanged(d v1alpha1.FieldDrift) string {
	switch {
	case d.User != "" && d.Manager != "":
		return d.User + " with " + d.Manager
	case d.User != "":
		return d.User
	}
	return d.Manager
}

func bound[T any](list []T, most int) []T {
	if len(list) > most {
		return list[:most]
	}
	return list
}

func clip(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most-len("…")], "") + "…"
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func short(revision string) string {
	if len(revision) == 40 { // a chart's version is shown whole
		return revision[:12]
	}
	return revision
}

// named is how messages call a revision: a commit, or a chart's version.
func named(revision string) string {
	if len(revision) == 40 {
		return "commit " + short(revision)
	}
	return "version " + revision
}

// fetched says what was read, and who signed it if that was asked for.
func fetched(c source.Commit) string {
	text := named(c.Hash) + " was read"
	if c.Signer != "" {
		text += "; it is signed by the " + c.Signer
	}
	return text
}

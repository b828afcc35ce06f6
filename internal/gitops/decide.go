package gitops

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/reconcile"
)

// The decisions of a pass that need nothing but values.

// Defaults of the Application's fields.
const (
	defaultInterval      = time.Minute
	minInterval          = time.Second
	defaultHealthTimeout = 5 * time.Minute
	// maxPollDelay bounds how far failing looks are spread out; an Application with a longer interval keeps its own.
	maxPollDelay = 5 * time.Minute
)

// What made a pass look at Git, as history shows it.
const (
	triggerWebhook  = "webhook"
	triggerPoll     = "poll"
	triggerDrift    = "drift"
	triggerSpec     = "spec"
	triggerStart    = "start"
	triggerRequest  = "request"
	triggerRollback = "rollback"
	triggerMove     = "move"
)

// pushSpacing is the least time between the beginnings of two looks that pushes ask for.
const pushSpacing = 200 * time.Millisecond

// dueAt says when Git is looked at, given when the last look began that a push asked for. What is pushed first is looked at at once; of the pushes that follow while that look
// runs, or soon after it began, all are one look, so that a script which pushes forty times in a second costs the host a handful of requests.
func dueAt(trigger string, told, now time.Time) time.Time {
	if next := told.Add(pushSpacing); trigger == triggerWebhook && next.After(now) {
		return next
	}
	return now
}

// lookNow says whether Git is to be looked at, why, and since when an answer counts: a thousand Applications of one repository that start, are created or poll at about the
// same time share an answer.
func lookNow(m *memory, asked *look, app *v1alpha1.Application, now time.Time) (look, bool) {
	switch {
	case asked != nil:
		return *asked, true
	case !m.looked && app.Status.ObservedGeneration == 0:
		// What was pushed before the Application was created must be seen; its time of creation is cut off to the second.
		since := app.CreationTimestamp.Add(time.Second)
		if since.After(now) || app.CreationTimestamp.IsZero() {
			since = now
		}
		return look{trigger: triggerSpec, since: since}, true
	case !m.looked:
		return look{trigger: triggerStart, since: m.born}, true
	case m.generation != app.Generation:
		return look{trigger: triggerSpec, since: now}, true
	case requested(app) != m.request && requested(app) != app.Status.HandledRequest:
		return look{trigger: triggerRequest, since: now}, true
	case !now.Before(m.nextPoll):
		return look{trigger: triggerPoll, since: now.Add(-pollDelay(app.Spec.Interval, 0, 0.5) / 2)}, true
	}
	return look{}, false
}

func requested(app *v1alpha1.Application) string {
	return app.Annotations[v1alpha1.AnnotationRequestedAt]
}

// pollDelay is the time to the next look. roll, from 0 to 1, spreads Applications that started together by a tenth either way; each failure in a
// row doubles the delay, so that a host that is down is not pressed.
func pollDelay(interval *metav1.Duration, failures int, roll float64) time.Duration {
	d := defaultInterval
	if interval != nil {
		d = max(interval.Duration, minInterval)
	}
	for range min(failures, 10) {
		if d >= maxPollDelay {
			break
		}
		d = min(2*d, maxPollDelay)
	}
	return d + time.Duration((roll-0.5)*0.2*float64(d))
}

// noteDelay is how long the note of a commit that changes nothing may wait, with so many Applications of one repository: a millisecond for each on average,
// which is less than they take to write. roll is from 0 to 1.
func noteDelay(sharing int, roll float64) time.Duration {
	const least = 200 * time.Millisecond
	return least + time.Duration(roll*2*float64(min(sharing, 5000)))*time.Millisecond
}

// healthDelay is how long the note may wait that the health of one of so many objects has changed. A status lists all of them: to write it for each of a thousand that become
// healthy one after the other would keep a processor busy, and the API's history full of it.
func healthDelay(objects int) time.Duration {
	const few = 100
	if objects <= few {
		return 0
	}
	return time.Duration(min(objects, 2000)) * time.Millisecond / 2
}

// rolledBack says that the commit was applied, did not become healthy, and was taken back; it stays away until Git or the spec changes, or
// somebody asks for it.
func rolledBack(s *v1alpha1.ApplicationStatus, commit string, generation int64) bool {
	return s.ObservedGeneration == generation && latest(s, commit).Result == resultRolledBack
}

// latest is what became of a commit the last time; the zero entry when nothing is known of it.
func latest(s *v1alpha1.ApplicationStatus, commit string) v1alpha1.HistoryEntry {
	for _, h := range s.History {
		if h.Revision == commit {
			return h
		}
	}
	return v1alpha1.HistoryEntry{}
}

// target is the commit that should be applied, given the one at the ref.
func target(s *v1alpha1.ApplicationStatus, head string, generation int64) string {
	if rolledBack(s, head, generation) && s.HealthyRevision != "" {
		return s.HealthyRevision
	}
	return head
}

// standing says whether an earlier refusal of the commit still holds, so that trying again would only say the same.
func (r *refusal) standing(commit string, generation int64, trigger string) bool {
	if r == nil || r.commit != commit || r.generation != generation {
		return false
	}
	switch trigger {
	case triggerRequest, triggerStart, triggerSpec:
		return false
	case triggerPoll, triggerWebhook, triggerMove:
		return !r.temporary
	}
	return true
}

// overdue says whether an applied commit had its time to become healthy, and otherwise how long that still is.
func overdue(s *v1alpha1.ApplicationStatus, timeout *metav1.Duration, now time.Time) (bool, time.Duration) {
	if s.UnhealthySince == nil {
		return false, 0
	}
	if left := s.UnhealthySince.Add(orDefault(timeout)).Sub(now); left > 0 {
		return false, left
	}
	return true, 0
}

func orDefault(timeout *metav1.Duration) time.Duration {
	if timeout == nil {
		return defaultHealthTimeout
	}
	return timeout.Duration
}

// healthTimeout is spec.healthTimeout with its default.
func healthTimeout(spec *v1alpha1.ApplicationSpec) time.Duration {
	return orDefault(spec.HealthTimeout)
}

// shouldRollBack says whether the applied commit is to be taken back: it never became healthy, its time is over, and there is a commit that was.
func shouldRollBack(spec *v1alpha1.ApplicationSpec, s *v1alpha1.ApplicationStatus, late bool) bool {
	return late && spec.OnFailure == v1alpha1.FailureRollback && s.HealthyRevision != "" && s.HealthyRevision != s.AppliedRevision
}

const (
	// freeReverts is how often an object is set back at once; revertWindow is how long that is remembered.
	freeReverts  = 5
	revertWindow = 10 * time.Minute
	maxRevertGap = time.Minute
)

// revertDelay says how long to wait before an object is set back again. Somebody who changes it by mistake is answered at once; another
// controller that insists on its value is not fought at the speed of the machine.
func revertDelay(past []time.Time, now time.Time) time.Duration {
	recent := 0
	var last time.Time
	for _, t := range past {
		if now.Sub(t) < revertWindow {
			recent++
			if t.After(last) {
				last = t
			}
		}
	}
	if recent < freeReverts {
		return 0
	}
	gap := time.Second << min(recent-freeReverts, 6)
	return max(0, last.Add(min(gap, maxRevertGap)).Sub(now))
}

// remember adds now to the times of past reverts and drops those that no longer count.
func remember(past []time.Time, now time.Time) []time.Time {
	kept := past[:0]
	for _, t := range past {
		if now.Sub(t) < revertWindow {
			kept = append(kept, t)
		}
	}
	return append(kept, now)
}

// prunes is spec.prune with its default.
func prunes(spec *v1alpha1.ApplicationSpec) bool { return spec.Prune == nil || *spec.Prune }

// outlived says whether an Application's objects stay when it is deleted.
func outlived(spec *v1alpha1.ApplicationSpec) bool {
	if spec.OnDeletion == "" {
		return !prunes(spec)
	}
	return spec.OnDeletion == v1alpha1.DeletionKeep
}

// reverts is spec.drift with its default.
func reverts(spec *v1alpha1.ApplicationSpec) bool { return spec.Drift != v1alpha1.DriftReport }

// waitingFor says which Application a dependsOn still waits for, and why; both empty when none. get returns nil for one that does not exist.
func waitingFor(app *v1alpha1.Application, get func(reconcile.Key) *v1alpha1.Application) (name, why string) {
	for _, d := range app.Spec.DependsOn {
		key := keyIn(d.Of(app.Namespace), d.Name)
		dep := get(key)
		if name = d.Name; key.Namespace != app.Namespace {
			name = key.String()
		}
		switch {
		case key == keyOf(app):
			return name, "it is itself; remove it from spec.dependsOn"
		case dep == nil:
			return name, "there is no such Application in namespace " + key.Namespace
		case dep.Spec.Suspend:
			return name, "it is suspended"
		case dep.Status.ObservedGeneration != dep.Generation:
			return name, "its spec has just changed"
		case dep.Status.Sync != syncSynced:
			return name, "it is not synced"
		case dep.Status.Health != "Healthy":
			return name, "it is not healthy"
		}
	}
	return "", ""
}

// laterOf returns the Application with the newer resourceVersion: the informer may lag behind our own last write.
func laterOf(a, b *v1alpha1.Application) *v1alpha1.Application {
	if a == nil || b == nil || a.UID != b.UID {
		return a
	}
	if versionText(b.ResourceVersion) > versionText(a.ResourceVersion) {
		return b
	}
	return a
}

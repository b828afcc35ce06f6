package snapshotschedule

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"
	_ "time/tzdata" // a host without the data base of time zones must not change when a snapshot is taken

	snapshotv1 "github.com/kubernetes-csi/external-snapshotter/client/v8/apis/volumesnapshot/v1"
	"github.com/robfig/cron/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// Annotations of claims: when snapshots are taken, as CronJobs say it (with CRON_TZ=Europe/Paris before it for another time zone than the control plane's), how many are
// kept, and of which VolumeSnapshotClass they are.
const (
	Schedule = "gitopsd.io/snapshot-schedule"
	Keep     = "gitopsd.io/snapshots-kept"
	Class    = "gitopsd.io/snapshot-class"
)

// kept is how many are unless the claim says.
const kept = 7

// Label marks the VolumeSnapshots that are made by schedule: those that are counted and removed.
const Label = "gitopsd.io/scheduled"

// late is added to the time of the next run: a run must not be looked for just before it is due.
const late = 100 * time.Millisecond

// Reasons of Events at claims.
const (
	reasonTaken = "SnapshotScheduled"
	reasonBad   = "InvalidSnapshotSchedule"
	reasonWaits = "SnapshotOverdue"
)

// Observed is what a decision about a claim rests on.
type Observed struct {
	Claim *corev1.PersistentVolumeClaim
	// Snapshots are those of the claim that were made by schedule.
	Snapshots []*snapshotv1.VolumeSnapshot
	Now       time.Time
}

// Event is what users are told, at the claim.
type Event struct{ Type, Reason, Message string }

// Actions are what is to be done. Nil means nothing.
type Actions struct {
	Take   *snapshotv1.VolumeSnapshot
	Remove []*snapshotv1.VolumeSnapshot
	Event  *Event
	// Next is the time until the next run; zero if only a change can bring one.
	Next time.Duration
}

// Decide looks at one claim.
func Decide(o Observed) Actions {
	claim := o.Claim
	if claim.DeletionTimestamp != nil || claim.Annotations[Schedule] == "" || claim.Status.Phase != corev1.ClaimBound {
		return Actions{}
	}
	bad := func(key string, err error) Actions {
		return Actions{Event: &Event{corev1.EventTypeWarning, reasonBad, fmt.Sprintf("annotation %s: %q: %v; no snapshots are taken", key, claim.Annotations[key], err)}}
	}
	keep := kept
	if text, ok := claim.Annotations[Keep]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return bad(Keep, fmt.Errorf("want a whole number, at least 1"))
		}
		keep = n
	}
	s, err := parse(claim.Annotations[Schedule])
	if err != nil {
		return bad(Schedule, err)
	}
	newest := slices.SortedFunc(slices.Values(o.Snapshots), func(a, b *snapshotv1.VolumeSnapshot) int {
		return cmp.Or(b.CreationTimestamp.Compare(a.CreationTimestamp.Time), cmp.Compare(b.Name, a.Name))
	})
	a := Actions{Remove: beyond(newest, keep)}
	since := claim.CreationTimestamp.Time
	if len(newest) > 0 {
		since = newest[0].CreationTimestamp.Time
	}
	if next := s.Next(o.Now); !next.IsZero() { // such as the 30th of February
		a.Next = next.Sub(o.Now) + late
	}
	switch due := lastDue(s, since, o.Now); {
	case due.IsZero():
	case len(newest) > 0 && !ready(newest[0]):
		a.Event = &Event{corev1.EventTypeWarning, reasonWaits, fmt.Sprintf("a snapshot was due at %s, but the one before, VolumeSnapshot %s, is not ready yet: `kubectl describe volumesnapshot -n %s %s` says why",
			due.UTC().Format(time.RFC3339), newest[0].Name, claim.Namespace, newest[0].Name)}
	default:
		a.Take = snapshot(claim, due)
		a.Event = &Event{corev1.EventTypeNormal, reasonTaken, fmt.Sprintf("VolumeSnapshot %s is taken, which was due at %s", a.Take.Name, due.UTC().Format(time.RFC3339))}
	}
	return a
}

// lastDue is the last run after since up to now; zero if there is none. Runs that were missed are made up for by one.
func lastDue(s cron.Schedule, since, now time.Time) (last time.Time) {
	for t := s.Next(since); !t.IsZero() && !t.After(now); t = s.Next(t) {
		last = t
	}
	return last
}

// parse reads a schedule.
func parse(text string) (s cron.Schedule, err error) {
	defer func() {
		if recover() != nil { // the parser does so at "TZ=" without an end
			err = errors.New("a time zone without a schedule")
		}
	}()
	return cron.ParseStandard(text)
}

func ready(s *snapshotv1.VolumeSnapshot) bool {
	return s.Status != nil && ptr.Deref(s.Status.ReadyToUse, false)
}

// beyond are the snapshots that are older than the newest so many that can be used. One that cannot takes no other's place.
func beyond(newest []*snapshotv1.VolumeSnapshot, keep int) (out []*snapshotv1.VolumeSnapshot) {
	n := 0
	for _, s := range newest {
		if n >= keep && s.DeletionTimestamp == nil {
			out = append(out, s)
		}
		if ready(s) && s.DeletionTimestamp == nil {
			n++
		}
	}
	return out
}

// snapshot is the one to be taken of a claim. Its name says when it was due, so that it is not taken twice.
func snapshot(claim *corev1.PersistentVolumeClaim, due time.Time) *snapshotv1.VolumeSnapshot {
	const longest = 253 // of names
	at := due.UTC().Format("-20060102-150405")
	s := &snapshotv1.VolumeSnapshot{
		ObjectMeta: metav1.ObjectMeta{Namespace: claim.Namespace, Name: claim.Name[:min(len(claim.Name), longest-len(at))] + at, Labels: map[string]string{Label: "true"}},
		Spec:       snapshotv1.VolumeSnapshotSpec{Source: snapshotv1.VolumeSnapshotSource{PersistentVolumeClaimName: ptr.To(claim.Name)}},
	}
	if class := claim.Annotations[Class]; class != "" {
		s.Spec.VolumeSnapshotClassName = &class
	}
	return s
}

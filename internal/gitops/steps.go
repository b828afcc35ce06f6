package gitops

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
	"github.com/gitopsd/gitopsd/internal/directive"
	"github.com/gitopsd/gitopsd/internal/health"
)

// The decisions about a commit that is applied in steps. Nothing here acts.

// step is a part of a sync: what is applied together, and waited for before the next.
type step struct {
	phase   directive.Phase
	wave    int
	objects []*apply.Object
	hooks   []*apply.Object
}

// title is how messages speak of a step.
func (s step) title() string {
	if s.wave == 0 {
		return string(s.phase)
	}
	return fmt.Sprintf("%s wave %d", s.phase, s.wave)
}

// phases are those of a sync that goes well, in order.
var phases = []directive.Phase{directive.PreSync, directive.Sync, directive.PostSync}

// stepsOf returns the steps that apply a revision. The first sync of an Application is an installation, all others are upgrades.
func stepsOf(r *revision, on directive.Occasion) []step {
	return sortSteps(r, on, phases)
}

// stepsAfterFailure are those that take the place of what is left when one has failed.
func stepsAfterFailure(r *revision, on directive.Occasion) []step {
	return sortSteps(r, on, []directive.Phase{directive.SyncFail})
}

func sortSteps(r *revision, on directive.Occasion, wanted []directive.Phase) []step {
	type place struct {
		phase directive.Phase
		wave  int
	}
	at := map[place]*step{}
	find := func(p directive.Phase, wave int) *step {
		k := place{p, wave}
		if at[k] == nil {
			at[k] = &step{phase: p, wave: wave}
		}
		return at[k]
	}
	for _, p := range wanted {
		for _, o := range r.hooks {
			if o.Asks.In(p, on) {
				s := find(p, o.Asks.Wave)
				s.hooks = append(s.hooks, o)
			}
		}
		if p == directive.Sync {
			if len(r.objects) == 0 {
				find(p, 0) // there may be something to prune
			}
			for _, o := range r.objects {
				s := find(p, o.Asks.Wave)
				s.objects = append(s.objects, o)
			}
		}
	}
	steps := make([]step, 0, len(at))
	for _, s := range at {
		steps = append(steps, *s)
	}
	slices.SortFunc(steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(slices.Index(wanted, a.phase), slices.Index(wanted, b.phase)), cmp.Compare(a.wave, b.wave))
	})
	early(steps)
	return steps
}

// early moves namespaces, and definitions of kinds, to the first step that needs them, where their own wave is a later one: without them it could never be done, and the commit
// would stay half applied.
func early(steps []step) {
	for i := range steps {
		users := slices.Concat(steps[i].objects, steps[i].hooks)
		for later := i + 1; later < len(steps); later++ {
			var stay []*apply.Object
			for _, o := range steps[later].objects {
				if base := baseOf(o); base != nil && slices.ContainsFunc(users, base) {
					steps[i].objects = append(steps[i].objects, o)
				} else {
					stay = append(stay, o)
				}
			}
			steps[later].objects = stay
		}
	}
}

// baseOf tells which objects cannot be there without this one; nil is none.
func baseOf(o *apply.Object) func(*apply.Object) bool {
	switch (schema.GroupKind{Group: o.Ref.Group, Kind: o.Ref.Kind}) {
	case schema.GroupKind{Kind: "Namespace"}:
		return func(user *apply.Object) bool { return user.Ref.Namespace == o.Ref.Name }
	case schema.GroupKind{Group: "apiextensions.k8s.io", Kind: "CustomResourceDefinition"}:
		group, _, _ := unstructured.NestedString(o.Desired.Object, "spec", "group")
		kind, _, _ := unstructured.NestedString(o.Desired.Object, "spec", "names", "kind")
		return func(user *apply.Object) bool { return user.Ref.Group == group && user.Ref.Kind == kind }
	}
	return nil
}

// inSteps says whether steps have to be taken one by one: with a single one without hooks there is nothing to wait for.
func inSteps(steps []step) bool {
	return len(steps) > 1 || len(steps) == 1 && len(steps[0].hooks) > 0
}

// lastOfSync is the index of the step after which what Git dropped is pruned: the last that applies objects.
func lastOfSync(steps []step) int {
	last := 0
	for i, s := range steps {
		if s.phase == directive.Sync {
			last = i
		}
	}
	return last
}

// upTo is what the cluster is compared with while the step with the index is under way: the objects of the steps so far as the new revision has them,
// and everything else as the one before had it. before may be nil.
func upTo(next, before *revision, steps []step, index int) *revision {
	r := &revision{commit: next.commit, shape: next.shape, partial: true, byKey: map[diff.Key]*apply.Object{}, left: next.left, hooks: next.hooks}
	for _, s := range steps[:index+1] {
		for _, o := range s.objects {
			r.byKey[o.Key] = o
		}
	}
	if before != nil {
		for _, o := range before.objects {
			if r.byKey[o.Key] == nil && !next.left[o.Key] {
				r.byKey[o.Key] = o
			}
		}
	}
	for _, k := range keysOf(r) {
		r.objects = append(r.objects, r.byKey[k])
	}
	return r
}

// runOf names the sync that a hook runs in: one for each phase, commit and wish to have it again.
func runOf(ro *v1alpha1.Rollout, p directive.Phase) string {
	return fmt.Sprintf("%s.%d.%s", short(ro.Revision), ro.StartTime.UnixMicro(), p)
}

// Results of a hook.
const (
	hookRunning   = "Running"
	hookSucceeded = "Succeeded"
	hookFailed    = "Failed"
)

// hookAct is what is to be done about a hook.
type hookAct string

const (
	// hookStart makes its object.
	hookStart hookAct = "start"
	// hookClear deletes what an earlier run left.
	hookClear hookAct = "clear"
	// hookWait waits for the next word about it.
	hookWait hookAct = "wait"
	// hookEnd notes its end.
	hookEnd hookAct = "end"
)

// hookVerdict is what is to be done, and what is known of the hook.
type hookVerdict struct {
	act     hookAct
	result  string
	message string
}

// decideHook decides about one hook of a run. noted is what is written down about it, live what the cluster has under its name; each may be nil. adopted says
// that this is an object which was there before Git named it.
func decideHook(o *apply.Object, application, run string, adopted bool, noted *v1alpha1.HookStatus, live *unstructured.Unstructured, checks *health.Checks) hookVerdict {
	if noted != nil && noted.Run == run && noted.Result != hookRunning {
		return hookVerdict{hookEnd, noted.Result, noted.Message}
	}
	if live == nil {
		return hookVerdict{hookStart, hookRunning, "it was started"}
	}
	if live.GetLabels()[v1alpha1.LabelApplication] != application {
		return hookVerdict{hookEnd, hookFailed, "there is an object of this name which this Application did not make; rename the hook, or delete the object"}
	}
	if ran := live.GetAnnotations()[v1alpha1.AnnotationHookRun]; ran != run {
		switch {
		case ran == "" && (adopted || directive.Keeps(live.GetAnnotations())):
			return hookVerdict{hookEnd, hookFailed, "there is an object of this name which is no hook and is not to be deleted; rename the hook, or delete the object"}
		case ran == "" && o.Asks.Delete.Kept:
			return hookVerdict{hookEnd, hookFailed, "there is an object of this name which is no hook, and this hook's policy is never to delete; delete the object, rename the hook, or give it another policy"}
		case o.Asks.Delete.Kept:
			return hookVerdict{hookEnd, hookSucceeded, "it has run before and its policy is never to delete it"}
		case live.GetDeletionTimestamp() != nil:
			return hookVerdict{hookWait, hookRunning, "the one of an earlier run is being deleted"}
		}
		return hookVerdict{hookClear, hookRunning, "the one of an earlier run has to go first"}
	}
	switch h := hookHealth(checks, live); h.Status {
	case health.Healthy:
		return hookVerdict{hookEnd, hookSucceeded, ""}
	case health.Degraded:
		return hookVerdict{hookEnd, hookFailed, h.Message}
	default:
		return hookVerdict{hookWait, hookRunning, h.Message}
	}
}

// hookHealth is an object's health, but that a hook's Pod has to end where another has only to be ready.
func hookHealth(checks *health.Checks, live *unstructured.Unstructured) health.Health {
	h := checks.Of(live)
	if gk := live.GroupVersionKind().GroupKind(); gk.Group == "" && gk.Kind == "Pod" && h.Status == health.Healthy {
		if phase, _, _ := unstructured.NestedString(live.Object, "status", "phase"); phase != "Succeeded" {
			return health.Health{Status: health.Progressing, Message: "the Pod is running"}
		}
	}
	return h
}

// discards says whether a hook's object is deleted after its end.
func discards(o *apply.Object, result string) bool {
	return result == hookSucceeded && o.Asks.Delete.Succeeded || result == hookFailed && o.Asks.Delete.Failed
}

// note writes down what is known of a hook in its run, in the place of what was known of its last run in the phase.
func note(list []v1alpha1.HookStatus, s v1alpha1.HookStatus) []v1alpha1.HookStatus {
	for i := range list {
		if list[i].Phase == s.Phase && diff.KeyOf(list[i].ObjectRef) == diff.KeyOf(s.ObjectRef) {
			list[i] = s
			return list
		}
	}
	return append(list, s)
}

// noted finds what is written down of a hook in a run; nil for nothing.
func noted(list []v1alpha1.HookStatus, run string, k diff.Key) *v1alpha1.HookStatus {
	for i := range list {
		if list[i].Run == run && diff.KeyOf(list[i].ObjectRef) == k {
			return &list[i]
		}
	}
	return nil
}

// holds says what a step is still waiting for: the first of its objects that is not healthy; empty when all are. A claim may wait for a Pod of a later step.
func holds(s step, of func(diff.Key) *sighting) (waiting string) {
	for _, o := range s.objects {
		if o.Ref.Group == "" && o.Ref.Kind == "PersistentVolumeClaim" {
			continue
		}
		switch rec := of(o.Key); {
		case rec == nil || rec.hash != o.Hash:
			return o.Key.String() + " has not been seen yet"
		case rec.health.Status != health.Healthy:
			return o.Key.String() + ": " + rec.health.Message
		}
	}
	return ""
}

package diff

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/directive"
)

// Action is what has to be done about one object.
type Action string

// The actions of a Plan.
const (
	// Create: Git has the object, the cluster does not.
	Create Action = "create"
	// Update: both have it, and they differ, or Git's text of it changed.
	Update Action = "update"
	// Unchanged: nothing is written.
	Unchanged Action = "unchanged"
	// Prune: the Application created the object, and Git no longer has it.
	Prune Action = "prune"
	// Release: Git no longer has an object that was there before the Application took it over; it stays, and only the Application's mark goes.
	Release Action = "release"
	// Held: an override keeps the object as it is, whatever Git says; see OverrideOf.
	Held Action = "held"
	// Move: Git has the object in another Application now, which takes it over as it is.
	Move Action = "move"
	// Conflict: Git has the object, and so has another Application, which had it first.
	Conflict Action = "conflict"
	// Forget: the object is to be dropped from the inventory without touching it: it is gone, or it belongs to somebody else now.
	Forget Action = "forget"
)

// Step is one object of a Plan.
type Step struct {
	Action Action
	Ref    v1alpha1.ObjectRef
	// Fields are the differences behind an Update.
	Fields []Field
	// Ignored are differences that the Application says not to care about; they are neither drift nor undone.
	Ignored []Field
	// Adopted says that the object existed without belonging to the Application when it was first applied.
	Adopted bool
	// Reason says why, where the action alone does not.
	Reason string
}

// Wanted is one object of the commit.
type Wanted struct {
	Ref     v1alpha1.ObjectRef
	Desired *unstructured.Unstructured
	// Changed says that Git's text of the object is another than what was applied last, or that it is not known what was.
	Changed bool
}

// Input is everything that a plan is made from.
type Input struct {
	// Application is the value of the label that marks the Application's objects.
	Application string
	Wanted      []Wanted
	// Live holds the objects that the cluster has, of those wanted and those in the inventory.
	Live map[Key]*unstructured.Unstructured
	// Inventory is what the Application has applied before.
	Inventory []v1alpha1.ObjectRef
	// Prune is the Application's spec.prune.
	Prune bool
	// Exists says whether there is an Application with the given mark; nil is never. An object that carries the mark of one is not taken from it.
	Exists func(application string) bool
	// Claimed names the mark of another Application that wants an object which this one no longer has; nil is never.
	Claimed func(Key) (application string)
	// Ignore is the Application's spec.ignoreDifferences.
	Ignore    []v1alpha1.IgnoreDifference
	Normalize Normalize
}

// Key identifies an object whatever version of its API it is written in.
type Key struct{ Group, Kind, Namespace, Name string }

// KeyOf returns the key of a reference.
func KeyOf(r v1alpha1.ObjectRef) Key { return Key{r.Group, r.Kind, r.Namespace, r.Name} }

// String is Kind namespace/name, with the group where it is needed to tell.
func (k Key) String() string {
	kind := k.Kind
	if strings.Contains(k.Group, ".") && !strings.HasSuffix(k.Group, ".k8s.io") {
		kind += "." + k.Group
	}
	if k.Namespace != "" {
		return fmt.Sprintf("%s %s/%s", kind, k.Namespace, k.Name)
	}
	return kind + " " + k.Name
}

// Plan is what has to be done, one step for every object that is wanted or was applied before. Wanted objects come in the order of the
// input, then the others in the order of the inventory.
type Plan []Step

// Make makes the plan.
func Make(in Input) Plan {
	known := make(map[Key]v1alpha1.ObjectRef, len(in.Inventory))
	for _, r := range in.Inventory {
		known[KeyOf(r)] = r
	}
	var plan Plan
	wanted := make(map[Key]bool, len(in.Wanted))
	for _, w := range in.Wanted {
		k := KeyOf(w.Ref)
		wanted[k] = true
		live := in.Live[k]
		s := Step{Ref: w.Ref}
		if before, ok := known[k]; ok {
			s.Adopted = before.Adopted
		} else if live != nil {
			owner := live.GetLabels()[v1alpha1.LabelApplication]
			s.Adopted = owner != in.Application
			if s.Adopted && owner != "" && in.Exists != nil && in.Exists(owner) {
				if asksOnce(w.Desired) {
					continue // it is there, which is all that was asked for
				}
				if !asksOnce(live) {
					s.Action, s.Adopted, s.Reason = Conflict, false, owner
					plan = append(plan, s)
					continue
				}
			}
		}
		s.Ref.Adopted = s.Adopted
		if live == nil {
			s.Action, s.Adopted, s.Ref.Adopted = Create, false, false
			plan = append(plan, s)
			continue
		}
		s.Fields, s.Ignored = Split(Fields(w.Desired, live, in.Normalize), w.Ref, in.Ignore)
		s.Fields = append(s.Fields, Dropped(w.Desired, live)...)
		s.Action = Unchanged
		if len(s.Fields) > 0 || w.Changed {
			s.Action = Update
			if o := OverrideOf(live); o != nil {
				s.Action, s.Reason = Held, o.Reason
			}
		}
		plan = append(plan, s)
	}
	for _, r := range in.Inventory {
		if !wanted[KeyOf(r)] {
			plan = append(plan, in.gone(r))
		}
	}
	return plan
}

// asksOnce says whether an object is only to be made where it is missing. It is then left to whoever wants it: its Application does not keep it from others.
func asksOnce(u *unstructured.Unstructured) bool {
	asks, err := directive.Read(u.GetAnnotations())
	return err == nil && asks.Once
}

// needed are namespaces that the cluster cannot be without.
var needed = map[string]bool{"default": true, "kube-system": true, "kube-public": true, "kube-node-lease": true, v1alpha1.SystemNamespace: true}

func (in Input) claimed(r v1alpha1.ObjectRef) string {
	if in.Claimed == nil {
		return ""
	}
	return in.Claimed(KeyOf(r))
}

// gone decides about an object that was applied before and that Git no longer has. Deleting is for what this Application itself created and
// still owns; in every doubt the object stays.
func (in Input) gone(r v1alpha1.ObjectRef) Step {
	s := Step{Ref: r, Adopted: r.Adopted}
	live := in.Live[KeyOf(r)]
	switch {
	case live == nil:
		s.Action, s.Reason = Forget, "it is gone already"
	case live.GetLabels()[v1alpha1.LabelApplication] != in.Application:
		s.Action, s.Reason = Forget, "it no longer belongs to this Application"
	case r.Group == "" && r.Kind == "Namespace" && needed[r.Name]:
		s.Action, s.Reason = Release, "the cluster needs this namespace"
	case r.Adopted:
		s.Action, s.Reason = Release, "it existed before Git named it"
	case in.claimed(r) != "":
		s.Action, s.Reason = Move, in.claimed(r)
	case !in.Prune:
		s.Action, s.Reason = Release, "spec.prune is false"
	case directive.Keeps(live.GetAnnotations()):
		s.Action, s.Reason = Release, "its annotations say that it is not to be pruned"
	case holdsData(r) && live.GetAnnotations()[v1alpha1.AnnotationDeleteData] != "true":
		s.Action = Release
		s.Reason = fmt.Sprintf("its data would be lost: it stays; set the annotation %s: \"true\" on it before Git drops it, or delete it by hand", v1alpha1.AnnotationDeleteData)
	default:
		s.Action = Prune
	}
	return s
}

// holdsData says whether data that is nowhere else goes with an object. A namespace that holds such an object is not pruned either: see apply.Prune.
func holdsData(r v1alpha1.ObjectRef) bool {
	return r.Group == "" && r.Kind == "PersistentVolumeClaim" || r.Group == "snapshot.storage.k8s.io" && r.Kind == "VolumeSnapshot"
}

// Drift is the part of a plan that somebody else is the cause of: objects that are missing, and fields with another value, where Git's text
// is what was applied last.
func (p Plan) Drift() []v1alpha1.FieldDrift {
	var out []v1alpha1.FieldDrift
	for _, s := range p {
		switch s.Action {
		case Create:
			out = append(out, v1alpha1.FieldDrift{ObjectRef: s.Ref})
		case Update:
			out = append(out, Describe(s.Ref, s.Fields)...)
		}
	}
	return out
}

// Count counts the steps with an action.
func (p Plan) Count(a Action) int32 {
	var n int32
	for _, s := range p {
		if s.Action == a {
			n++
		}
	}
	return n
}

// shownBytes bounds a value in the status: a ConfigMap's file is no help there.
const shownBytes = 256

// Describe turns differences into the form of the Application's status. Values of Secrets are never in it.
func Describe(r v1alpha1.ObjectRef, fields []Field) []v1alpha1.FieldDrift {
	out := make([]v1alpha1.FieldDrift, 0, len(fields))
	r.Adopted = false // says nothing about drift
	for _, f := range fields {
		d := v1alpha1.FieldDrift{ObjectRef: r, Field: f.Path, Manager: f.Manager, User: f.User, Time: f.Time}
		if f.HasWant {
			d.Want = Show(r, f.Path, f.Want)
		}
		if f.HasLive {
			d.Live = Show(r, f.Path, f.Live)
		}
		out = append(out, d)
	}
	return out
}

// Hidden stands for a value that must not be shown.
const Hidden = "(hidden)"

// Show is a field's value as people may see it: JSON, not too long, and hidden where it is a secret.
func Show(r v1alpha1.ObjectRef, path string, v any) string {
	if secretValue(r, path) {
		return Hidden
	}
	s := Text(v)
	if len(s) > shownBytes {
		return strings.ToValidUTF8(s[:shownBytes], "") + "…"
	}
	return s
}

// Text is a value as JSON.
func Text(v any) string { return toJSON(v) }

func ownAnnotation(name string) bool {
	return name == v1alpha1.AnnotationOrigin || name == v1alpha1.AnnotationChangedBy
}

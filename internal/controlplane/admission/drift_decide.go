package admission

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// attempt is a write to an object that came from Git, or its deletion.
type attempt struct {
	// app is the Application that the object is marked with.
	app *v1alpha1.Application
	ref v1alpha1.ObjectRef
	// live is the object before the write, nil when it is created; next is the one after it, nil when it is deleted.
	live, next *unstructured.Unstructured
	// inside says that a component of this process makes it.
	inside bool
	// scale says that it is made through the scale subresource, by manager.
	scale   bool
	manager string
}

// finding is what an attempt amounts to.
type finding struct {
	// fields are the fields that Git sets and that would change; deletion says that it would be all of them.
	fields   []diff.Field
	deletion bool
	// owner is a new owner of the object, with whose end the garbage collector would delete it; empty for none.
	owner string
	// override says that the override on the object would be set, changed or taken away.
	override bool
	// overridden is the override under which it would all happen; nil for none.
	overridden *v1alpha1.Override
}

// denies says whether an Application refuses drift now. One that is suspended has let go of its objects, and so has one that is being deleted.
func denies(app *v1alpha1.Application) bool {
	return app.Spec.Drift == v1alpha1.DriftDeny && !app.Spec.Suspend && app.DeletionTimestamp == nil
}

// examine says what there is to object to.
//
// A component of this process may do everything but choose a size for somebody else, which is what an autoscaler does. An object that is being
// deleted has no future that Git could decide about: whoever has to do with that, such as by removing a finalizer, may.
func examine(a attempt) finding {
	var f finding
	if a.inside && !a.scale {
		return f
	}
	if a.live != nil && a.live.GetDeletionTimestamp() != nil {
		return f
	}
	f.override = a.next != nil && overrideText(a.live) != overrideText(a.next)
	if a.live == nil || !denies(a.app) {
		return f
	}
	if a.next == nil {
		f.deletion = diff.FromGit(a.live)
	} else {
		changed := diff.Guarded(a.live, a.next)
		if a.scale {
			for i := range changed {
				changed[i].Manager = a.manager
			}
		}
		f.fields, _ = diff.Split(changed, a.ref, a.app.Spec.IgnoreDifferences)
		if diff.FromGit(a.live) {
			f.owner = newOwner(a.live, a.next)
		}
	}
	if f.drifts() {
		if f.overridden = diff.OverrideOf(a.live); f.overridden == nil && a.next != nil {
			f.overridden = diff.OverrideOf(a.next)
		}
	}
	return f
}

// drifts says whether the attempt would have the cluster differ from Git, now or later.
func (f finding) drifts() bool { return f.deletion || f.owner != "" || len(f.fields) > 0 }

// newOwner names an owner that the object does not have yet.
func newOwner(live, next *unstructured.Unstructured) string {
	had := map[types.UID]bool{}
	for _, o := range live.GetOwnerReferences() {
		had[o.UID] = true
	}
	for _, o := range next.GetOwnerReferences() {
		if !had[o.UID] {
			return o.Kind + " " + o.Name
		}
	}
	return ""
}

func overrideText(u *unstructured.Unstructured) string {
	if u == nil {
		return ""
	}
	text, ok := u.GetAnnotations()[v1alpha1.AnnotationOverride]
	if !ok {
		return ""
	}
	return "=" + text // an empty reason is an override too
}

// objection is why the attempt is refused; nil when it is not. May says whether its user has the verb to override.
func (f finding) objection(a attempt, may bool, where Where) error {
	app := a.app.Namespace + "/" + a.app.Name
	switch {
	case f.override && !may:
		return fmt.Errorf("setting, changing or removing the annotation %s takes the verb %s on applications.%s %q in namespace %q",
			v1alpha1.AnnotationOverride, v1alpha1.VerbOverride, v1alpha1.GroupVersion.Group, a.app.Name, a.app.Namespace)
	case !f.drifts(), f.overridden != nil && may:
		return nil
	}
	remedy := fmt.Sprintf("; in an emergency, whoever has the verb %s on the Application may, with the annotation %s", v1alpha1.VerbOverride, v1alpha1.AnnotationOverride)
	if f.overridden != nil {
		remedy = fmt.Sprintf("; the override on it (%q) is for those with the verb %s on the Application", f.overridden.Reason, v1alpha1.VerbOverride)
	}
	if f.deletion {
		return fmt.Errorf("%s comes from Git, and Application %s denies drift: to delete it, remove it at %s%s", diff.KeyOf(a.ref), app, a.place("", where), remedy)
	}
	if f.owner != "" && len(f.fields) == 0 {
		return fmt.Errorf("%s comes from Git, and Application %s denies drift: with %s as its owner it would be deleted when that is; name owners in metadata.ownerReferences at %s%s",
			diff.KeyOf(a.ref), app, f.owner, a.place("metadata.ownerReferences", where), remedy)
	}
	var changes []string
	for i, d := range diff.Describe(a.ref, f.fields) {
		if i == shownFields {
			changes = append(changes, fmt.Sprintf("and %d more", len(f.fields)-i))
			break
		}
		changes = append(changes, fmt.Sprintf("%s is %s, not %s: change it at %s", d.Field, d.Want, becomes(d), a.place(d.Field, where)))
	}
	return fmt.Errorf("%s comes from Git, and Application %s denies drift: %s%s", diff.KeyOf(a.ref), app, strings.Join(changes, "; "), remedy)
}

// shownFields is how many fields a refusal names.
const shownFields = 3

func becomes(d v1alpha1.FieldDrift) string {
	switch {
	case d.Live == "":
		return "absent"
	case d.Live == d.Want && d.Want != diff.Hidden:
		return "somebody else's to set"
	}
	return d.Live
}

// place says where in Git a field is set: file, line, repository and commit. Without an Engine that knows the field it is the object's first line.
func (a attempt) place(field string, where Where) string {
	origin, ok := diff.OriginOf(a.live)
	file, line := "", 0
	if where != nil {
		file, line = where(a.app.Namespace, a.app.Name, a.ref, field)
	}
	if file == "" {
		file, line = origin.File, origin.Line
	}
	if file == "" {
		return a.app.Spec.Source.URL()
	}
	text := fmt.Sprintf("%s:%d", file, line)
	if ok && origin.Repo != "" {
		text += " of " + origin.Repo
	}
	return text
}

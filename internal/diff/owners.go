package diff

import (
	"bytes"
	"encoding/json"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// owners is what an object's managedFields say.
type owners struct {
	// all is every owned field; it also shows how each list is merged.
	all *fieldpath.Set
	// git is what was applied from Git.
	git *fieldpath.Set
	// others are the managers that changed the object besides, the status excepted.
	others []owner
	// changedBy is who changed the object last, as the API server noted it.
	changedBy changedBy
}

type owner struct {
	manager string
	time    *metav1.Time
	fields  *fieldpath.Set
}

type changedBy struct {
	User string      `json:"user"`
	Time metav1.Time `json:"time"`
}

func ownersOf(live *unstructured.Unstructured) owners {
	o := owners{all: fieldpath.NewSet(), git: fieldpath.NewSet()}
	for _, e := range live.GetManagedFields() {
		if e.FieldsV1 == nil {
			continue
		}
		s := fieldpath.NewSet()
		if err := s.FromJSON(bytes.NewReader(e.FieldsV1.GetRawBytes())); err != nil {
			continue // the server writes this field; one that cannot be read says nothing
		}
		o.all = o.all.Union(s)
		switch {
		case e.Manager == v1alpha1.FieldManager && e.Operation == metav1.ManagedFieldsOperationApply:
			o.git = o.git.Union(s)
		case e.Subresource != "status":
			o.others = append(o.others, owner{manager: e.Manager, time: e.Time, fields: s})
		}
	}
	if text := live.GetAnnotations()[v1alpha1.AnnotationChangedBy]; text != "" {
		// Somebody may have written the annotation by hand; then it says nothing.
		_ = json.Unmarshal([]byte(text), &o.changedBy)
	}
	return o
}

// sameRequest is how far apart the times of one request may be noted: managedFields know only whole seconds.
const sameRequest = 2 * time.Second

// blame fills in who holds the field now and since when. The user is named only where the note about the last change can be about this
// field: when the holder's time is that of the note, or when nobody holds the field because it was removed.
func (o owners) blame(f *Field) {
	for _, w := range o.others {
		if !w.fields.Has(f.path) && !hasBelow(w.fields, f.path) {
			continue
		}
		if f.Time == nil || w.time != nil && f.Time.Before(w.time) {
			f.Manager, f.Time = w.manager, w.time
		}
	}
	by := o.changedBy
	if by.User == "" || f.Time == nil && hasBelow(o.git, f.path) {
		// Nobody noted, or nobody but Git's own manager holds the field: then it is Git that changed, not the cluster.
		return
	}
	if f.Time == nil {
		f.User = by.User
		if !by.Time.IsZero() {
			t := by.Time.Rfc3339Copy() // whole seconds, like managedFields, so that what is written down reads back the same
			f.Time = &t
		}
		return
	}
	if sameMoment(by.Time, *f.Time) {
		f.User = by.User
	}
}

// sameMoment says whether two times may be those of one request.
func sameMoment(a, b metav1.Time) bool {
	d := a.Sub(b.Time)
	return d < sameRequest && d > -sameRequest
}

// hasBelow says whether the set holds the path or anything below it.
func hasBelow(s *fieldpath.Set, p fieldpath.Path) bool {
	for i, e := range p {
		child, ok := s.Children.Get(e)
		if i == len(p)-1 {
			return ok || s.Members.Has(e)
		}
		if !ok {
			return false
		}
		s = child
	}
	return false
}

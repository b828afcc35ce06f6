package diff

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Origin is where one field of a live object comes from.
type Origin struct {
	// Path is such as spec.replicas; a value that is owned as a whole is one field.
	Path  string
	Value any
	// Git says that the field was applied from Git.
	Git bool
	// Holders are the managers besides Git's that hold the field, the latest first. A field without any, and not from Git, is a default.
	Holders []Holder
}

// Holder is a field manager that holds a field.
type Holder struct {
	Manager string
	Time    *metav1.Time
	// User made the request, where that is known.
	User string
}

// Origins lists the fields of an object, less its identity and its status, sorted by path, each with who set it.
func Origins(live *unstructured.Unstructured) []Origin {
	w := blaming{owners: ownersOf(live)}
	for _, k := range sortedKeys(live.Object) {
		switch k {
		case "apiVersion", "kind", "status":
		case "metadata":
			p := fieldpath.Path{fieldElement(k)}
			set := descend(w.owners.all, p[0])
			for _, m := range []string{"annotations", "finalizers", "labels", "ownerReferences"} {
				if v := get(live.Object[k], m); v.ok {
					w.walk(v.value, below(p, fieldElement(m)), set)
				}
			}
		default:
			w.walk(live.Object[k], fieldpath.Path{fieldElement(k)}, w.owners.all)
		}
	}
	slices.SortStableFunc(w.out, func(a, b Origin) int { return compareText(a.Path, b.Path) })
	return w.out
}

type blaming struct {
	owners owners
	out    []Origin
}

// walk goes down as far as ownership does. set is the set of owned fields at the parent.
func (w *blaming) walk(v any, p fieldpath.Path, set *fieldpath.Set) {
	inner := descend(set, p[len(p)-1])
	switch x := v.(type) {
	case map[string]any:
		if inner != nil {
			for _, k := range sortedKeys(x) {
				if !ownNote(p, k) {
					w.walk(x[k], below(p, fieldElement(k)), inner)
				}
			}
			return
		}
	case []any:
		keys, isSet := mergedBy(inner)
		if keys != nil {
			for _, item := range x {
				if key := keyOf(item, keys); len(key) > 0 {
					w.walk(item, below(p, fieldpath.PathElement{Key: &key}), inner)
				}
			}
			return
		}
		if isSet {
			for _, item := range x {
				w.field(item, below(p, valueElement(item)))
			}
			return
		}
	}
	w.field(v, p)
}

// ownNote says whether a field is one of the API server's notes about the object, which this is a reading of.
func ownNote(parent fieldpath.Path, name string) bool {
	return len(parent) == 2 && *parent[0].FieldName == "metadata" && (ownAnnotation(name) || name == v1alpha1.AnnotationOverriddenBy)
}

func (w *blaming) field(v any, p fieldpath.Path) {
	o := Origin{Path: formatPath(p), Value: v, Git: hasBelow(w.owners.git, p)}
	by := w.owners.changedBy
	for _, h := range w.owners.others {
		if !hasBelow(h.fields, p) {
			continue
		}
		holder := Holder{Manager: h.manager, Time: h.time}
		if by.User != "" && h.time != nil && sameMoment(by.Time, *h.time) {
			holder.User = by.User
		}
		o.Holders = append(o.Holders, holder)
	}
	slices.SortStableFunc(o.Holders, func(a, b Holder) int {
		switch {
		case a.Time == nil || b.Time == nil || a.Time.Equal(b.Time):
			return compareText(a.Manager, b.Manager)
		case b.Time.Before(a.Time):
			return -1
		}
		return 1
	})
	w.out = append(w.out, o)
}

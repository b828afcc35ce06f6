package diff

import (
	"maps"
	"reflect"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/structured-merge-diff/v6/value"
)

// Field is one field in which the cluster differs from Git.
type Field struct {
	// Path is such as spec.template.spec.containers[name="web"].image.
	Path string
	// Want is Git's value; HasWant is false when Git no longer sets a field that it set before.
	Want    any
	HasWant bool
	// Live is the cluster's value; HasLive is false when the field is absent there.
	Live    any
	HasLive bool
	// Manager holds the field now, since Time; User made the request, where that is known.
	Manager string
	Time    *metav1.Time
	User    string

	path fieldpath.Path
	// pointer is the path as a JSON pointer, list items by their place in Git's list.
	pointer string
}

// Normalize returns the object as the server would store it, without defaults: quantities, durations and the like in their canonical form. It
// returns nil where it does not know the kind. The result is only read.
type Normalize func(*unstructured.Unstructured) *unstructured.Unstructured

// Fields returns the fields that Git sets and whose live value is another, sorted by path. desired is what is applied, live what the cluster
// has.
func Fields(desired, live *unstructured.Unstructured, normalize Normalize) []Field {
	c := comparison{owners: ownersOf(live)}
	var norm map[string]any
	if normalize != nil {
		if n := normalize(desired); n != nil {
			norm = n.Object
		}
	}
	if norm == nil {
		norm = desired.Object
	}
	for _, k := range sortedKeys(desired.Object) {
		switch k {
		case "apiVersion", "kind", "status":
			continue
		case "metadata":
			c.metadata(desired, live, norm)
			continue
		}
		c.child(desired.Object[k], get(norm, k), get(live.Object, k), fieldpath.Path{fieldElement(k)}, c.owners.all)
	}
	slices.SortFunc(c.found, func(a, b Field) int { return compareText(a.Path, b.Path) })
	for i := range c.found {
		f := &c.found[i]
		f.pointer = pointerTo(desired.Object, f.path)
		c.owners.blame(f)
	}
	return c.found
}

// maybe is a value that may be absent, which is something else than null.
type maybe struct {
	value any
	ok    bool
}

func get(m any, k string) maybe {
	o, ok := m.(map[string]any)
	if !ok {
		return maybe{}
	}
	v, ok := o[k]
	return maybe{v, ok && v != nil}
}

type comparison struct {
	owners owners
	found  []Field
}

// metadata compares what Git can set there; the rest is identity or the server's own.
func (c *comparison) metadata(desired, live *unstructured.Unstructured, norm map[string]any) {
	want, _ := desired.Object["metadata"].(map[string]any)
	p := fieldpath.Path{fieldElement("metadata")}
	set := descend(c.owners.all, p[0])
	for _, k := range []string{"annotations", "finalizers", "labels", "ownerReferences"} {
		if v, ok := want[k]; ok {
			c.child(v, get(norm["metadata"], k), get(live.Object["metadata"], k), below(p, fieldElement(k)), set)
		}
	}
}

// child compares one value that Git sets. set is the set of owned fields at the parent.
func (c *comparison) child(want any, norm, live maybe, p fieldpath.Path, set *fieldpath.Set) {
	if want == nil {
		return // null asks for nothing
	}
	if !norm.ok {
		// The server does not store this value because it is the type's zero. Then absence is what Git wants.
		if !live.ok || equal(want, live.value) {
			return
		}
		c.differ(p, want, live)
		return
	}
	if !live.ok {
		c.differ(p, norm.value, live)
		return
	}
	last := p[len(p)-1]
	inner := descend(set, last)
	switch n := norm.value.(type) {
	case map[string]any:
		w, isMap := want.(map[string]any)
		l, liveMap := live.value.(map[string]any)
		if !isMap || !liveMap {
			c.differ(p, n, live)
			return
		}
		if len(n) > 0 && inner == nil && set != nil && set.Members.Has(last) {
			c.whole(n, live, p)
			return
		}
		for _, k := range sortedKeys(w) {
			c.child(w[k], get(n, k), get(l, k), below(p, fieldElement(k)), inner)
		}
	case []any:
		w, isList := want.([]any)
		l, liveList := live.value.([]any)
		if !isList || !liveList || len(w) != len(n) {
			c.differ(p, n, live)
			return
		}
		c.list(w, n, l, p, inner)
	default:
		if !equal(n, live.value) {
			c.differ(p, n, live)
		}
	}
}

// list compares a list in the way in which it is merged: by keys, as a set, or whole.
func (c *comparison) list(want, norm, live []any, p fieldpath.Path, set *fieldpath.Set) {
	keys, isSet := mergedBy(set)
	if keys == nil && !isSet && set == nil && named(norm) && named(live) && !c.owned(p) {
		keys = []string{"name"} // nobody owns an item, so nothing shows the keys; this is what they are nearly everywhere
	}
	switch {
	case keys != nil:
		for i := range norm {
			key := keyOf(norm[i], keys)
			j := slices.IndexFunc(live, func(item any) bool { return matches(item, key) })
			if j < 0 {
				c.differ(below(p, fieldpath.PathElement{Key: &key}), norm[i], maybe{})
				continue
			}
			full := keyOf(live[j], keys)
			e := fieldpath.PathElement{Key: &full}
			c.item(want[i], norm[i], live[j], below(p, e), set)
		}
	case isSet:
		for _, w := range norm {
			if !slices.ContainsFunc(live, func(l any) bool { return equal(w, l) }) {
				c.differ(below(p, valueElement(w)), w, maybe{})
			}
		}
	default:
		c.whole(norm, maybe{live, true}, p)
	}
}

// item compares the fields of a list's item.
func (c *comparison) item(want, norm, live any, p fieldpath.Path, set *fieldpath.Set) {
	w, ok := want.(map[string]any)
	if !ok {
		return
	}
	inner := descend(set, p[len(p)-1])
	for _, k := range sortedKeys(w) {
		c.child(w[k], get(norm, k), get(live, k), below(p, fieldElement(k)), inner)
	}
}

// whole compares a value that is owned as one. What the live value has beyond Git's may be defaults or somebody's addition; whoever adds
// takes the whole value over, so it is ours, and the rest defaults, exactly as long as Git's manager still holds it.
func (c *comparison) whole(want any, live maybe, p fieldpath.Path) {
	if within(want, live.value, c.owned(p)) {
		return
	}
	c.differ(p, want, live)
}

func (c *comparison) owned(p fieldpath.Path) bool { return hasBelow(c.owners.git, p) }

func (c *comparison) differ(p fieldpath.Path, want any, live maybe) {
	c.found = append(c.found, Field{Path: formatPath(p), Want: want, HasWant: true, Live: live.value, HasLive: live.ok, path: p})
}

// within says whether live is want; with more allowed, fields that want does not have may be in live.
func within(want, live any, more bool) bool {
	switch w := want.(type) {
	case map[string]any:
		l, ok := live.(map[string]any)
		if !ok {
			return false
		}
		for k, v := range w {
			lv, has := l[k]
			if !has && (v == nil || isZero(v)) {
				continue
			}
			if !has || !within(v, lv, more) {
				return false
			}
		}
		return more || len(l) <= len(w)
	case []any:
		l, ok := live.([]any)
		if !ok || len(l) != len(w) {
			return false
		}
		for i := range w {
			if !within(w[i], l[i], more) {
				return false
			}
		}
		return true
	}
	return equal(want, live)
}

func isZero(v any) bool {
	switch v := v.(type) {
	case map[string]any:
		return len(v) == 0
	case []any:
		return len(v) == 0
	}
	return reflect.ValueOf(v).IsZero()
}

// equal compares two values of JSON; 1 and 1.0 are the same number.
func equal(a, b any) bool {
	switch x := a.(type) {
	case int64:
		switch y := b.(type) {
		case int64:
			return x == y
		case float64:
			return float64(x) == y
		}
		return false
	case float64:
		switch y := b.(type) {
		case int64:
			return x == float64(y)
		case float64:
			return x == y
		}
		return false
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, equal)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, equal)
	}
	return reflect.DeepEqual(a, b)
}

// descend is the set below an element; nil when nothing below it is owned.
func descend(s *fieldpath.Set, e fieldpath.PathElement) *fieldpath.Set {
	if s == nil {
		return nil
	}
	if child, ok := s.Children.Get(e); ok {
		return child
	}
	return nil
}

// mergedBy reads off a list's owned items how it is merged: by the fields in a key, or as a set of values.
func mergedBy(set *fieldpath.Set) (keys []string, isSet bool) {
	if set == nil {
		return nil, false
	}
	look := func(e fieldpath.PathElement) {
		switch {
		case e.Key != nil:
			for _, f := range *e.Key {
				if !slices.Contains(keys, f.Name) {
					keys = append(keys, f.Name)
				}
			}
		case e.Value != nil:
			isSet = true
		}
	}
	set.Members.Iterate(look)
	set.Children.Iterate(look)
	slices.Sort(keys)
	return keys, isSet
}

// keyOf takes those of the key's fields that the item has.
func keyOf(item any, keys []string) value.FieldList {
	var out value.FieldList
	m, _ := item.(map[string]any)
	for _, k := range keys {
		if v, ok := m[k]; ok {
			out = append(out, value.Field{Name: k, Value: value.NewValueInterface(v)})
		}
	}
	return out
}

func matches(item any, key value.FieldList) bool {
	m, ok := item.(map[string]any)
	if !ok || len(key) == 0 {
		return false
	}
	for _, f := range key {
		if !equal(m[f.Name], f.Value.Unstructured()) {
			return false
		}
	}
	return true
}

func named(list []any) bool {
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok {
			return false
		}
		if s, ok := m["name"].(string); !ok || s == "" {
			return false
		}
	}
	return len(list) > 0
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

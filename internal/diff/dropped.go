package diff

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Dropped returns the fields that were applied from Git before and that Git no longer sets; applying removes them, unless somebody else
// holds them too.
func Dropped(desired, live *unstructured.Unstructured) []Field {
	o := ownersOf(live)
	var out []Field
	seen := map[string]bool{}
	for leaf := range o.git.Leaves().All() {
		if skipped(leaf) || present(desired.Object, leaf) {
			continue
		}
		p := missingItem(desired.Object, leaf)
		l := find(live.Object, p)
		path := formatPath(p)
		if !l.ok || seen[path] {
			continue
		}
		seen[path] = true
		out = append(out, Field{Path: path, Live: l.value, HasLive: true, path: p.Copy(), pointer: pointerTo(live.Object, p)})
	}
	slices.SortFunc(out, func(a, b Field) int { return compareText(a.Path, b.Path) })
	return out
}

// missingItem shortens a missing path to the list item that is missing as a whole, if there is one.
func missingItem(content map[string]any, p fieldpath.Path) fieldpath.Path {
	for i, e := range p {
		if e.Key != nil && !present(content, p[:i+1]) {
			return p[:i+1]
		}
	}
	return p
}

// skipped are the paths that say nothing about what Git sets: identity, status, and gitopsd's own note of the origin.
func skipped(p fieldpath.Path) bool {
	if len(p) == 0 || p[0].FieldName == nil {
		return true
	}
	if *p[0].FieldName == "status" {
		return true
	}
	if *p[0].FieldName == "metadata" {
		if len(p) < 3 || p[1].FieldName == nil {
			return len(p) < 3
		}
		last := p[len(p)-1]
		return last.FieldName != nil && ownAnnotation(*last.FieldName)
	}
	return false
}

func present(content map[string]any, p fieldpath.Path) bool { return find(content, p).ok }

// find returns the value at a path.
func find(content any, p fieldpath.Path) maybe {
	v := maybe{content, true}
	for _, e := range p {
		if e.FieldName != nil {
			v = get(v.value, *e.FieldName)
		} else {
			list, _ := v.value.([]any)
			i := indexOf(list, e)
			if i < 0 {
				return maybe{}
			}
			v = maybe{list[i], true}
		}
		if !v.ok {
			return maybe{}
		}
	}
	return v
}

// indexOf is the place of the item that an element means; -1 when the list has none.
func indexOf(list []any, e fieldpath.PathElement) int {
	switch {
	case e.Key != nil:
		return slices.IndexFunc(list, func(item any) bool {
			m, ok := item.(map[string]any)
			if !ok {
				return false
			}
			any := false
			for _, f := range *e.Key {
				got, has := m[f.Name]
				if has && !equal(got, f.Value.Unstructured()) {
					return false
				}
				any = any || has // a part of the key that Git leaves out is defaulted
			}
			return any
		})
	case e.Value != nil:
		return slices.IndexFunc(list, func(item any) bool { return equal(item, (*e.Value).Unstructured()) })
	case e.Index != nil && *e.Index < len(list):
		return *e.Index
	}
	return -1
}

// Remove returns desired without the given fields. It serves fields whose difference is to be ignored: what is not applied stays as whoever
// holds it now has set it.
func Remove(desired *unstructured.Unstructured, fields []Field) *unstructured.Unstructured {
	out := desired.DeepCopy()
	for _, f := range fields {
		if len(f.path) == 0 {
			continue
		}
		parent, last := f.path[:len(f.path)-1], f.path[len(f.path)-1]
		if m, ok := find(out.Object, parent).value.(map[string]any); ok && last.FieldName != nil {
			delete(m, *last.FieldName)
		}
	}
	return out
}

package diff

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Guarded returns what a write would do to the fields that Git set: live is the object before it, next the one after it, both as the server stores
// them. A field's Want is Git's value, its Live what it would become; they are the same where the write would only take the field from Git's
// manager, so that Git could not set it any more without a conflict. Both objects are only read.
func Guarded(live, next *unstructured.Unstructured) []Field {
	before, after := ownersOf(live), ownersOf(next)
	var out []Field
	seen := map[string]bool{}
	for leaf := range before.git.Leaves().All() {
		if unguarded(leaf) {
			continue
		}
		was := find(live.Object, leaf)
		if !was.ok {
			continue
		}
		path := missingItem(next.Object, leaf)
		will := find(next.Object, path)
		if will.ok && equal(was.value, will.value) && hasBelow(after.git, leaf) {
			continue
		}
		f := Field{Path: formatPath(path), Want: find(live.Object, path).value, HasWant: true, Live: will.value, HasLive: will.ok, path: path.Copy(), pointer: pointerTo(live.Object, path)}
		if seen[f.Path] {
			continue
		}
		seen[f.Path] = true
		after.blame(&f)
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Field) int { return compareText(a.Path, b.Path) })
	return out
}

// FromGit says whether Git's manager holds anything of the object.
func FromGit(live *unstructured.Unstructured) bool { return !ownersOf(live).git.Empty() }

// unguarded are the paths that no write can change, and the note about who changed the object last, which every write changes.
func unguarded(p fieldpath.Path) bool {
	if p[0].FieldName == nil || *p[0].FieldName != "metadata" {
		return p[0].FieldName != nil && slices.Contains([]string{"apiVersion", "kind", "status"}, *p[0].FieldName)
	}
	last := p[len(p)-1]
	return len(p) < 3 || last.FieldName != nil && *last.FieldName == v1alpha1.AnnotationChangedBy
}

package diff

import (
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Split separates the fields of an object that the Application ignores from the others.
func Split(fields []Field, r v1alpha1.ObjectRef, ignore []v1alpha1.IgnoreDifference) (kept, ignored []Field) {
	var rules []v1alpha1.IgnoreDifference
	for _, i := range ignore {
		if i.Group == r.Group && i.Kind == r.Kind && (i.Name == "" || i.Name == r.Name) && (i.Namespace == "" || i.Namespace == r.Namespace) {
			rules = append(rules, i)
		}
	}
	for _, f := range fields {
		if slices.ContainsFunc(rules, f.ignoredBy) {
			ignored = append(ignored, f)
		} else {
			kept = append(kept, f)
		}
	}
	return kept, ignored
}

// ignoredBy says whether a rule about the field's object means the field: by its path, by a parent's, or by who holds it.
func (f Field) ignoredBy(rule v1alpha1.IgnoreDifference) bool {
	return slices.ContainsFunc(rule.Fields, func(p string) bool { return Covers(p, f.Path) }) ||
		slices.ContainsFunc(rule.JSONPointers, func(p string) bool { return f.pointer == p || strings.HasPrefix(f.pointer, p+"/") }) ||
		f.Manager != "" && slices.Contains(rule.Managers, f.Manager)
}

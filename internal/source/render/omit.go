package render

import (
	"fmt"
	"path"
	"slices"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

// omit leaves out what spec.source.omit describes, and says how much that is. The API server has not looked at the patterns, so a wrong one is an error here.
func (in *Input) omit(objects []*source.Object) (kept []*source.Object, omitted int, err error) {
	for i, o := range in.Spec.Omit {
		if o == (v1alpha1.Omission{}) {
			return nil, 0, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("spec.source.omit[%d] would leave out every object; give it a group, kind, namespace or name", i)}
		}
		for _, pattern := range []string{o.Group, o.Kind, o.Namespace, o.Name} {
			if _, err := path.Match(pattern, ""); err != nil {
				return nil, 0, &source.Error{Reason: source.InvalidSource, Message: fmt.Sprintf("spec.source.omit[%d]: %q is not a pattern; * stands for any text", i, pattern)}
			}
		}
	}
	kept = slices.DeleteFunc(slices.Clone(objects), func(o *source.Object) bool {
		return slices.ContainsFunc(in.Spec.Omit, func(d v1alpha1.Omission) bool { return in.describes(d, o) })
	})
	return kept, len(objects) - len(kept), nil
}

func (in *Input) describes(d v1alpha1.Omission, o *source.Object) bool {
	gvk, namespace := o.GroupVersionKind(), o.Namespace()
	if namespace == "" {
		namespace = in.From.DefaultNamespace
	}
	for _, part := range [][2]string{{d.Group, gvk.Group}, {d.Kind, gvk.Kind}, {d.Namespace, namespace}, {d.Name, o.Name()}} {
		if part[0] == "" {
			continue
		}
		if ok, err := path.Match(part[0], part[1]); err != nil || !ok {
			return false
		}
	}
	return true
}

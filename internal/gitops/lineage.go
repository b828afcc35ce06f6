package gitops

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
)

// maxLineage bounds how many Applications may have come out of one another. People nest them two or three deep; folders that name each other, with a name that
// grows by substitution, do it for ever.
const maxLineage = 16

// lineage are the Application's own ancestors, the topmost first, and itself: each held the next. It ends where it is too long, as it would be in a circle.
func lineage(app *v1alpha1.Application, parent func(*v1alpha1.Application) *v1alpha1.Application) []string {
	var out []string
	for ; app != nil && len(out) <= maxLineage; app = parent(app) {
		out = append(out, app.Namespace+"/"+app.Name)
	}
	slices.Reverse(out)
	return out
}

// tooDeep refuses Applications among the objects where the line that leads to them is too long; nil where there are none.
func tooDeep(objects []*apply.Object, lineage []string) error {
	if len(lineage) < maxLineage {
		return nil
	}
	var errs apply.Errors
	for _, o := range objects {
		if o.Ref.Group == v1alpha1.GroupVersion.Group && o.Ref.Kind == "Application" {
			errs = append(errs, &apply.Error{Source: o.Source, Message: fmt.Sprintf(
				"it would be Application number %d in a row of which each holds the next, %s; %d may. Do their folders name each other?", len(lineage)+1, strings.Join(lineage, " → "), maxLineage)})
		}
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}

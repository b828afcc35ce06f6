package gitops

import (
	"encoding/json"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// pinned is the commit that somebody rolled the Application back to, for as long as Git stays at the commit that they rolled back from. An annotation that cannot
// be read asks for nothing.
func pinned(app *v1alpha1.Application, head string) (commit string, ok bool) {
	var r v1alpha1.Rollback
	if text := app.Annotations[v1alpha1.AnnotationRollback]; text == "" || json.Unmarshal([]byte(text), &r) != nil {
		return "", false
	}
	return r.To, r.From == head && head != "" && r.To != "" && r.To != head
}

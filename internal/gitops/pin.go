package gitops

import (
	"context"
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

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

// unpin takes a rollback away that Git has moved on from, so that it does not hold again should Git ever come back to the commit that it was from.
func (p *pass) unpin(ctx context.Context) error {
	var r v1alpha1.Rollback
	text := p.app.Annotations[v1alpha1.AnnotationRollback]
	if text == "" || p.m.head.Hash == "" || p.m.headErr != nil || json.Unmarshal([]byte(text), &r) != nil || r.From == p.m.head.Hash {
		return nil
	}
	app := p.app.DeepCopy()
	delete(app.Annotations, v1alpha1.AnnotationRollback)
	updated, err := p.clients.In(app.Namespace).Update(ctx, app, metav1.UpdateOptions{FieldManager: v1alpha1.FieldManager})
	if err != nil {
		return err
	}
	p.m.latest = updated
	status := p.app.Status
	p.app = updated.DeepCopy()
	p.app.Status = status // what the pass has found out so far
	return nil
}

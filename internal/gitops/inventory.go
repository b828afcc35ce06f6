package gitops

import (
	"context"
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/apply"
	"github.com/gitopsd/gitopsd/internal/diff"
)

// leftover is the part of the inventory that a plan over todo has to decide about: those objects themselves, and what the revision no longer has.
func (p *pass) leftover(rev *revision, todo []*apply.Object) []v1alpha1.ObjectRef {
	planned := make(map[diff.Key]bool, len(todo))
	for _, o := range todo {
		planned[o.Key] = true
	}
	var out []v1alpha1.ObjectRef
	for _, r := range p.app.Status.Inventory {
		if !rev.has(diff.KeyOf(r)) || planned[diff.KeyOf(r)] {
			out = append(out, r)
		}
	}
	return out
}

// extendInventory writes down every object that is about to be written, before it is: if the process dies in between, the next one knows what
// there may be to prune.
func (p *pass) extendInventory(ctx context.Context, refs []v1alpha1.ObjectRef) error {
	before := p.app.Status.DeepCopy()
	s := &p.app.Status
	at := make(map[diff.Key]int, len(s.Inventory))
	for i, r := range s.Inventory {
		at[diff.KeyOf(r)] = i
	}
	for _, r := range refs {
		if i, ok := at[diff.KeyOf(r)]; ok {
			s.Inventory[i] = r
		} else {
			s.Inventory = append(s.Inventory, r)
		}
	}
	slices.SortFunc(s.Inventory, compareRefs)
	if slices.Equal(before.Inventory, s.Inventory) {
		return nil
	}
	return p.writeStatus(ctx, before)
}

// shrinkInventory takes out what was pruned, released or found gone.
func (p *pass) shrinkInventory(rev *revision, plan diff.Plan, done []v1alpha1.ObjectRef) {
	gone := map[diff.Key]bool{}
	for _, r := range done {
		gone[diff.KeyOf(r)] = true
	}
	for _, s := range plan {
		if s.Action == diff.Forget {
			gone[diff.KeyOf(s.Ref)] = true
		}
	}
	p.app.Status.Inventory = slices.DeleteFunc(p.app.Status.Inventory, func(r v1alpha1.ObjectRef) bool {
		return gone[diff.KeyOf(r)] && !rev.has(diff.KeyOf(r))
	})
}

func compareRefs(a, b v1alpha1.ObjectRef) int {
	for _, c := range []int{
		strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Group, b.Group), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}

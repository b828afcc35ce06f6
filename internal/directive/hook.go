package directive

import (
	"slices"
	"strings"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// Phase is a part of a sync.
type Phase string

// The phases, in their order. SyncFail takes place instead of what is left when a phase failed.
const (
	PreSync  Phase = "PreSync"
	Sync     Phase = "Sync"
	PostSync Phase = "PostSync"
	SyncFail Phase = "SyncFail"
)

// Hook is a moment at which a hook runs.
type Hook struct {
	Phase Phase
	// On limits the hook to the first sync of an Application or to all later ones, as Helm's hooks are; empty is every sync.
	On Occasion
}

// Occasion tells the first sync of an Application from the others.
type Occasion string

// The occasions.
const (
	Install Occasion = "install"
	Upgrade Occasion = "upgrade"
)

// DeletePolicy says when the object of a hook is deleted. One that is still there when its hook runs again is deleted and made anew, unless it is Kept.
type DeletePolicy struct {
	// Succeeded and Failed delete it once it has.
	Succeeded, Failed bool
	// Kept never deletes it: a hook whose object is there has run for good.
	Kept bool
}

// In says whether the object is a hook of the phase, and whether it runs there on the occasion.
func (s Set) In(p Phase, on Occasion) bool {
	return slices.ContainsFunc(s.Hooks, func(h Hook) bool { return h.Phase == p && (h.On == "" || h.On == on) })
}

// moments are the hooks' names in each dialect, in lower case. A name with no moments is one that no sync of ours ever has: tests, rollbacks (which are
// syncs of an older commit here) and deletions.
var ownMoments = map[string][]Hook{
	"pre-sync": {{Phase: PreSync}}, "sync": {{Phase: Sync}}, "post-sync": {{Phase: PostSync}}, "sync-fail": {{Phase: SyncFail}},
}

var argoMoments = map[string][]Hook{
	"presync": {{Phase: PreSync}}, "sync": {{Phase: Sync}}, "postsync": {{Phase: PostSync}}, "syncfail": {{Phase: SyncFail}},
	"predelete": nil, "postdelete": nil, "skip": nil,
}

var helmMoments = map[string][]Hook{
	"pre-install": {{PreSync, Install}}, "post-install": {{PostSync, Install}}, "pre-upgrade": {{PreSync, Upgrade}}, "post-upgrade": {{PostSync, Upgrade}},
	"crd-install": {{Phase: PreSync}},
	"pre-delete":  nil, "post-delete": nil, "pre-rollback": nil, "post-rollback": nil, "test": nil, "test-success": nil, "test-failure": nil,
}

// hooks reads the hooks in the first dialect that names any.
func (r *reader) hooks() []Hook {
	for _, d := range []struct {
		name    string
		moments map[string][]Hook
	}{{v1alpha1.AnnotationHook, ownMoments}, {argoHook, argoMoments}, {helmHook, helmMoments}} {
		list := words(r.annotations[d.name])
		if len(list) == 0 {
			continue
		}
		var out []Hook
		never := false
		for _, w := range list {
			m, ok := d.moments[strings.ToLower(w)]
			if !ok {
				r.fail(d.name, "there is no hook %q; the hooks are %s", w, strings.Join(names(d.moments), ", "))
				continue
			}
			never = never || len(m) == 0
			out = append(out, m...)
		}
		if len(out) == 0 && never {
			out = []Hook{{}} // a hook, and not an object to keep, but of no phase
		}
		return out
	}
	return nil
}

func names(moments map[string][]Hook) []string {
	out := make([]string, 0, len(moments))
	for n := range moments {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// deletePolicy reads when a hook's object goes. Argo CD and Helm have the same three policies in different spelling. To be deleted before the next run
// goes without saying here: there, a policy that leaves it out makes the next sync fail on what the last one left.
func (r *reader) deletePolicy() DeletePolicy {
	for _, name := range []string{v1alpha1.AnnotationHookDelete, argoDeletePolicy, helmDeletePolicy} {
		list := words(r.annotations[name])
		if len(list) == 0 {
			continue
		}
		var p DeletePolicy
		for _, w := range list {
			switch strings.ToLower(strings.ReplaceAll(w, "-", "")) {
			case "beforehookcreation", "before":
			case "hooksucceeded", "succeeded":
				p.Succeeded = true
			case "hookfailed", "failed":
				p.Failed = true
			case "never":
				p.Kept = true
			default:
				r.fail(name, "there is no policy %q; use before, succeeded, failed or never", w)
			}
		}
		return p
	}
	return DeletePolicy{}
}

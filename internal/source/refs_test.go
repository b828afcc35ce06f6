package source

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// tagged is a listing with tags, each of a commit of its own, and every second of them annotated.
func tagged(names []string) listing {
	l := listing{refs: map[string]plumbing.Hash{}, peeled: map[string]plumbing.Hash{}}
	for i, n := range names {
		ref := "refs/tags/" + n
		l.refs[ref] = plumbing.ComputeHash(plumbing.CommitObject, []byte(n))
		if i%2 == 1 {
			l.peeled[ref] = plumbing.ComputeHash(plumbing.TagObject, []byte(n))
		}
	}
	return l
}

func TestTheNewestTagInARangeIsChosen(t *testing.T) {
	for _, c := range []struct{ name, within, tags, want string }{
		{"by version and not by name", "1.x", "1.9.0 1.10.0 1.2.0", "1.10.0"},
		{"with and without a v", ">=1.0.0", "v1.1.0 1.0.9", "v1.1.0"},
		{"of two that are the same version the last by name", "1.x", "1.0.0 v1.0.0", "v1.0.0"},
		{"of two builds the last by name", "1.x", "1.0.0+b 1.0.0+a", "1.0.0+b"},
		{"no pre-release that was not asked for", ">=1.0.0", "1.0.0 2.0.0-rc.1", "1.0.0"},
		{"a pre-release that was asked for", ">=1.0.0-0", "1.0.0 2.0.0-rc.1", "2.0.0-rc.1"},
		{"the release after its pre-releases", ">=2.0.0-0", "2.0.0-rc.10 2.0.0 2.0.0-rc.9", "2.0.0"},
		{"pre-releases by number", "^2.0.0-0", "2.0.0-rc.10 2.0.0-rc.9", "2.0.0-rc.10"},
		{"what is no version does not count", "*", "latest release-1 1.0.0 x/9.0.0", "1.0.0"},
		{"none", ">=3", "1.0.0 2.0.0", ""},
	} {
		l := tagged(strings.Fields(c.tags))
		w, err := l.want("shop", v1alpha1.Ref{SemVer: c.within})
		if c.want == "" {
			if ReasonOf(err) != RefNotFound {
				t.Errorf("%s: %v, %v", c.name, w, err)
			}
			continue
		}
		if want, _ := l.want("shop", v1alpha1.Ref{Tag: c.want}); err != nil || w != want {
			t.Errorf("%s: %v, %v; want that of %s", c.name, w, err, c.want)
		}
	}
}

// Whatever tags a repository has, the one that is chosen is in the range, no other in the range is newer, and it is the same at each look.
func FuzzNewest(f *testing.F) {
	f.Add(">=1.0.0 <2.0.0-0", "1.0.0 v1.0.0 1.10.0 1.9.0 2.0.0-rc.1 latest")
	f.Add("~1.2 || ^3", "v1.2.3 1.2 3 3.0.0-beta+exp.sha.5114f85 1.02.3")
	f.Add("*", "1.0.0+a 1.0.0+b 99999999999999999999.0.0 \x00 -")
	f.Add("!=1.0.0", "1.0.0 0.0.0 v")
	f.Fuzz(func(t *testing.T, within, text string) {
		names := strings.Fields(text)
		l := tagged(names)
		w, err := l.want("shop", v1alpha1.Ref{SemVer: within})
		if again, _ := (listing{refs: maps.Clone(l.refs), peeled: l.peeled}).want("shop", v1alpha1.Ref{SemVer: within}); again != w {
			t.Errorf("%v the first time, %v the second", w, again)
		}
		constraint, bad := semver.NewConstraint(within)
		if within == "" || bad != nil {
			return // the default branch, or no range: either is refused without tags
		}
		inRange := map[string]*semver.Version{}
		for _, n := range names {
			if v, err := semver.NewVersion(n); err == nil && constraint.Check(v) && plumbing.ReferenceName("refs/tags/"+n).Validate() == nil {
				inRange[n] = v
			}
		}
		if err != nil {
			if len(inRange) > 0 {
				t.Fatalf("%v, though these are in it: %q", err, slices.Sorted(maps.Keys(inRange)))
			}
			return
		}
		chosen := slices.IndexFunc(names, func(n string) bool {
			h := l.refs["refs/tags/"+n]
			return h == w.object && inRange[n] != nil
		})
		if chosen < 0 {
			t.Fatalf("%v is no tag in the range; these are: %q", w, slices.Sorted(maps.Keys(inRange)))
		}
		for n, v := range inRange {
			if v.GreaterThan(inRange[names[chosen]]) {
				t.Errorf("%s was chosen, and %s is newer", names[chosen], n)
			}
		}
		if c, annotated := l.peeled["refs/tags/"+names[chosen]]; annotated != (w.object != w.commit) || annotated && c != w.commit {
			t.Errorf("tag %s leads to %v", names[chosen], w)
		}
	})
}

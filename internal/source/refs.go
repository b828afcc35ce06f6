package source

import (
	"sort"
	"strings"

	"github.com/Masterminds/semver/v3"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
)

// DefaultBranch is the branch when the Application chooses no ref.
const DefaultBranch = "main"

// HeadBranch stands for the branch that the repository calls its default.
const HeadBranch = "HEAD"

// listing is what a remote says about its refs.
type listing struct {
	// refs maps full names, such as refs/heads/main, to hashes; annotated tags to the tag object's.
	refs map[string]plumbing.Hash
	// peeled maps annotated tags to the commit behind them.
	peeled map[string]plumbing.Hash
	// head is the commit of the default branch; zero when the remote does not say.
	head plumbing.Hash
}

// find chooses what a bare name means, as kustomize's ?ref= has it: a tag, a branch or a full commit hash; without a name the default branch.
func (l listing) find(repo, name string) (wanted, error) {
	switch {
	case name == "" && !l.head.IsZero():
		return wanted{object: l.head, commit: l.head}, nil
	case name == "":
		return l.want(repo, v1alpha1.Ref{})
	case plumbing.IsHash(name):
		return l.want(repo, v1alpha1.Ref{Commit: name})
	}
	if _, ok := l.refs["refs/tags/"+name]; ok {
		return l.want(repo, v1alpha1.Ref{Tag: name})
	}
	if _, ok := l.refs["refs/heads/"+name]; ok {
		return l.want(repo, v1alpha1.Ref{Branch: name})
	}
	return wanted{}, failf(RefNotFound, "%s has no tag, branch or commit %q; %s", repo, clip(name), l.names("refs/tags/", "tags"))
}

// wanted is what has to be asked of the remote to have a ref's commit.
type wanted struct {
	// object is asked for: the commit, or the annotated tag that points to it.
	object plumbing.Hash
	// commit is the commit itself.
	commit plumbing.Hash
	// unlisted says that no ref points to the object: many servers then refuse to send it alone.
	unlisted bool
	// history asks for the commit's ancestors as well.
	history bool
}

// want chooses from a listing what ref means. repo is for messages.
func (l listing) want(repo string, ref v1alpha1.Ref) (wanted, error) {
	if err := ValidateRef(ref); err != nil {
		return wanted{}, err
	}
	switch {
	case ref.Commit != "":
		h := plumbing.NewHash(ref.Commit)
		for _, tip := range l.refs {
			if tip == h {
				return wanted{object: h, commit: h}, nil
			}
		}
		return wanted{object: h, commit: h, unlisted: true}, nil
	case ref.Tag != "":
		name := "refs/tags/" + ref.Tag
		h, ok := l.refs[name]
		if !ok {
			return wanted{}, failf(RefNotFound, "%s has no tag %q; %s", repo, ref.Tag, l.names("refs/tags/", "tags"))
		}
		if c, ok := l.peeled[name]; ok {
			return wanted{object: h, commit: c}, nil
		}
		return wanted{object: h, commit: h}, nil
	}
	if ref.SemVer != "" {
		return l.newest(repo, ref.SemVer)
	}
	branch := ref.Branch
	if branch == "" {
		branch = DefaultBranch
	}
	if branch == HeadBranch && !l.head.IsZero() {
		return wanted{object: l.head, commit: l.head}, nil
	}
	h, ok := l.refs["refs/heads/"+branch]
	if !ok {
		return wanted{}, failf(RefNotFound, "%s has no branch %q; %s", repo, branch, l.names("refs/heads/", "branches"))
	}
	return wanted{object: h, commit: h}, nil
}

// newest chooses the tag with the highest version in a range. Of two tags that are the same version, such as 1.0.0 and v1.0.0, it is the one that sorts last, so that the
// choice does not change from one look to the next.
func (l listing) newest(repo, text string) (wanted, error) {
	within, err := semver.NewConstraint(text)
	if err != nil {
		return wanted{}, failf(InvalidSource, "spec.source.ref.semver: %q is not a range of versions: %v", clip(text), err)
	}
	var best *semver.Version
	tag := ""
	for full := range l.refs {
		name, ok := strings.CutPrefix(full, "refs/tags/")
		if !ok {
			continue
		}
		v, err := semver.NewVersion(name)
		if err != nil || !within.Check(v) {
			continue
		}
		if best == nil || v.GreaterThan(best) || v.Equal(best) && name > tag {
			best, tag = v, name
		}
	}
	if best == nil {
		return wanted{}, failf(RefNotFound, "%s has no tag with a version in %q; %s", repo, clip(text), l.names("refs/tags/", "tags"))
	}
	return l.want(repo, v1alpha1.Ref{Tag: tag})
}

func (l listing) names(prefix, what string) string {
	var names []string
	for full := range l.refs {
		if n, ok := strings.CutPrefix(full, prefix); ok {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return "it has no " + what
	}
	sort.Strings(names)
	more := ""
	if len(names) > 10 {
		names, more = names[:10], ", …"
	}
	return "its " + what + ": " + strings.Join(names, ", ") + more
}

// ValidateRef says whether the Application's ref can mean anything.
func ValidateRef(r v1alpha1.Ref) error {
	set := 0
	for _, s := range []string{r.Branch, r.Tag, r.SemVer, r.Commit} {
		if s != "" {
			set++
		}
	}
	if set > 1 {
		return failf(InvalidSource, "spec.source.ref: set only one of branch, tag, semver and commit")
	}
	if r.Commit != "" && !plumbing.IsHash(r.Commit) {
		return failf(InvalidSource, "spec.source.ref.commit: %q is not a full commit hash of 40 hexadecimal digits", clip(r.Commit))
	}
	if r.SemVer != "" {
		if _, err := semver.NewConstraint(r.SemVer); err != nil {
			return failf(InvalidSource, "spec.source.ref.semver: %q is not a range of versions: %v", clip(r.SemVer), err)
		}
		return nil
	}
	if r.Commit == "" && plumbing.ReferenceName(RefName(r)).Validate() != nil {
		return failf(InvalidSource, "spec.source.ref: %q is not a valid name of a ref", clip(RefName(r)))
	}
	return nil
}

// Follows says whether a push to a ref, given by its full name, is news to an Application; an empty name is a push to anything.
func Follows(r v1alpha1.Ref, pushed string) bool {
	switch {
	case r.Commit != "":
		return false
	case r.SemVer != "":
		return pushed == "" || strings.HasPrefix(pushed, "refs/tags/")
	case r.Branch == HeadBranch:
		return pushed == "" || strings.HasPrefix(pushed, "refs/heads/") // which of them it is only the repository says
	}
	return pushed == "" || pushed == RefName(r)
}

// RefName is the full name of the ref that an Application follows, such as refs/heads/main; empty when it stays at one commit, or follows a range of tags.
func RefName(r v1alpha1.Ref) string {
	switch {
	case r.Commit != "", r.SemVer != "":
		return ""
	case r.Tag != "":
		return "refs/tags/" + r.Tag
	case r.Branch != "":
		return "refs/heads/" + r.Branch
	}
	return "refs/heads/" + DefaultBranch
}

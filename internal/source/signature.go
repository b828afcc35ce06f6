package source

import (
	"context"

	"github.com/go-git/go-git/v5/plumbing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source/verify"
)

// Verification says what must be signed, and by whom.
type Verification struct {
	Keys verify.Keys
	Mode v1alpha1.VerifyMode
	// Secret is "namespace/name" of where the keys come from, for messages.
	Secret string
}

// verified checks the signatures that a request wants, and adds who made them to the commit.
func (r *repository) verified(ctx context.Context, req Request, w wanted, c Commit) (Commit, error) {
	v := req.Verify
	if v == nil {
		return c, nil
	}
	if v.Mode == v1alpha1.VerifyTag || v.Mode == v1alpha1.VerifyCommitAndTag {
		signer, err := r.verifyTag(ctx, req, w, v)
		if err != nil {
			return Commit{}, err
		}
		c.Signer = signer
		if v.Mode == v1alpha1.VerifyTag {
			return c, nil
		}
	}
	raw, err := r.store.raw(plumbing.CommitObject, w.commit)
	if err != nil {
		return Commit{}, err
	}
	signer, err := v.Keys.Commit(raw)
	if err != nil {
		return Commit{}, wrapf(Unverified, err, "commit %s by %s of %s is refused (keys of Secret %s)", c.Hash, c.Author, r.name, v.Secret)
	}
	c.Signer = signer
	return c, nil
}

// verifyTag checks the annotated tag that was wanted, which the store need not have: a commit that is there already is not fetched again for the sake of a tag.
func (r *repository) verifyTag(ctx context.Context, req Request, w wanted, v *Verification) (string, error) {
	if w.object == w.commit {
		return "", failf(Unverified, "%s: spec.source.verify.mode is %s, but ref names no annotated tag; use one, or the mode commit", r.name, v.Mode)
	}
	if !r.store.holds(w.object) {
		if _, err := r.look(ctx, req.Ref); err != nil {
			return "", err
		}
		if err := r.fetch(ctx, w); err != nil {
			return "", explain(r.name, err)
		}
	}
	raw, err := r.store.raw(plumbing.TagObject, w.object)
	if err != nil {
		return "", err
	}
	signer, err := v.Keys.Tag(raw)
	if err != nil {
		return "", wrapf(Unverified, err, "the tag of commit %s of %s is refused (keys of Secret %s)", w.commit, r.name, v.Secret)
	}
	return signer, nil
}

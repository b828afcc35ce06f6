package source_test

import (
	"testing"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/source"
)

func TestOneRepositoryHasOneCanonicalURL(t *testing.T) {
	for want, spellings := range map[string][]string{
		"github.com/org/shop": {
			"https://github.com/org/shop.git", "https://github.com/org/shop", "https://me:token@GitHub.com/org/shop.git/", "http://github.com:80/org/shop.git",
			"ssh://git@github.com/org/shop.git", "ssh://git@github.com:22/org/shop", "git@github.com:org/shop.git", "git://github.com/org/shop",
		},
		"localhost:3000/shop": {"http://localhost:3000/shop.git", "https://localhost:3000/shop"},
		"/srv/git/shop":       {"file:///srv/git/shop.git", "/srv/git/shop.git", "file:///srv/./git/shop"},
	} {
		for _, s := range spellings {
			if got := source.Canonical(s); got != want {
				t.Errorf("%s: %s, want %s", s, got, want)
			}
		}
	}
}

func TestCredentialsAreTakenOutOfAnyText(t *testing.T) {
	for in, want := range map[string]string{
		"https://me:p@ss@host/shop.git":                         "https://host/shop.git",
		"https://host/?mail=me@example.com":                     "https://host/?mail=me@example.com",
		"https://host?mail=me@example.com":                      "https://host?mail=me@example.com",
		"https://me:s3cret@example.com/x":                       "https://example.com/x",
		`Get "https://tok@h/x": refused; ssh://git@h2/y failed`: `Get "https://h/x": refused; ssh://h2/y failed`,
		"git@github.com:org/shop":                               "git@github.com:org/shop",
		"https://example.com/a@b":                               "https://example.com/a@b",
	} {
		if got := source.Redact(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// Whatever a ref or a URL holds, it is refused or means one thing, and nothing of a URL's password is shown.
func FuzzRefsAndURLs(f *testing.F) {
	f.Add("main", "", "", "", "https://me:s3cret@git.example.com/shop.git")
	f.Add("", "v1", "", "", "git@git.example.com:shop.git")
	f.Add("", "", ">=1.0.0 <2.0.0-0", "", "file:///srv/git/shop.git")
	f.Add("", "", "", "0123456789abcdef0123456789abcdef01234567", "ssh://git@[::1]:22/a//b/../c.git/")
	f.Add("a..b", "", "~", "x", "https://%zz@host:port/")
	f.Add("", "", "", "", "https://me:p@ss@host/shop.git")
	f.Fuzz(func(t *testing.T, branch, tag, semver, commit, url string) {
		ref := v1alpha1.Ref{Branch: branch, Tag: tag, SemVer: semver, Commit: commit}
		if source.ValidateRef(ref) == nil {
			name := source.RefName(ref)
			if (name == "") != (commit != "" || semver != "") {
				t.Errorf("%+v has the name %q", ref, name)
			}
			if name != "" && branch != source.HeadBranch && !source.Follows(ref, name) {
				t.Errorf("%+v does not follow a push to %s", ref, name)
			}
			if commit != "" && source.Follows(ref, "refs/heads/main") {
				t.Errorf("%+v, which is one commit, follows a push", ref)
			}
		}
		if c := source.Canonical(url); source.Canonical("file://"+c) == "" {
			t.Errorf("%q has the canonical form %q, which has none", url, c)
		}
		if once := source.Redact(url); source.Redact(once) != once {
			t.Errorf("%q is %q without credentials, and %q the second time", url, once, source.Redact(once))
		}
	})
}

package source_test

import (
	"testing"

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

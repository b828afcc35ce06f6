package source

import (
	"net/url"
	"path"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"
)

// endpoint parses a repository URL and takes credentials out of it.
func endpoint(repoURL string) (*transport.Endpoint, error) {
	if strings.TrimSpace(repoURL) == "" {
		return nil, failf(InvalidSource, "spec.source.repoURL is empty; give the repository's URL, such as https://git.example.com/shop.git")
	}
	ep, err := transport.NewEndpoint(repoURL)
	if err != nil {
		return nil, failf(InvalidSource, "repoURL %q is not a URL of a repository", Redact(repoURL))
	}
	switch ep.Protocol {
	case "http", "https", "ssh", "git", "file":
	default:
		return nil, failf(InvalidSource, "repoURL %q: unknown scheme %q; use https, http, ssh, git or file", Redact(repoURL), ep.Protocol)
	}
	if ep.Protocol == "file" {
		if ep.Host != "" && ep.Host != "localhost" {
			return nil, failf(InvalidSource, "repoURL %q names the host %q; a file URL has three slashes: file:///srv/git/shop.git", Redact(repoURL), ep.Host)
		}
		if !path.IsAbs(ep.Path) {
			return nil, failf(InvalidSource, "repoURL %q: the path must be absolute", Redact(repoURL))
		}
	}
	return ep, nil
}

// credentialsInURL matches what stands between scheme and host of any URL in a text: up to the last @, for a password may have one.
var credentialsInURL = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^/?#\s]*@`)

// Redact returns the URL, or any text with URLs in it, without user and password.
func Redact(s string) string { return credentialsInURL.ReplaceAllString(s, "$1") }

// scpLike is ssh's short form, user@host:path; a path that begins with a slash or a digit and slash would be a port.
var scpLike = regexp.MustCompile(`^(?:[^@/\s]+@)?([^:/\s]+):([^\s]+)$`)

// Canonical brings the many spellings of one repository's URL to one form, so that a webhook's payload can be matched with an Application:
// scheme, user, default port, .git, trailing slashes and the host's case do not count. For a file URL it is the cleaned path.
func Canonical(repoURL string) string {
	s := strings.TrimSpace(repoURL)
	host, p := "", s
	if u, err := url.Parse(s); err == nil && u.Scheme != "" && strings.Contains(s, "://") {
		host, p = strings.ToLower(u.Hostname()), u.Path
		if port := u.Port(); port != "" && port != defaultPort[u.Scheme] {
			host += ":" + port
		}
		if u.Scheme == "file" {
			host = ""
		}
	} else if m := scpLike.FindStringSubmatch(s); m != nil {
		host, p = strings.ToLower(m[1]), m[2]
	}
	p = strings.TrimSuffix(path.Clean("/"+p), ".git")
	return host + p
}

var defaultPort = map[string]string{"http": "80", "https": "443", "ssh": "22", "git": "9418"}

// OnThisHost says whether a URL is one of a repository on this host's own disk, in whatever form Git knows for that.
func OnThisHost(repoURL string) bool {
	ep, err := transport.NewEndpoint(strings.TrimSpace(repoURL))
	return err == nil && ep.Protocol == "file"
}

package routes

import (
	"net/url"
	"path"
	"strings"
)

// Clean resolves what backends may resolve: empty elements, "." and "..". A path that is protected cannot be asked for by another spelling.
func Clean(p string) string {
	if p == "" || p[0] != '/' {
		p = "/" + p
	}
	if !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return p
	}
	cleaned := path.Clean(p)
	if cleaned != "/" && (strings.HasSuffix(p, "/") || strings.HasSuffix(p, "/.") || strings.HasSuffix(p, "/..")) {
		cleaned += "/"
	}
	return cleaned
}

// Dotted says whether a decoded path has an element "." or "..". Readers resolve these in ways of their own, most of all beside empty elements and
// slashes that were escaped: nobody should get such a path but cleaned.
func Dotted(p string) bool {
	if !strings.Contains(p, "/.") {
		return false
	}
	for element := range strings.SplitSeq(p, "/") {
		if element == "." || element == ".." {
			return true
		}
	}
	return false
}

// keptSlashes has decoding leave slashes that are escaped as they are.
var keptSlashes = strings.NewReplacer("%2f", "%252f", "%2F", "%252F")

// Unambiguous says whether a request that r was found for would be r's as well for a backend that reads its path in another way: that takes empty
// elements for some, an escaped slash for none, or a backslash for a slash. If not, what protects the one route may be got around by the other.
func (t *Table) Unambiguous(r *Route, host string, u *url.URL) bool {
	if strings.Contains(u.Path, `\`) {
		slashes := strings.ReplaceAll(u.Path, `\`, "/")
		if Dotted(slashes) || t.Find(host, slashes) != r {
			return false
		}
	}
	if Dotted(u.Path) {
		return true // the backend gets it cleaned
	}
	if strings.Contains(u.Path, "//") && t.find(host, u.Path) != r {
		return false
	}
	if kept := keptSlashes.Replace(u.RawPath); kept != u.RawPath {
		p, err := url.PathUnescape(kept)
		return err == nil && t.find(host, p) == r && t.Find(host, p) == r
	}
	return true
}

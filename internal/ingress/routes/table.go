package routes

import (
	"net"
	"slices"
	"strings"
)

// Table finds routes. It is never changed once it is made.
type Table struct {
	hosts        map[string]*paths
	certificates map[string]*Certificate
	routes       []*Route
	backends     []*Backend
	challenges   challenges
}

// paths are those of one host.
type paths struct {
	exact    map[string]*Route
	prefix   map[string]*Route // by path without a slash at its end
	patterns []*Route          // the longest first
	rest     *Route
}

// NewTable makes a Table. Of two routes of the same host, kind and path the first is kept.
func NewTable(list []*Route, certificates []*Certificate) *Table {
	t := &Table{routes: list, hosts: map[string]*paths{}, certificates: map[string]*Certificate{}}
	seen := map[string]bool{}
	for _, r := range list {
		p := t.hosts[r.Host]
		if p == nil {
			p = &paths{exact: map[string]*Route{}, prefix: map[string]*Route{}}
			t.hosts[r.Host] = p
		}
		p.add(r)
		for _, b := range r.backends() {
			if !seen[b.Key] {
				seen[b.Key] = true
				t.backends = append(t.backends, b)
			}
		}
	}
	for _, p := range t.hosts {
		slices.SortStableFunc(p.patterns, func(a, b *Route) int { return len(b.Path) - len(a.Path) })
	}
	for _, c := range certificates {
		if t.certificates[c.Host] == nil {
			t.certificates[c.Host] = c
		}
	}
	return t
}

func (r *Route) backends() []*Backend {
	out := []*Backend{r.Backend}
	for _, c := range r.Canaries {
		out = append(out, c.Backend)
	}
	return out
}

func (p *paths) add(r *Route) {
	put := func(m map[string]*Route, key string) {
		if m[key] == nil {
			m[key] = r
		}
	}
	switch r.Kind {
	case Exact:
		put(p.exact, r.Path)
	case Prefix:
		put(p.prefix, strings.TrimRight(r.Path, "/"))
	case Pattern:
		p.patterns = append(p.patterns, r)
	case Default:
		if p.rest == nil {
			p.rest = r
		}
	}
}

// Routes are all of them.
func (t *Table) Routes() []*Route { return t.routes }

// Backends are those of all routes, each once.
func (t *Table) Backends() []*Backend { return t.backends }

// Find returns the route of a request, or nil. host is a Host header, path is decoded. The host's own routes are asked first, then those of a
// wildcard, then those of every host; defaults only when none of these has the path.
func (t *Table) Find(host, requested string) *Route {
	return t.find(host, Clean(requested))
}

func (t *Table) find(host, cleaned string) *Route {
	name := Hostname(host)
	keys := [...]string{name, wildcard(name), ""}
	for _, key := range keys {
		if p := t.hosts[key]; p != nil {
			if r := p.find(cleaned); r != nil {
				return r
			}
		}
	}
	for _, key := range keys {
		if p := t.hosts[key]; p != nil && p.rest != nil {
			return p.rest
		}
	}
	return nil
}

func (p *paths) find(cleaned string) *Route {
	if r := p.exact[cleaned]; r != nil {
		return r
	}
	best := p.prefix[strings.TrimSuffix(cleaned, "/")]
	for at := len(cleaned); best == nil && at > 0; {
		at = strings.LastIndexByte(cleaned[:at], '/')
		best = p.prefix[cleaned[:at]]
	}
	for _, r := range p.patterns {
		if best != nil && len(r.Path) <= len(best.Path) {
			break
		}
		if r.Expr.MatchString(cleaned) {
			return r
		}
	}
	return best
}

// Certificate returns that of a host name, or nil.
func (t *Table) Certificate(name string) *Certificate {
	name = Hostname(name)
	if c := t.certificates[name]; c != nil {
		return c
	}
	return t.certificates[wildcard(name)]
}

// wildcard is the host of routes for all names beside this one. A name without a label of its own before a dot has none, and shares no key with
// any route.
func wildcard(name string) string {
	if at := strings.IndexByte(name, '.'); at > 0 {
		return "*" + name[at:]
	}
	return "*"
}

// Hostname is the name in a Host header: without port and final dot, in lower case.
func Hostname(host string) string {
	if strings.HasPrefix(host, "[") || strings.IndexByte(host, ':') >= 0 {
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

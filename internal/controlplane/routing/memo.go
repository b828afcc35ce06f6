package routing

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/emicklei/go-restful/v3"
)

const (
	// maxForms bounds how many forms of requests are known; past it, all are forgotten.
	maxForms = 2048
	// maxKey is the length from which a form is not worth remembering: headers are the client's.
	maxKey = 512
)

// Memo selects as restful.CurlyRouter does, which compares every request with each of the hundreds of routes of a group, and copies those that fit. What it selects
// depends on the method, two headers, and the form of the path: of its parts, only those that occur in a route as they are make a difference.
type Memo struct {
	restful.CurlyRouter
	current atomic.Pointer[table]
}

var _ restful.RouteSelector = (*Memo)(nil)

// table is what is known about some services. They are a new slice, or a longer one, when one is added or removed; their routes are all there before that.
type table struct {
	services []*restful.WebService
	// fixed are the parts of paths that routes name. Nil: some route looks closer at requests, so that nothing can be remembered.
	fixed map[string]struct{}

	mu    sync.RWMutex
	known map[string]selected
}

type selected struct {
	service *restful.WebService
	route   *restful.Route
}

// SelectRoute implements restful.RouteSelector.
func (m *Memo) SelectRoute(services []*restful.WebService, r *http.Request) (*restful.WebService, *restful.Route, error) {
	t := m.current.Load()
	if t == nil || !same(t.services, services) {
		t = newTable(services)
		m.current.Store(t)
	}
	var room [maxKey]byte
	form, ok := t.form(room[:0], r)
	if !ok {
		return m.CurlyRouter.SelectRoute(services, r)
	}
	t.mu.RLock()
	s, ok := t.known[string(form)]
	t.mu.RUnlock()
	if ok {
		return s.service, s.route, nil
	}
	service, route, err := m.CurlyRouter.SelectRoute(services, r)
	if err == nil {
		one := *route // the others that it was selected from need not be kept
		t.remember(string(form), selected{service, &one})
	}
	return service, route, err
}

func same(a, b []*restful.WebService) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}

func newTable(services []*restful.WebService) *table {
	t := &table{services: services, known: map[string]selected{}}
	fixed := map[string]struct{}{}
	for _, s := range services {
		for _, r := range s.Routes() {
			if len(r.If) > 0 {
				return t
			}
			for part := range strings.SplitSeq(r.Path, "/") {
				switch parameter := strings.HasPrefix(part, "{"); {
				case !parameter && !strings.Contains(part, ":"):
					fixed[part] = struct{}{}
				case !parameter || strings.Contains(part, ":") && !strings.HasSuffix(part, ":*}"):
					return t // a verb or an expression is looked for in the part
				}
			}
		}
	}
	t.fixed = fixed
	return t
}

// other stands for a part of a path that no route names. A part may be empty, which is not the same.
const other = "\x01"

// form appends to b what decides about the route of a request, or says that it should not be remembered.
func (t *table) form(b []byte, r *http.Request) ([]byte, bool) {
	if t.fixed == nil {
		return nil, false
	}
	for _, s := range []string{r.Method, r.Header.Get(restful.HEADER_Accept), r.Header.Get(restful.HEADER_ContentType)} {
		if len(b)+len(s) >= maxKey || strings.IndexByte(s, 0) >= 0 {
			return nil, false
		}
		b = append(append(b, s...), 0)
	}
	for part := range strings.SplitSeq(r.URL.Path, "/") {
		if _, ok := t.fixed[part]; !ok && part != "" {
			part = other
		}
		if len(b)+len(part) >= maxKey {
			return nil, false
		}
		b = append(append(b, part...), '/')
	}
	return b, true
}

func (t *table) remember(form string, s selected) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.known) >= maxForms {
		clear(t.known)
	}
	t.known[form] = s
}

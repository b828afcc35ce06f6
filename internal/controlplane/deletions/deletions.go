package deletions

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/endpoints/responsewriter"
)

// capacity bounds the memory of deletions. Whoever wants to know who deleted an object asks within seconds.
const capacity = 4096

// Memory is what is known of late deletions. An entry with an empty name stands for all of a namespace's objects of a resource, which were
// deleted together, and one with an empty namespace for all of them.
type Memory struct {
	mu     sync.Mutex
	byKey  map[key]deletion
	oldest []key // first in, first out
}

type key struct {
	resource        schema.GroupResource
	namespace, name string
}

type deletion struct {
	user string
	at   time.Time
}

// New makes an empty Memory.
func New() *Memory { return &Memory{byKey: map[key]deletion{}} }

// Record notes each request that deletes objects and succeeds. It belongs after authentication.
func (m *Memory) Record(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		info, ok := request.RequestInfoFrom(r.Context())
		if !ok || !info.IsResourceRequest || info.Subresource != "" || !strings.HasPrefix(info.Verb, "delete") {
			next.ServeHTTP(w, r)
			return
		}
		who, ok := request.UserFrom(r.Context())
		if !ok || r.URL.Query().Has("dryRun") {
			next.ServeHTTP(w, r)
			return
		}
		// The watch event may be faster than the answer, so the entry comes first and goes again when nothing was deleted.
		k := key{schema.GroupResource{Group: info.APIGroup, Resource: info.Resource}, info.Namespace, info.Name}
		before, had := m.note(k, deletion{who.GetName(), time.Now()})
		s := &statusOf{ResponseWriter: w, code: http.StatusOK}
		next.ServeHTTP(responsewriter.WrapForHTTP1Or2(s), r)
		if s.code >= http.StatusMultipleChoices {
			m.restore(k, before, had)
		}
	})
}

func (m *Memory) note(k key, e deletion) (before deletion, had bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before, had = m.byKey[k]
	m.byKey[k] = e
	if !had {
		m.oldest = append(m.oldest, k)
		if len(m.oldest) > capacity {
			delete(m.byKey, m.oldest[0])
			m.oldest = m.oldest[1:]
		}
	}
	return before, had
}

func (m *Memory) restore(k key, before deletion, had bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if had {
		m.byKey[k] = before
		return
	}
	delete(m.byKey, k)
	m.oldest = slices.DeleteFunc(m.oldest, func(o key) bool { return o == k })
}

// Who returns the user and the time of the latest deletion that concerned an object; ok is false when none is remembered. Deletions before the
// start of the process are forgotten, and so are old ones when there were many since.
func (m *Memory) Who(resource schema.GroupResource, namespace, name string) (user string, at time.Time, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var last deletion
	for _, k := range []key{{resource, namespace, name}, {resource, namespace, ""}, {resource, "", ""}} {
		if e, found := m.byKey[k]; found && e.at.After(last.at) {
			last, ok = e, true
		}
	}
	return last.user, last.at, ok
}

// statusOf remembers the status code of an answer.
type statusOf struct {
	http.ResponseWriter
	code int
}

func (s *statusOf) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets the wrapper find what else the writer can do.
func (s *statusOf) Unwrap() http.ResponseWriter { return s.ResponseWriter }

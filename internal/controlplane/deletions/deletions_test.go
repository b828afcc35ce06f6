package deletions

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/endpoints/request"
)

var pods = schema.GroupResource{Resource: "pods"}

// delete sends a request as the server's chain would hand it on, to a handler that answers with the code.
func (m *Memory) delete(t *testing.T, who, verb, namespace, name, query string, code int) {
	t.Helper()
	r := httptest.NewRequest(http.MethodDelete, "/?"+query, nil)
	ctx := request.WithUser(r.Context(), &user.DefaultInfo{Name: who})
	ctx = request.WithRequestInfo(ctx, &request.RequestInfo{IsResourceRequest: true, Verb: verb, Resource: "pods", Namespace: namespace, Name: name})
	m.Record(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) })).ServeHTTP(httptest.NewRecorder(), r.WithContext(ctx))
}

func TestTheLastSuccessfulDeletionOfAnObjectIsRemembered(t *testing.T) {
	d := New()
	d.delete(t, "alice", "delete", "shop", "web", "", 200)
	d.delete(t, "bob", "delete", "shop", "web", "", 404)
	d.delete(t, "carol", "delete", "shop", "web", "dryRun=All", 200)
	d.delete(t, "dora", "delete", "shop", "other", "", 409)
	for name, want := range map[string]string{"web": "alice", "other": "", "never": ""} {
		if got, _, _ := d.Who(pods, "shop", name); got != want {
			t.Errorf("%s was deleted by %q, want %q", name, got, want)
		}
	}
	d.delete(t, "erin", "deletecollection", "shop", "", "", 200)
	for name, want := range map[string]string{"web": "erin", "other": "erin"} {
		if got, _, _ := d.Who(pods, "shop", name); got != want {
			t.Errorf("after a deletion of all, %s was deleted by %q, want %q", name, got, want)
		}
	}
	if got, _, ok := d.Who(pods, "elsewhere", "web"); ok {
		t.Errorf("a Pod of another namespace was deleted by %q", got)
	}
}

func TestTheMemoryOfDeletionsIsBounded(t *testing.T) {
	d := New()
	for i := range capacity + 10 {
		d.delete(t, "alice", "delete", "shop", fmt.Sprint(i), "", 200)
	}
	if len(d.byKey) != capacity || len(d.oldest) != capacity {
		t.Errorf("%d entries in order %d, want %d", len(d.byKey), len(d.oldest), capacity)
	}
	if _, _, ok := d.Who(pods, "shop", "9"); ok {
		t.Error("the oldest deletion was kept")
	}
	if _, _, ok := d.Who(pods, "shop", fmt.Sprint(capacity+9)); !ok {
		t.Error("the newest deletion was not kept")
	}
}

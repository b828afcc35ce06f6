package routing

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/emicklei/go-restful/v3"
)

func nothing(*restful.Request, *restful.Response) {}

// services are routes as the API server has them.
func services() []*restful.WebService {
	var all []*restful.WebService
	for _, root := range []string{"/api", "/api/v1", "/apis/apps/v1", "/apis/apps", "/version"} {
		ws := new(restful.WebService).Path(root)
		if strings.Count(root, "/") < 2 || root == "/apis/apps" {
			ws.Route(ws.GET("/").To(nothing).Operation(root).Produces("application/json", "application/vnd.kubernetes.protobuf"))
			all = append(all, ws)
			continue
		}
		for _, resource := range []string{"pods", "nodes", "namespaces"} {
			for _, path := range []string{resource, "namespaces/{namespace}/" + resource, "watch/" + resource, "watch/namespaces/{namespace}/" + resource + "/{name}"} {
				ws.Route(ws.GET(path).To(nothing).Operation("list "+path).Produces("application/json", "application/json;stream=watch"))
				ws.Route(ws.POST(path).To(nothing).Operation("create "+path).Produces("application/json", "application/yaml"))
				one := path + "/{name}"
				ws.Route(ws.GET(one).To(nothing).Operation("get "+one).Produces("application/json", "application/yaml"))
				ws.Route(ws.PATCH(one).To(nothing).Operation("patch "+one).Consumes("application/json-patch+json", "application/merge-patch+json").Produces("application/json"))
				ws.Route(ws.PUT(one + "/status").To(nothing).Operation("put " + one).Produces("application/json"))
				for _, method := range []string{"GET", "POST"} {
					ws.Route(ws.Method(method).Path(one + "/proxy").To(nothing).Operation("proxy " + one).Produces("*/*").Consumes("*/*"))
					ws.Route(ws.Method(method).Path(one + "/proxy/{path:*}").To(nothing).Operation("proxy path " + one).Produces("*/*").Consumes("*/*"))
				}
			}
		}
		all = append(all, ws)
	}
	return all
}

func check(t *testing.T, m *Memo, all []*restful.WebService, method, path, accept, contentType string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Method, r.URL.Path = method, path
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	if contentType != "" {
		r.Header.Set("Content-Type", contentType)
	}
	wantService, want, wantErr := restful.CurlyRouter{}.SelectRoute(all, r)
	for range 2 { // the second time from memory
		service, got, err := m.SelectRoute(all, r)
		switch {
		case service != wantService, (err == nil) != (wantErr == nil), err != nil && err.Error() != wantErr.Error(), (got == nil) != (want == nil):
			t.Fatalf("%s %q (Accept %q, Content-Type %q): %v, %v; the library's router: %v, %v", method, path, accept, contentType, got, err, want, wantErr)
		case got != nil && (got.Path != want.Path || got.Operation != want.Operation || got.Method != want.Method):
			t.Fatalf("%s %q (Accept %q, Content-Type %q): %s %s; the library's router: %s %s", method, path, accept, contentType, got.Method, got.Path, want.Method, want.Path)
		}
	}
}

var (
	seedMethods = []string{"GET", "POST", "PATCH", "PUT", "DELETE", "HEAD"}
	seedPaths   = []string{
		"", "/", "//", "/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/pods", "/api/v1/pods/", "//api/v1/pods", "/api/v1/namespaces", "/api/v1/namespaces/shop", "/api/v1/namespaces/pods",
		"/api/v1/namespaces/shop/pods", "/api/v1/namespaces/pods/pods", "/api/v1/namespaces/shop/pods/web", "/api/v1/namespaces/shop/pods/status", "/api/v1/namespaces/watch/pods/proxy",
		"/api/v1/namespaces/shop/pods/web/status", "/api/v1/namespaces/status/pods/proxy/proxy/a/b//c/", "/api/v1/watch/pods", "/api/v1/watch/namespaces/shop/pods/web", "/api/v1/namespaces//pods/web",
		"/api/v1/nodes/proxy/proxy/pods", "/apis/apps/v1/pods/web", "/apis/apps/v1", "/apis/apps", "/version", "/nope", "/api/v1/\x01/pods", "/api/v1/pods/*", "/api/v1/pods/{name}",
	}
	seedTypes = []string{"", "*/*", "application/json", "application/yaml", "application/merge-patch+json", "text/html", "application/json;stream=watch", "application/json;q=0.5, */*"}
)

func TestAMemoSelectsWhatTheRouterSelects(t *testing.T) {
	all, m := services(), &Memo{}
	for _, method := range seedMethods {
		for _, path := range seedPaths {
			for _, accept := range seedTypes {
				for _, contentType := range seedTypes {
					check(t, m, all, method, path, accept, contentType)
				}
			}
		}
	}
	if known := len(m.current.Load().known); known == 0 || known > maxForms {
		t.Errorf("%d forms are known", known)
	}
}

func TestAMemoForgetsWhenServicesComeAndGo(t *testing.T) {
	m, c := &Memo{}, restful.NewContainer()
	all := services()
	c.Router(m)
	status := func(path string) int {
		w := httptest.NewRecorder()
		c.Dispatch(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code
	}
	c.Add(all[1])
	for _, step := range []struct {
		change     func()
		core, apps int
	}{
		{func() {}, 200, 404},
		{func() { c.Add(all[2]) }, 200, 200},
		{func() { _ = c.Remove(all[1]) }, 404, 200}, // there is no error but for the default mux
		{func() { c.Add(all[1]) }, 200, 200},
	} {
		step.change()
		for range 2 {
			if core, apps := status("/api/v1/pods/a"), status("/apis/apps/v1/pods/a"); core != step.core || apps != step.apps {
				t.Fatalf("answers %d and %d, want %d and %d", core, apps, step.core, step.apps)
			}
		}
	}
}

// What looks closer at a request than Memo does is never remembered.
func TestAMemoAsksWhereRoutesLookCloser(t *testing.T) {
	for name, route := range map[string]func(*restful.WebService) *restful.RouteBuilder{
		"expression": func(ws *restful.WebService) *restful.RouteBuilder { return ws.GET("/{name:[a-z]+}") },
		"verb":       func(ws *restful.WebService) *restful.RouteBuilder { return ws.GET("/{name}:stop") },
		"fixed verb": func(ws *restful.WebService) *restful.RouteBuilder { return ws.GET("/all:stop") },
		"condition": func(ws *restful.WebService) *restful.RouteBuilder {
			return ws.GET("/{name}").If(func(r *http.Request) bool { return r.URL.Path == "/a/b" })
		},
	} {
		t.Run(name, func(t *testing.T) {
			ws := new(restful.WebService).Path("/a")
			ws.Route(route(ws).To(nothing))
			all, m := []*restful.WebService{ws}, &Memo{}
			for _, path := range []string{"/a/b", "/a/7", "/a/b:stop", "/a/all:stop", "/a/c:go"} {
				check(t, m, all, "GET", path, "", "")
			}
			if m.current.Load().fixed != nil || len(m.current.Load().known) > 0 {
				t.Error("something is remembered")
			}
		})
	}
}

func FuzzMemo(f *testing.F) {
	for i, path := range seedPaths {
		f.Add(seedMethods[i%len(seedMethods)], path, seedTypes[i%len(seedTypes)], seedTypes[i%3])
	}
	all, m := services(), &Memo{}
	f.Fuzz(func(t *testing.T, method, path, accept, contentType string) {
		if len(path) > 300 {
			return
		}
		check(t, m, all, method, path, accept, contentType)
	})
}

package openapi

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/emicklei/go-restful/v3"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apiserver/pkg/server/mux"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/common/restfuladapter"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// keep is how long a document is kept after somebody asked for it: a client reads those of many groups one after the other, and more than once.
const keep = 2 * time.Minute

// Publish serves the OpenAPI documents of the resources that are installed in a container, under /openapi/v2 and /openapi/v3.
//
// The library would build all documents at the start, which takes longer than everything else there, and keep them as objects and as text,
// which takes more memory than everything else together. Hardly anybody asks. Here a document is built when it is asked for and forgotten
// after a while; what tells clients whether theirs is still good comes from the identity of the program instead of from the text.
func Publish(m *mux.PathRecorderMux, c *restful.Container, v2 *common.Config, v3 *common.OpenAPIV3Config) {
	p := &publisher{container: c, v2: v2, v3: v3, identity: identity(), built: map[string]*document{}}
	m.Handle("/openapi/v2", http.HandlerFunc(p.serveV2))
	m.Handle("/openapi/v3", http.HandlerFunc(p.serveIndex))
	m.HandlePrefix("/openapi/v3/", http.HandlerFunc(p.serveV3))
}

type publisher struct {
	container *restful.Container
	v2        *common.Config
	v3        *common.OpenAPIV3Config
	identity  string

	mu    sync.Mutex
	built map[string]*document
}

type document struct {
	handler http.Handler
	forget  *time.Timer
}

// tag identifies the content of one document of this program.
func (p *publisher) tag(path string) string {
	sum := sha256.Sum256([]byte(p.identity + "\n" + path))
	return strings.ToUpper(hex.EncodeToString(sum[:]))
}

// document returns the handler of a document, built if need be. One is built at a time: they share the library's definitions.
func (p *publisher) document(path string, build func() (http.Handler, error)) (http.Handler, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if d := p.built[path]; d != nil {
		d.forget.Reset(keep)
		return d.handler, nil
	}
	h, err := build()
	if err != nil {
		return nil, err
	}
	d := &document{handler: h}
	d.forget = time.AfterFunc(keep, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.built[path] == d {
			delete(p.built, path)
		}
	})
	p.built[path] = d
	return h, nil
}

// groups are the container's services by the path of their group and version, such as apis/apps/v1.
func (p *publisher) groups() map[string]*restful.WebService {
	out := map[string]*restful.WebService{}
	for _, ws := range p.container.RegisteredWebServices() {
		out[strings.TrimPrefix(ws.RootPath(), "/")] = ws
	}
	return out
}

func (p *publisher) serveIndex(w http.ResponseWriter, r *http.Request) {
	index := handler3.OpenAPIV3Discovery{Paths: map[string]handler3.OpenAPIV3DiscoveryGroupVersion{}}
	for gv := range p.groups() {
		index.Paths[gv] = handler3.OpenAPIV3DiscoveryGroupVersion{ServerRelativeURL: p.address(gv)}
	}
	text, err := json.Marshal(index)
	if err != nil {
		fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

func (p *publisher) address(gv string) string {
	return (&url.URL{Path: "/openapi/v3/" + gv, RawQuery: url.Values{"hash": {p.tag(gv)}}.Encode()}).String()
}

func (p *publisher) serveV3(w http.ResponseWriter, r *http.Request) {
	gv := strings.TrimPrefix(r.URL.Path, "/openapi/v3/")
	ws, ok := p.groups()[gv]
	if !ok {
		http.NotFound(w, r)
		return
	}
	query := r.URL.Query()
	if hash := query.Get("hash"); hash != "" {
		if hash != p.tag(gv) {
			http.Redirect(w, r, p.address(gv), http.StatusMovedPermanently)
			return
		}
		// The address names the content, so it holds for ever.
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
		query.Del("hash")
		r = r.Clone(r.Context())
		r.URL.RawQuery = query.Encode()
	}
	p.serve(w, r, gv, func() (http.Handler, error) {
		d, err := builder3.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices([]*restful.WebService{ws}), p.v3)
		if err != nil {
			return nil, err
		}
		onlyOwn(d, gv)
		service := handler3.NewOpenAPIService()
		service.UpdateGroupVersion(gv, d)
		return http.HandlerFunc(service.HandleGroupVersion), nil
	})
}

func (p *publisher) serveV2(w http.ResponseWriter, r *http.Request) {
	p.serve(w, r, "v2", func() (http.Handler, error) {
		d, err := builder.BuildOpenAPISpecFromRoutes(restfuladapter.AdaptWebServices(p.container.RegisteredWebServices()), p.v2)
		if err != nil {
			return nil, err
		}
		d.Definitions = handler.PruneDefaults(d.Definitions)
		var only single
		handler.NewOpenAPIService(d).RegisterOpenAPIVersionedService("/openapi/v2", &only)
		return only.Handler, nil
	})
}

func (p *publisher) serve(w http.ResponseWriter, r *http.Request, path string, build func() (http.Handler, error)) {
	tag := strconv.Quote(p.tag(path))
	if r.Header.Get("If-None-Match") == tag {
		w.Header().Set("Etag", tag)
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h, err := p.document(path, build)
	if err != nil {
		fail(w, r, fmt.Errorf("build the OpenAPI document of %s: %w", path, err))
		return
	}
	h.ServeHTTP(&tagged{ResponseWriter: w, tag: tag}, r)
}

func fail(w http.ResponseWriter, r *http.Request, err error) {
	slog.Error("an OpenAPI document cannot be served", "path", r.URL.Path, "err", err)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

// tagged replaces the tag that the library makes from the text.
type tagged struct {
	http.ResponseWriter
	tag string
}

func (t *tagged) WriteHeader(code int) {
	if t.Header().Get("Etag") != "" {
		t.Header().Set("Etag", t.tag)
	}
	t.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the writer.
func (t *tagged) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// single is where the library puts its only handler.
type single struct{ http.Handler }

func (s *single) Handle(_ string, h http.Handler) { s.Handler = h }

// onlyOwn takes other groups out of the kinds that every group version has for itself, such as DeleteOptions: each of them would list all.
func onlyOwn(d *spec3.OpenAPI, gv string) {
	const extension = "x-kubernetes-group-version-kind"
	if d.Components == nil {
		return
	}
	for name, s := range d.Components.Schemas {
		if !strings.HasSuffix(name, ".meta.v1.DeleteOptions") && !strings.HasSuffix(name, ".meta.v1.WatchEvent") {
			continue
		}
		kinds, _ := s.Extensions[extension].([]any)
		var own []any
		for _, k := range kinds {
			m, _ := k.(map[string]any)
			group, _ := m["group"].(string)
			version, _ := m["version"].(string)
			if group == "" && version == "v1" || gv == "apis/"+group+"/"+version {
				own = append(own, k)
			}
		}
		if len(own) == 0 {
			continue
		}
		// Definitions are shared between documents, so this one gets its own.
		c := *s
		c.Extensions = spec.Extensions{}
		for k, v := range s.Extensions {
			c.Extensions[k] = v
		}
		c.Extensions[extension] = own
		d.Components.Schemas[name] = &c
	}
}

// identity is another for every build of the program, and the same for each run of one; without a build ID, another for each run.
func identity() string {
	if f, err := elf.Open("/proc/self/exe"); err == nil {
		defer f.Close()
		if s := f.Section(".note.go.buildid"); s != nil {
			if note, err := s.Data(); err == nil {
				return hex.EncodeToString(note)
			}
		}
	}
	return string(uuid.NewUUID())
}

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/gitopsd/gitopsd/internal/kubelet/identity"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/pod"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/stats"
)

// Server serves one node.
type Server struct {
	Pods    *pod.Set
	Node    *pod.Node
	Runtime *runtime.Runtime
	Logs    *logs.Client
	Stats   *stats.Source
	Access  *Access
	Facts   Facts
}

// Serve answers on l until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener, id *identity.Identity) error {
	srv := &http.Server{
		Handler: s.handler(), TLSConfig: id.ServerTLS(), ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 90 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		// HTTP/2 has no connection upgrade, which SPDY streams begin with.
		TLSNextProto: map[string]func(*http.Server, tlsConn, http.Handler){},
	}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	if err := srv.ServeTLS(l, "", ""); err != nil && !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving on %s: %w", l.Addr(), err)
	}
	return nil
}

// handler answers on the kubelet's own paths.
func (s *Server) handler() http.Handler {
	mux, m := http.NewServeMux(), newMetrics(s)
	handle := func(method, path string, long bool, h http.HandlerFunc) {
		top, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/{")
		mux.HandleFunc(method+" "+path, m.counted(top, long, h))
	}
	for _, path := range []string{"/healthz", "/healthz/ping"} {
		handle("GET", path, false, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	}
	handle("GET", "/healthz/syncloop", false, func(w http.ResponseWriter, _ *http.Request) {
		s.Pods.List() // answers only while the Pods' workers can be asked
		fmt.Fprint(w, "ok")
	})
	handle("GET", "/pods", false, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, s.pods(func(*v1.Pod) bool { return true }))
	})
	handle("GET", "/runningpods/", false, func(w http.ResponseWriter, _ *http.Request) {
		writeJSON(w, s.pods(func(p *v1.Pod) bool { return p.Status.Phase == v1.PodRunning }))
	})
	handle("GET", "/containerLogs/{namespace}/{pod}/{container}", true, s.containerLogs)
	for _, method := range []string{"GET", "POST"} {
		handle(method, "/exec/{namespace}/{pod}/{container}", true, s.exec)
		handle(method, "/exec/{namespace}/{pod}/{uid}/{container}", true, s.exec)
		handle(method, "/attach/{namespace}/{pod}/{container}", true, s.attach)
		handle(method, "/attach/{namespace}/{pod}/{uid}/{container}", true, s.attach)
		handle(method, "/portForward/{namespace}/{pod}", true, s.portForward)
		handle(method, "/portForward/{namespace}/{pod}/{uid}", true, s.portForward)
	}
	handle("GET", "/stats/summary", false, s.summary)
	handle("GET", "/configz", false, func(w http.ResponseWriter, r *http.Request) { writeJSON(w, s.Facts.configuration(r.Context())) })
	handle("GET", "/debug/starts", false, func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Node.Starts) })
	handle("GET", "/metrics", false, m.own.ServeHTTP)
	handle("GET", "/metrics/cadvisor", false, m.cadvisor.ServeHTTP)
	handle("GET", "/metrics/resource", false, m.resource.ServeHTTP)
	handle("GET", "/metrics/probes", false, m.probes.ServeHTTP)
	handle("GET", "/logs/", true, s.systemLogs)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			if code, why := s.Access.refuse(r); why != "" {
				http.Error(w, why, code)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// summary sends the figures; with only_cpu_and_memory=true nothing else, which is all that autoscalers read.
func (s *Server) summary(w http.ResponseWriter, r *http.Request) {
	sum := s.Stats.Summary()
	if only, err := strconv.ParseBool(r.URL.Query().Get("only_cpu_and_memory")); err == nil && only {
		sum.Node.Network, sum.Node.Fs, sum.Node.Runtime = nil, nil, nil
		for i := range sum.Pods {
			sum.Pods[i].Network, sum.Pods[i].ProcessStats = nil, nil
		}
	}
	writeJSON(w, sum)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("a client went away", "err", err)
	}
}

func (s *Server) pods(wanted func(*v1.Pod) bool) *v1.PodList {
	list := &v1.PodList{Items: []v1.Pod{}}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "PodList"})
	for _, p := range s.Pods.List() {
		if wanted(p) {
			list.Items = append(list.Items, *p)
		}
	}
	return list
}

// find gives the Pod and the status of the container that a request's path names, or answers that there is none.
func (s *Server) find(w http.ResponseWriter, r *http.Request, container string) (*v1.Pod, *v1.ContainerStatus) {
	p := s.Pods.Get(r.PathValue("namespace"), r.PathValue("pod"))
	if p == nil || r.PathValue("uid") != "" && r.PathValue("uid") != string(p.UID) {
		http.Error(w, fmt.Sprintf("pod %s/%s does not run on this node", r.PathValue("namespace"), r.PathValue("pod")), http.StatusNotFound)
		return nil, nil
	}
	if container == "" {
		return p, nil
	}
	for _, list := range [][]v1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses, p.Status.EphemeralContainerStatuses} {
		for i := range list {
			if list[i].Name == container {
				return p, &list[i]
			}
		}
	}
	if containerSpec(p, container) != nil {
		// Bound to this node a moment ago: nothing has been reported of it.
		return p, &v1.ContainerStatus{Name: container, State: v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: "ContainerCreating"}}}
	}
	http.Error(w, fmt.Sprintf("container %q not found in pod %q", container, p.Name), http.StatusNotFound)
	return nil, nil
}

package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/metrics"
	"slices"
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

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") })
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.containerLogs)
	for _, method := range []string{"GET", "POST"} {
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{container}", s.exec)
		mux.HandleFunc(method+" /exec/{namespace}/{pod}/{uid}/{container}", s.exec)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{container}", s.attach)
		mux.HandleFunc(method+" /attach/{namespace}/{pod}/{uid}/{container}", s.attach)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}", s.portForward)
		mux.HandleFunc(method+" /portForward/{namespace}/{pod}/{uid}", s.portForward)
	}
	mux.HandleFunc("GET /stats/summary", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.Stats.Summary()) })
	mux.HandleFunc("GET /metrics/resource", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		stats.WriteResource(w, s.Stats.Summary())
	})
	mux.HandleFunc("GET /metrics", s.metrics)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			if code, why := refuse(r); why != "" {
				http.Error(w, why, code)
				return
			}
		}
		mux.ServeHTTP(w, r)
	})
}

// refuse says why a request may not be made; only the API server's own certificate, of the group system:masters, may ask for anything.
func refuse(r *http.Request) (int, string) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return http.StatusUnauthorized, "this server is for the cluster's API server: show a client certificate signed by the cluster's CA"
	}
	if who := r.TLS.PeerCertificates[0].Subject; !slices.Contains(who.Organization, "system:masters") {
		return http.StatusForbidden, fmt.Sprintf("%q may not ask nodes; ask the API server", who.CommonName)
	}
	return 0, ""
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		slog.Debug("a client went away", "err", err)
	}
}

func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	list := &v1.PodList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Version: "v1", Kind: "PodList"})
	for _, p := range s.Pods.List() {
		list.Items = append(list.Items, *p)
	}
	writeJSON(w, list)
}

// metrics of the daemon itself, in Prometheus' text format.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	running, containers := 0, map[string]int{"waiting": 0, "running": 0, "exited": 0}
	for _, p := range s.Pods.List() {
		if p.Status.Phase == v1.PodRunning {
			running++
		}
		for _, c := range p.Status.ContainerStatuses {
			switch {
			case c.State.Running != nil:
				containers["running"]++
			case c.State.Terminated != nil:
				containers["exited"]++
			default:
				containers["waiting"]++
			}
		}
	}
	fmt.Fprintf(w, "# HELP kubelet_running_pods Pods that run on this node\n# TYPE kubelet_running_pods gauge\nkubelet_running_pods %d\n", running)
	fmt.Fprint(w, "# HELP kubelet_running_containers Containers of this node by state\n# TYPE kubelet_running_containers gauge\n")
	for _, state := range []string{"waiting", "running", "exited"} {
		fmt.Fprintf(w, "kubelet_running_containers{container_state=%q} %d\n", state, containers[state])
	}
	samples := []metrics.Sample{{Name: "/sched/goroutines:goroutines"}, {Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(samples)
	fmt.Fprintf(w, "# HELP go_goroutines Goroutines that exist\n# TYPE go_goroutines gauge\ngo_goroutines %d\n", samples[0].Value.Uint64())
	fmt.Fprintf(w, "# HELP go_memstats_heap_alloc_bytes Bytes of heap in use\n# TYPE go_memstats_heap_alloc_bytes gauge\ngo_memstats_heap_alloc_bytes %d\n", samples[1].Value.Uint64())
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
	http.Error(w, fmt.Sprintf("container %s not found in pod %s", container, p.Name), http.StatusNotFound)
	return nil, nil
}

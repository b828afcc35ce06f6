package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// healthChecks answers load balancers that ask a node whether it has an endpoint of a Service, at the Service's health check node port, in
// the words of Kubernetes' own proxy: 200 while there is one, 503 while there is none. Its methods are called by one goroutine.
type healthChecks struct {
	log     *slog.Logger
	servers map[types.NamespacedName]*healthServer
}

type healthServer struct {
	service types.NamespacedName
	port    uint16
	http    *http.Server // nil: the port could not be had yet

	mu    sync.Mutex
	local int
}

// set says at which port a Service's health is asked for, 0 for at none, and how many ready endpoints it has on this node.
func (h *healthChecks) set(service types.NamespacedName, port uint16, local int) {
	s := h.servers[service]
	if s != nil && s.port != port {
		s.close()
		delete(h.servers, service)
		s = nil
	}
	if port == 0 {
		return
	}
	if s == nil {
		s = &healthServer{service: service, port: port}
		h.servers[service] = s
	}
	s.mu.Lock()
	s.local = local
	s.mu.Unlock()
	h.open(s)
}

// open listens at the port unless it does already. A port that is taken is tried again by retry.
func (h *healthChecks) open(s *healthServer) {
	if s.http != nil {
		return
	}
	l, err := net.Listen("tcp", fmt.Sprintf(":%d", s.port))
	if err != nil {
		h.log.Error("the health check node port of a Service cannot be listened at; it is tried again", "service", s.service, "port", s.port, "err", err)
		return
	}
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: healthTimeout, IdleTimeout: healthTimeout, MaxHeaderBytes: 4 << 10}
	go func(server *http.Server) {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			h.log.Error("health checks of a Service are answered no more", "service", s.service, "err", err)
		}
	}(s.http)
}

// healthTimeout is more than load balancers leave between two questions.
const healthTimeout = 30 * time.Second

// retry listens at the ports that could not be had before.
func (h *healthChecks) retry() {
	for _, s := range h.servers {
		h.open(s)
	}
}

func (h *healthChecks) closeAll() {
	for _, s := range h.servers {
		s.close()
	}
	clear(h.servers)
}

func (s *healthServer) close() {
	if s.http != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if s.http.Shutdown(ctx) != nil {
			_ = s.http.Close()
		}
	}
}

func (s *healthServer) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	local := s.local
	s.mu.Unlock()
	var body struct {
		Service struct {
			Namespace string `json:"namespace"`
			Name      string `json:"name"`
		} `json:"service"`
		LocalEndpoints int  `json:"localEndpoints"`
		ProxyHealthy   bool `json:"serviceProxyHealthy"`
	}
	body.Service.Namespace, body.Service.Name = s.service.Namespace, s.service.Name
	body.LocalEndpoints, body.ProxyHealthy = local, true
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(local))
	if local == 0 {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // a client that is gone needs no answer
}

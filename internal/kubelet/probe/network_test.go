package probe

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// listen opens a port of this host's loopback interface, which stands for a Pod's.
func listen(t *testing.T) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

func check(t *testing.T, h v1.ProbeHandler, c *v1.Container) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	return Check(ctx, h, Target{IP: "127.0.0.1", Container: c})
}

func TestGRPCChecksAskTheHealthService(t *testing.T) {
	l, port := listen(t)
	services := health.NewServer()
	services.SetServingStatus("", healthpb.HealthCheckResponse_SERVING)
	services.SetServingStatus("orders", healthpb.HealthCheckResponse_SERVING)
	services.SetServingStatus("stock", healthpb.HealthCheckResponse_NOT_SERVING)
	srv := grpc.NewServer()
	healthpb.RegisterHealthServer(srv, services)
	go srv.Serve(l)
	t.Cleanup(srv.Stop)

	bare, barePort := listen(t)
	without := grpc.NewServer()
	go without.Serve(bare)
	t.Cleanup(without.Stop)

	silent, silentPort := listen(t)
	go func() { // takes connections and never answers
		for {
			if _, err := silent.Accept(); err != nil {
				return
			}
		}
	}()
	name := func(s string) *string { return &s }
	for _, c := range []struct {
		name    string
		port    int
		service *string
		want    string // in the message; empty for healthy
	}{
		{"the server as a whole", port, nil, ""},
		{"an empty name is the same", port, name(""), ""},
		{"a service", port, name("orders"), ""},
		{"a service that does not serve", port, name("stock"), `service unhealthy (responded with "NOT_SERVING")`},
		{"a service that there is not", port, name("other"), "unknown service"},
		{"a server without the health service", barePort, nil, "Unimplemented"},
		{"one that never answers", silentPort, nil, "DeadlineExceeded"},
	} {
		r := check(t, v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: int32(c.port), Service: c.service}}, nil)
		if r.OK != (c.want == "") || !strings.Contains(r.Message, c.want) {
			t.Errorf("%s: got %+v, want %q in the message", c.name, r, c.want)
		}
		if r.Early {
			t.Errorf("%s: it counts as not started yet", c.name)
		}
	}
	free, freePort := listen(t)
	free.Close()
	if r := check(t, v1.ProbeHandler{GRPC: &v1.GRPCAction{Port: int32(freePort)}}, nil); r.OK || !r.Early {
		t.Errorf("where nothing listens: %+v, want it to be early", r)
	}
}

func TestTCPChecksWantAConnectionOnly(t *testing.T) {
	_, port := listen(t)
	c := &v1.Container{Name: "c", Ports: []v1.ContainerPort{{Name: "web", ContainerPort: int32(port)}}}
	for name, p := range map[string]intstr.IntOrString{"a number": intstr.FromInt(port), "a name": intstr.FromString("web")} {
		if r := check(t, v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: p}}, c); !r.OK {
			t.Errorf("%s: %+v", name, r)
		}
	}
	r := check(t, v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromString("none")}}, c)
	if r.OK || !strings.Contains(r.Message, `port "none" is no number, and container c has no port of that name`) {
		t.Errorf("a port name that there is not: %+v", r)
	}
	if r := check(t, v1.ProbeHandler{TCPSocket: &v1.TCPSocketAction{Port: intstr.FromInt(port), Host: "127.0.0.2"}}, c); r.OK {
		t.Error("another host than the Pod's was not asked")
	}
}

func TestHTTPSChecksAskNoQuestionsAboutTheCertificate(t *testing.T) {
	var agent, host string
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { agent, host = r.UserAgent(), r.Host }))
	t.Cleanup(s.Close)
	port := s.Listener.Addr().(*net.TCPAddr).Port
	h := v1.ProbeHandler{HTTPGet: &v1.HTTPGetAction{Port: intstr.FromInt(port), Scheme: v1.URISchemeHTTPS, HTTPHeaders: []v1.HTTPHeader{{Name: "host", Value: "shop.example"}}}}
	if r := check(t, h, nil); !r.OK {
		t.Errorf("got %+v", r)
	}
	if !strings.HasPrefix(agent, "kube-probe/") || host != "shop.example" {
		t.Errorf("it was asked by %q for host %q", agent, host)
	}
}

func TestAProbeWithoutACheckSaysSo(t *testing.T) {
	if r := check(t, v1.ProbeHandler{}, nil); r.OK || !strings.Contains(r.Message, "set exec, httpGet, tcpSocket or grpc") {
		t.Errorf("got %+v", r)
	}
}

package server_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
	"github.com/gitopsd/gitopsd/internal/controlplane/server"
	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

// collector receives spans as an OpenTelemetry collector does.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	mu      sync.Mutex
	spans   []*tracev1.Span
	service string
}

func (c *collector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range r.ResourceSpans {
		for _, a := range resource.Resource.Attributes {
			if a.Key == "service.name" {
				c.service = a.Value.GetStringValue()
			}
		}
		for _, scope := range resource.ScopeSpans {
			c.spans = append(c.spans, scope.Spans...)
		}
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}

// of are the spans of one trace by their names, each with the name of its parent.
func (c *collector) of(trace string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	names := map[string]string{}
	for _, s := range c.spans {
		names[string(s.SpanId)] = s.Name
	}
	found := map[string]string{}
	for _, s := range c.spans {
		if fmt.Sprintf("%x", s.TraceId) == trace {
			found[s.Name] = names[string(s.ParentSpanId)]
		}
	}
	return found
}

func collect(t *testing.T) (*collector, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, s := &collector{}, grpc.NewServer()
	coltrace.RegisterTraceServiceServer(s, c)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l) // it ends by Stop
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return c, l.Addr().String()
}

func TestARequestIsTracedDownToEtcd(t *testing.T) {
	received, at := collect(t)
	file := filepath.Join(t.TempDir(), "tracing.yaml")
	text := fmt.Sprintf("apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\nendpoint: %s\nsamplingRatePerMillion: 0\n", at)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c := servertest.With(t, func(cfg *server.Config) { cfg.TracingConfig = file })
	namespace(t, client(t, c.System), "shop")
	// Nothing is sampled by itself, but what a client has begun to trace is gone on with.
	const trace = "0af7651916cd43dd8448eb211c80319c"
	traced := func(config *rest.Config) *rest.Config {
		return withHeader(config, "Traceparent", "00-"+trace+"-b7ad6b7169203331-01")
	}
	k := client(t, traced(c.User(t, "admin", "system:masters")))
	must[*corev1.ConfigMap](t)(k.CoreV1().ConfigMaps("shop").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "traced"}}, metav1.CreateOptions{}))
	const request = "POST /api/v1/namespaces/{:namespace}/configmaps"
	var got map[string]string
	eventually(t, "the spans have arrived", func() bool {
		got = received.of(trace)
		_, ok := got[request]
		return ok && len(got) >= 5
	})
	for span, parent := range map[string]string{request: "", "Create": "authorization", "Create etcd3": "Create", "etcdserverpb.KV/Txn": "Create etcd3"} {
		if under, ok := got[span]; !ok || under != parent {
			t.Errorf("span %q: there %v, under %q, want it under %q; all: %v", span, ok, under, parent, got)
		}
	}
	if received.service != "apiserver" {
		t.Errorf("the spans are of the service %q", received.service)
	}
	received.mu.Lock()
	defer received.mu.Unlock()
	for _, s := range received.spans {
		if fmt.Sprintf("%x", s.TraceId) != trace {
			t.Errorf("a span of a request that nobody traces: %s", s.Name)
		}
	}
}

func TestATracingConfigurationThatIsWrongIsRefusedWithItsFile(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n"
	for name, test := range map[string]struct{ text, says string }{
		"another kind":     {"apiVersion: v1\nkind: Pod\n", "no kind"},
		"no YAML":          {"{", "yaml"},
		"an unknown field": {head + "surprise: 1\n", "surprise"},
		"too much":         {head + "samplingRatePerMillion: 1000001\n", "samplingRatePerMillion"},
		"less than none":   {head + "samplingRatePerMillion: -1\n", "samplingRatePerMillion"},
		"no endpoint":      {head + "endpoint: \"foo:bar:baz\"\n", "endpoint"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			file := filepath.Join(dir, "tracing.yaml")
			if err := os.WriteFile(file, []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			keys, err := pki.Open(filepath.Join(dir, "pki"))
			if err != nil {
				t.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			_, err = server.New(t.Context(), server.Config{EtcdDir: filepath.Join(dir, "etcd"), PKI: keys, Listener: l, ServiceCIDRs: []netip.Prefix{servertest.ServiceCIDR}, TracingConfig: file})
			if err == nil || !strings.Contains(err.Error(), "--tracing-config-file "+file) || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error about --tracing-config-file and %q", err, test.says)
			}
		})
	}
}

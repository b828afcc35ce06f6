package server_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/controlplane/server/servertest"
)

func TestHealthIsToldByNamedChecksAndMetricsByTheNamesThatDashboardsRead(t *testing.T) {
	c := servertest.Start(t)
	k := client(t, c.System)
	text := func(path string, params ...string) string {
		t.Helper()
		r := k.Discovery().RESTClient().(*rest.RESTClient).Get().AbsPath(path)
		for _, p := range params {
			name, value, _ := strings.Cut(p, "=")
			r = r.Param(name, value)
		}
		b, err := r.DoRaw(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return string(b)
	}
	// The API answers before everything is there that a new cluster starts with; the checks say so until it is.
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, 20*time.Second, true, func(ctx context.Context) (bool, error) {
		_, err := k.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		return err == nil, nil
	})
	if err != nil {
		t.Fatalf("not ready: %v", err)
	}
	for _, path := range []string{"/healthz", "/livez", "/readyz"} {
		if got := text(path); got != "ok" {
			t.Errorf("%s: got %q, want ok", path, got)
		}
		if got := text(path+"/etcd", "verbose=true"); !strings.Contains(got, "ok") {
			t.Errorf("%s/etcd: got %q, want ok", path, got)
		}
		if got := text(path, "verbose=true", "exclude=ping"); !strings.Contains(got, "[+]etcd ok") || !strings.Contains(got, "[+]ping excluded: ok") {
			t.Errorf("%s: got %q, want each check by name, and ping excluded", path, got)
		}
	}
	if _, err := k.CoreV1().RESTClient().Get().Resource("nodes").DoRaw(t.Context()); err != nil {
		t.Fatal(err)
	}
	metrics := text("/metrics")
	for _, name := range []string{
		"apiserver_request_total", "apiserver_request_duration_seconds_bucket", "etcd_request_duration_seconds_bucket", "workqueue_adds_total",
		"process_resident_memory_bytes", "go_goroutines", "apiserver_flowcontrol_current_executing_requests",
		"etcd_server_has_leader", "etcd_disk_wal_fsync_duration_seconds_bucket", "etcd_mvcc_db_total_size_in_bytes", "kubernetes_build_info", "apiserver_resource_objects",
	} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("/metrics has no %s", name)
		}
	}
}

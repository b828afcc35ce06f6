package kubelet_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	v1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// ask asks the node by way of the API server, as dashboards do that have no way of their own to nodes.
func (h *host) ask(path string) string {
	h.t.Helper()
	b, err := h.client.CoreV1().RESTClient().Get().Resource("nodes").Name("n1").SubResource("proxy").Suffix(path).DoRaw(h.ctx())
	if err != nil {
		h.t.Fatalf("%s: %v: %.300s", path, err, b)
	}
	return string(b)
}

// metrics are the series of a path: the names of all labels, and the value, by name and by what the wanted labels are.
func (h *host) metrics(path string) func(name string, labels ...string) (value float64, labelNames []string) {
	h.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(h.ask(path)))
	if err != nil {
		h.t.Fatalf("%s: %v", path, err)
	}
	return func(name string, labels ...string) (float64, []string) {
		h.t.Helper()
	next:
		for _, m := range families[name].GetMetric() {
			var names []string
			have := map[string]string{}
			for _, l := range m.Label {
				names = append(names, l.GetName())
				have[l.GetName()] = l.GetValue()
			}
			for _, want := range labels {
				if k, v, _ := strings.Cut(want, "="); have[k] != v {
					continue next
				}
			}
			switch {
			case m.Counter != nil:
				return m.Counter.GetValue(), names
			case m.Histogram != nil:
				return float64(m.Histogram.GetSampleCount()), names
			}
			return m.Gauge.GetValue(), names
		}
		h.t.Errorf("%s has no %s with %v", path, name, labels)
		return 0, nil
	}
}

func TestDashboardsFindTheirFigures(t *testing.T) {
	h := start(t)
	h.create("p", `{containers: [{name: c, command: [sh, -c, 'head -c 20000000 /dev/zero | tail -c 20000000 >/dev/null; touch /tmp/ok; while :; do echo x; done | head -c 20000000 >/dev/null; sleep 1000'],
		resources: {limits: {cpu: 500m, memory: 64Mi}}, readinessProbe: {exec: {command: [cat, /tmp/ok]}, periodSeconds: 1}}]}`)
	p := h.wait("p", "to be ready", ready)
	id := strings.TrimPrefix(p.Status.ContainerStatuses[0].ContainerID, "containerd://")
	mine := []string{"namespace=default", "pod=p", "container=c"}
	positive := func(get func(string, ...string) (float64, []string), name string, labels ...string) []string {
		t.Helper()
		v, names := get(name, labels...)
		if v <= 0 {
			t.Errorf("%s%v is %v, want more than 0", name, labels, v)
		}
		return names
	}

	cadvisor := h.metrics("metrics/cadvisor")
	for _, name := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_memory_usage_bytes", "container_memory_max_usage_bytes",
		"container_processes", "container_start_time_seconds", "container_last_seen", "container_spec_cpu_shares", "container_cpu_cfs_periods_total"} {
		names := strings.Join(positive(cadvisor, name, append(mine, "name="+id, "image="+testImage)...), " ")
		for _, label := range []string{"container", "id", "image", "name", "namespace", "pod"} {
			if !strings.Contains(names, label) {
				t.Errorf("%s has the labels %s, without %s", name, names, label)
			}
		}
	}
	if v, _ := cadvisor("container_spec_memory_limit_bytes", mine...); v != 64<<20 {
		t.Errorf("the memory limit is %v, want %v", v, 64<<20)
	}
	if v, _ := cadvisor("container_spec_cpu_quota", mine...); v != 50000 {
		t.Errorf("the CPU quota is %v, want 50000", v)
	}
	positive(cadvisor, "container_cpu_usage_seconds_total", "id=/")
	positive(cadvisor, "container_memory_working_set_bytes", "namespace=default", "pod=p", "container=", "image=")
	cadvisor("container_network_receive_bytes_total", "namespace=default", "pod=p", "interface=eth0")
	positive(cadvisor, "machine_cpu_cores")
	positive(cadvisor, "machine_memory_bytes")

	resource := h.metrics("metrics/resource")
	for _, name := range []string{"container_cpu_usage_seconds_total", "container_memory_working_set_bytes", "container_start_time_seconds"} {
		positive(resource, name, mine...)
	}
	positive(resource, "pod_cpu_usage_seconds_total", mine[:2]...)
	positive(resource, "pod_memory_working_set_bytes", mine[:2]...)
	positive(resource, "node_cpu_usage_seconds_total")
	positive(resource, "node_memory_working_set_bytes")

	positive(h.metrics("metrics/probes"), "prober_probe_total", append(mine, "probe_type=Readiness", "result=successful", "pod_uid="+string(p.UID))...)
	positive(h.metrics("metrics/probes"), "prober_probe_duration_seconds", append(mine, "probe_type=Readiness")...)

	own := h.metrics("metrics")
	positive(own, "kubelet_running_pods")
	positive(own, "kubelet_running_containers", "container_state=running")
	positive(own, "kubelet_node_name", "node=n1")
	positive(own, "kubelet_http_requests_total", "path=metrics/cadvisor", "method=GET")
	positive(own, "kubelet_pod_start_duration_seconds")
	positive(own, "kubelet_runtime_operations_total", "operation_type=tasks_create")
	positive(own, "kubelet_runtime_operations_duration_seconds", "operation_type=tasks_start")
	positive(own, "process_resident_memory_bytes")
	positive(own, "go_goroutines")
	positive(own, "kubernetes_build_info")

	h.run("summary", func(t *testing.T) {
		var s statsv1.Summary
		if err := json.Unmarshal([]byte(h.ask("stats/summary")), &s); err != nil || len(s.Pods) != 1 || len(s.Pods[0].Containers) != 1 || *s.Pods[0].Containers[0].Memory.WorkingSetBytes == 0 || s.Pods[0].Network == nil {
			t.Errorf("got %+v, %v", s, err)
		}
	})
	h.run("configuration in the kubelet's own form", func(t *testing.T) {
		var c struct {
			Config kubeletconfig.KubeletConfiguration `json:"kubeletconfig"`
		}
		if err := json.Unmarshal([]byte(h.ask("configz")), &c); err != nil {
			t.Fatal(err)
		}
		if c.Config.Kind != "KubeletConfiguration" || c.Config.Port != 10250 || c.Config.ClusterDomain != "cluster.local" || c.Config.CgroupRoot != h.cgroup() || c.Config.MaxPods != 110 {
			t.Errorf("got %+v", c.Config)
		}
	})
	h.run("the host's logs", func(t *testing.T) {
		if text := h.ask("logs/"); !strings.Contains(text, `<a href="`) {
			t.Errorf("/logs/ lists %q", text)
		}
	})
	h.run("a scraper asks with its own token, as far as its role goes", h.scrapes)
	h.delete("p")
	h.waitGone("p")
	if text := h.ask("metrics/probes"); strings.Contains(text, `pod="p"`) {
		t.Errorf("of a Pod that is gone there is still told:\n%s", text)
	}
}

// scrapes asks the node directly, as Prometheus and the metrics server do.
func (h *host) scrapes(t *testing.T) {
	ctx := t.Context()
	tokens := map[string]string{}
	for _, name := range []string{"scraper", "nobody"} {
		if _, err := h.client.CoreV1().ServiceAccounts("default").Create(ctx, &v1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		token, err := h.client.CoreV1().ServiceAccounts("default").CreateToken(ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		tokens[name] = token.Status.Token
	}
	tlsConfig, err := rest.TLSConfigFor(&rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: h.config.CAData, CAFile: h.config.CAFile}})
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: tlsConfig}, Timeout: patience}
	ask := func(who, path string) int {
		t.Helper()
		req, err := http.NewRequestWithContext(ctx, "GET", "https://"+hostIP+":10250"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+tokens[who])
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "scraper"}, Rules: []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"nodes/metrics", "nodes/stats"}, Verbs: []string{"get"}}}}
	if _, err := h.client.RbacV1().ClusterRoles().Create(ctx, role, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "scraper"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "scraper"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "default", Name: "scraper"}},
	}
	if _, err := h.client.RbacV1().ClusterRoleBindings().Create(ctx, binding, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	may := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: "system:serviceaccount:default:scraper", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "metrics", Name: "n1"},
	}}
	h.eventually("the role to count", func() (bool, string) { // before the node asks: it believes a refusal for a while
		r, err := h.client.AuthorizationV1().SubjectAccessReviews().Create(ctx, may, metav1.CreateOptions{})
		return err == nil && r.Status.Allowed, fmt.Sprint(err)
	})
	for _, c := range []struct {
		who, path string
		code      int
	}{
		{"scraper", "/metrics/resource", http.StatusOK}, {"scraper", "/metrics/cadvisor", http.StatusOK}, {"scraper", "/stats/summary", http.StatusOK},
		{"scraper", "/pods", http.StatusForbidden}, {"nobody", "/metrics", http.StatusForbidden}, {"stranger", "/metrics", http.StatusUnauthorized},
	} {
		if code := ask(c.who, c.path); code != c.code {
			t.Errorf("%s got %d for %s, want %d", c.who, code, c.path, c.code)
		}
	}
}

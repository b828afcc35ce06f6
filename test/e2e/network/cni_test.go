package network

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
)

// TestPodsOfCNIPlugins runs a node whose Pods' interfaces are made by the CNI project's own plugins.
func TestPodsOfCNIPlugins(t *testing.T) {
	const plugins = "/usr/lib/cni"
	if _, err := os.Stat(filepath.Join(plugins, "ptp")); err != nil {
		t.Skip("SKIPPED: install Debian's containernetworking-plugins:", err)
	}
	dir := t.TempDir()
	confs := filepath.Join(dir, "net.d")
	if err := os.Mkdir(confs, 0o755); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "test", "plugins": [{"type": "ptp", "ipMasq": false,
		"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.42.200.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}`, filepath.Join(dir, "given"))
	if err := os.WriteFile(filepath.Join(confs, "10-test.conflist"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	up, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	first, firstClient := c, client
	made, err := cluster.Up(up, cluster.Options{
		Dir: filepath.Join(dir, "cluster"), Workers: 1, Bin: bin, Owned: true, Node: []string{"--cni-conf-dir", confs, "--cni-bin-dir", plugins},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		c, client = first, firstClient
		if err := made.Down(); err != nil {
			t.Error(err)
		}
	}()
	c = made
	if client, err = made.Client(); err != nil {
		t.Fatal(err)
	}

	ctx := begin(t, "shop")
	one, two := web(t, ctx, "shop", "one", 0), web(t, ctx, "shop", "two", 0)
	_, subnet, err := net.ParseCIDR("10.42.200.0/24")
	if err != nil {
		t.Fatal(err)
	}
	if !subnet.Contains(net.ParseIP(two.Status.PodIP)) {
		t.Fatalf("the Pod has %s, which is not the plugins'", two.Status.PodIP)
	}
	s, err := client.CoreV1().Services("shop").Create(ctx, service("web", corev1.ServiceSpec{}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{net.JoinHostPort(two.Status.PodIP, "8080"), net.JoinHostPort(s.Spec.ClusterIP, "80")} {
		eventually(t, ctx, "a Pod is answered at "+at, func() error {
			_, err := get(ctx, one, at, "/")
			return err
		})
	}
	eventually(t, ctx, "a Pod asks DNS", func() error {
		said, err := get(ctx, two, "127.0.0.1:8080", "/lookup?host=web")
		if err == nil && said != s.Spec.ClusterIP {
			err = fmt.Errorf("heard %q, want %s", said, s.Spec.ClusterIP)
		}
		return err
	})
	for _, name := range []string{"one", "two"} {
		if err := client.CoreV1().Pods("shop").Delete(ctx, name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, ctx, "the plugins have their addresses back", func() error {
		given, err := filepath.Glob(filepath.Join(dir, "given", "test", "10.42.*"))
		if err == nil && len(given) > 0 {
			err = fmt.Errorf("%q are given", given)
		}
		return err
	})
}

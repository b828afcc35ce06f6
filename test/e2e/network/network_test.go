package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/netns"
)

var (
	c      *cluster.Cluster
	client kubernetes.Interface
	bin    string
)

func TestMain(m *testing.M) {
	for _, program := range []string{"containerd", "runc", "iptables", "ip6tables", "git"} {
		if _, err := exec.LookPath(program); err != nil || os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "SKIPPED: end-to-end tests of the network: they need root and", program)
			os.Exit(0)
		}
	}
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "gitopsd-e2e-network-")
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	bin = filepath.Join(dir, "bin")
	build := exec.Command("go", "build", "-trimpath", "-tags=killpoints", "-o", bin+"/", "./cmd/gitopsd", "./cmd/node", "./test/localcluster", "./test/images/web")
	build.Dir, build.Env = filepath.Join("..", "..", ".."), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	const pods = "10.42.0.0/16,fd42::/48"
	c, err = cluster.Up(ctx, cluster.Options{
		Dir: filepath.Join(dir, "cluster"), Workers: 2, Bin: bin, Owned: true,
		Serve: []string{"--cluster-cidr", pods, "--service-cidr", "10.43.0.0/16,fd43::/112"}, Node: []string{"--cluster-cidr", pods},
	})
	if err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 {
			saved := dir + "-logs"
			fmt.Fprintln(os.Stderr, "logs of all processes:", saved)
			err = errors.Join(err, os.CopyFS(saved, os.DirFS(filepath.Join(c.Dir(), "logs"))))
		}
		err = errors.Join(err, c.Down())
	}()
	if client, err = c.Client(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// begin makes a namespace for the test, and a context that ends with its time.
func begin(t *testing.T, namespace string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "the namespace has its account", func() error {
		_, err := client.CoreV1().ServiceAccounts(namespace).Get(ctx, "default", metav1.GetOptions{})
		return err
	})
	return ctx
}

func eventually(t *testing.T, ctx context.Context, what string, check func() error) {
	t.Helper()
	for {
		err := check()
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// web runs a web server on a worker, and returns its Pod once it has addresses and is ready.
func web(t *testing.T, ctx context.Context, namespace, name string, worker int, env ...corev1.EnvVar) *corev1.Pod {
	t.Helper()
	pods := client.CoreV1().Pods(namespace)
	_, err := pods.Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName: c.Workers()[worker].Name, TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "web", Image: images.Web + ":v1", Env: env,
				ReadinessProbe: &corev1.Probe{PeriodSeconds: 1, ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromInt32(8080)}}},
			}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var pod *corev1.Pod
	eventually(t, ctx, "Pod "+name+" is ready", func() error {
		if pod, err = pods.Get(ctx, name, metav1.GetOptions{}); err != nil {
			return err
		}
		if !slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue }) {
			return fmt.Errorf("%+v", pod.Status.Conditions)
		}
		return nil
	})
	return pod
}

// get asks from inside a Pod.
func get(ctx context.Context, from *corev1.Pod, host, path string) (string, error) {
	ns, err := filepath.Glob(filepath.Join(c.Dir(), from.Spec.NodeName, "pods", string(from.UID), "*", "net"))
	if err != nil || len(ns) != 1 {
		return "", fmt.Errorf("the network namespace of Pod %s: found %q, %v", from.Name, ns, err)
	}
	h := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DialContext: netns.Dialer(ns[0]), DisableKeepAlives: true}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := h.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(text)), err
}

func service(name string, spec corev1.ServiceSpec) *corev1.Service {
	spec.Selector = map[string]string{"app": "web"}
	spec.Ports = []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec}
}

func TestPodsAndServicesOfBothFamilies(t *testing.T) {
	ctx := begin(t, "both")
	one, two := web(t, ctx, "both", "one", 0), web(t, ctx, "both", "two", 1)
	for _, p := range []*corev1.Pod{one, two} {
		if len(p.Status.PodIPs) != 2 || p.Status.PodIPs[0].IP != p.Status.PodIP {
			t.Fatalf("Pod %s has the addresses %+v, want one of each family", p.Name, p.Status.PodIPs)
		}
	}
	for _, ip := range two.Status.PodIPs {
		eventually(t, ctx, "a Pod answers on another node at "+ip.IP, func() error {
			_, err := get(ctx, one, net.JoinHostPort(ip.IP, "8080"), "/")
			return err
		})
	}
	services := client.CoreV1().Services("both")
	s, err := services.Create(ctx, service("web", corev1.ServiceSpec{IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyRequireDualStack)}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Spec.ClusterIPs) != 2 {
		t.Fatalf("cluster IPs %q, want one of each family", s.Spec.ClusterIPs)
	}
	six, err := services.Create(ctx, service("six", corev1.ServiceSpec{IPFamilies: []corev1.IPFamily{corev1.IPv6Protocol}}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, ip := range append(s.Spec.ClusterIPs, six.Spec.ClusterIP) {
		heard := map[string]bool{}
		eventually(t, ctx, "both Pods answer at "+ip, func() error {
			said, err := get(ctx, one, net.JoinHostPort(ip, "80"), "/")
			if err != nil {
				return err
			}
			if heard[strings.Fields(said)[0]] = true; !heard["one"] || !heard["two"] {
				return fmt.Errorf("heard of %v", heard)
			}
			return nil
		})
	}
	eventually(t, ctx, "DNS has addresses of both families", func() error {
		said, err := get(ctx, one, net.JoinHostPort(one.Status.PodIP, "8080"), "/lookup?host=web")
		if err == nil && said != strings.Join(s.Spec.ClusterIPs, " ") {
			err = fmt.Errorf("heard %q, want %q", said, s.Spec.ClusterIPs)
		}
		return err
	})
}

func TestServicesOfARangeThatWasAdded(t *testing.T) {
	ctx := begin(t, "more")
	from := web(t, ctx, "more", "web", 0)
	_, err := client.NetworkingV1().ServiceCIDRs().Create(ctx, &networkingv1.ServiceCIDR{
		ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.44.0.0/28"}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, ctx, "a Service is given an address of the added range, and answers", func() error {
		_, err := client.CoreV1().Services("more").Create(ctx, service("web", corev1.ServiceSpec{ClusterIP: "10.44.0.7"}), metav1.CreateOptions{})
		return err
	})
	eventually(t, ctx, "it answers", func() error {
		_, err := get(ctx, from, "10.44.0.7", "/")
		return err
	})
}

// TestAPolicyHoldsFromTheFirstPacket has Pods connect somewhere as the first thing in their lives.
func TestAPolicyHoldsFromTheFirstPacket(t *testing.T) {
	ctx := begin(t, "open")
	target := web(t, ctx, "open", "target", 1)
	begin(t, "guarded")
	_, err := client.NetworkingV1().NetworkPolicies("guarded").Create(ctx, &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "nothing-out"}, Spec: networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		for _, ip := range target.Status.PodIPs {
			to := netip.AddrPortFrom(netip.MustParseAddr(ip.IP), 8080).String()
			for namespace, connects := range map[string]bool{"open": true, "guarded": false} {
				pod := web(t, ctx, namespace, fmt.Sprintf("dials-%d-%d", i, netip.MustParseAddr(ip.IP).BitLen()), i%2, corev1.EnvVar{Name: "DIAL", Value: to})
				said, err := get(ctx, pod, net.JoinHostPort("127.0.0.1", "8080"), "/dialled")
				if err != nil {
					t.Fatal(err)
				}
				if (said == "connected") != connects {
					t.Errorf("round %d: a Pod in namespace %s that connects to %s first of all: %s", i, namespace, to, said)
				}
			}
		}
	}
}

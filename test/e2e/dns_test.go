package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/shop"
)

// askerPort is the port of each worker at which a Pod there looks names up.
const askerPort = 8453

// asker is a Pod that looks names up.
type asker struct {
	host cluster.Host
	http *http.Client
}

func (a asker) ask(ctx context.Context, query string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/lookup?%s", a.host.IP, askerPort, query), nil)
	if err != nil {
		return "", err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(text)), err
}

// hears asks until the answer is the one wanted: what the control plane says takes a moment to reach a node.
func (a asker) hears(t *testing.T, ctx context.Context, query, want string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := a.ask(ctx, query)
		if err == nil && got == want {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s asks %s and hears %q (%v), want %q", a.host.Name, query, got, err, want)
		case <-tick.C:
		}
	}
}

// askers starts one on each worker.
func askers(t *testing.T, ctx context.Context, s *shop.Shop) []asker {
	t.Helper()
	pods := s.API.CoreV1().Pods(shop.Namespace)
	var out []asker
	for _, h := range s.Workers() {
		name := "asker-" + h.Name
		_, err := pods.Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Spec: corev1.PodSpec{
				NodeName: h.Name, TerminationGracePeriodSeconds: new(int64),
				Containers: []corev1.Container{{Name: "web", Image: images.Web + ":v1", Ports: []corev1.ContainerPort{{ContainerPort: 8080, HostPort: askerPort}}}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			ctx := afterwards(t)
			if err := pods.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
				t.Error(err)
			}
			if err := s.PodGone(ctx, name); err != nil {
				t.Error(err)
			}
		})
		if err := s.Pod(ctx, name, "become ready", shop.Ready); err != nil {
			t.Fatal(err)
		}
		out = append(out, asker{h, s.HTTPClient(nil)})
	}
	return out
}

// nameServer is a server of the outer namespace that gives every name the same address; without one it never answers.
func nameServer(t *testing.T, s *shop.Shop, address, says string) {
	t.Helper()
	var pc net.PacketConn
	err := s.Do(func() (err error) { pc, err = net.ListenPacket("udp", address); return err })
	if err != nil {
		t.Fatal(err)
	}
	srv := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		if says == "" {
			return
		}
		out := new(dns.Msg).SetReply(m)
		if m.Question[0].Qtype == dns.TypeA {
			out.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: m.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.ParseIP(says)}}
		}
		_ = w.WriteMsg(out)
	})}
	var wg sync.WaitGroup
	wg.Go(func() { _ = srv.ActivateAndServe() })
	t.Cleanup(func() {
		pc.Close()
		wg.Wait()
	})
}

// database is a StatefulSet of two with its headless Service.
func database(t *testing.T, ctx context.Context, s *shop.Shop) []string {
	t.Helper()
	labels, two := map[string]string{"app": "db"}, int32(2)
	svc, err := s.API.CoreV1().Services(shop.Namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec:       corev1.ServiceSpec{ClusterIP: corev1.ClusterIPNone, Selector: labels, Ports: []corev1.ServicePort{{Name: "sql", Port: 8080}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	set, err := s.API.AppsV1().StatefulSets(shop.Namespace).Create(ctx, &appsv1.StatefulSet{
		ObjectMeta: metav1.ObjectMeta{Name: "db"},
		Spec: appsv1.StatefulSetSpec{
			Replicas: &two, ServiceName: svc.Name, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{TerminationGracePeriodSeconds: new(int64), Containers: []corev1.Container{{Name: "db", Image: images.Web + ":v1"}}},
			},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, now := afterwards(t), metav1.DeletePropagationForeground
		if err := s.API.AppsV1().StatefulSets(shop.Namespace).Delete(ctx, set.Name, metav1.DeleteOptions{PropagationPolicy: &now}); err != nil {
			t.Error(err)
		}
		if err := s.API.CoreV1().Services(shop.Namespace).Delete(ctx, svc.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
		for i := range two {
			if err := s.PodGone(ctx, fmt.Sprint("db-", i)); err != nil {
				t.Error(err)
			}
		}
	})
	var ips []string
	for i := range two {
		name := fmt.Sprint("db-", i)
		if err := s.Pod(ctx, name, "become ready", shop.Ready); err != nil {
			t.Fatal(err)
		}
		p, err := s.API.CoreV1().Pods(shop.Namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ips = append(ips, p.Status.PodIP)
	}
	return ips
}

// Pods on every node find the cluster's names, those of a company and those of the world, by UDP and TCP; and still do while the control
// plane is away, also on a node that starts meanwhile.
func TestPodsFindNamesWhetherOrNotTheControlPlaneIsThere(t *testing.T) {
	ctx, s := begin(t)
	git, err := url.Parse(s.GitURL())
	if err != nil {
		t.Fatal(err)
	}
	outside := git.Hostname()
	nameServer(t, s, outside+":53", "192.0.2.1")
	nameServer(t, s, outside+":5301", "192.0.2.2")
	nameServer(t, s, outside+":5302", "") // takes questions, and says nothing
	configs := s.API.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	config, err := configs.Create(ctx, &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "coredns-custom"},
		Data: map[string]string{
			"corp.server":  fmt.Sprintf("corp.example {\n  forward . %s:5301\n}\n", outside),
			"all.override": fmt.Sprintf("forward . %s:5302 %s\n", outside, outside),
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configs.Delete(afterwards(t), config.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	ips := database(t, ctx, s)
	web, err := s.API.CoreV1().Services(shop.Namespace).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	list := askers(t, ctx, s)

	both := []string{ips[0], ips[1]}
	if both[0] > both[1] {
		both[0], both[1] = both[1], both[0]
	}
	const domain = "shop.svc.cluster.local"
	names := map[string]string{
		"host=web":                              web.Spec.ClusterIP,
		"host=web.shop":                         web.Spec.ClusterIP,
		"host=web." + domain + "&tcp=1":         web.Spec.ClusterIP,
		"host=kubernetes.default":               "10.43.0.1",
		"host=db":                               strings.Join(both, " "),
		"host=db-0.db":                          ips[0],
		"host=db-1.db." + domain:                ips[1],
		"srv=sql.tcp.db." + domain:              "db-0.db." + domain + ".:8080 db-1.db." + domain + ".:8080",
		"ptr=" + ips[1]:                         "db-1.db." + domain + ".",
		"ptr=" + web.Spec.ClusterIP:             "web." + domain + ".",
		"host=mail.corp.example":                "192.0.2.2",
		"host=www.example.org":                  "192.0.2.1", // though the first server is silent
		"host=10-42-9-9.shop.pod.cluster.local": "10.42.9.9",
	}
	everywhere := func(t *testing.T, list []asker) {
		t.Helper()
		for _, a := range list {
			for query, want := range names {
				a.hears(t, ctx, query, want)
			}
			if got, err := a.ask(ctx, "host=nobody.shop.svc.cluster.local."); err != nil || !strings.Contains(got, "no such host") {
				t.Errorf("%s asks for nobody and hears %q (%v)", a.host.Name, got, err)
			}
		}
	}
	everywhere(t, list)

	if err := s.Kill(cluster.Gitopsd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Start(cluster.Gitopsd); err != nil {
			t.Error(err)
		}
		if err := s.APIReady(afterwards(t)); err != nil {
			t.Error(err)
		}
	})
	everywhere(t, list)
	node := cluster.Node + "/" + list[1].host.Name
	if err := s.Kill(node); err != nil {
		t.Fatal(err)
	}
	if err := s.Start(node); err != nil {
		t.Fatal(err)
	}
	everywhere(t, list[1:])

	if err := s.Start(cluster.Gitopsd); err != nil {
		t.Fatal(err)
	}
	if err := s.APIReady(ctx); err != nil {
		t.Fatal(err)
	}
	everywhere(t, list)
}

func TestTheDNSServiceComesBackAndItsConfigurationIsJudged(t *testing.T) {
	ctx, s := begin(t)
	services := s.API.CoreV1().Services(metav1.NamespaceSystem)
	was, err := services.Get(ctx, "kube-dns", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := services.Delete(ctx, was.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	configs := s.API.CoreV1().ConfigMaps(metav1.NamespaceSystem)
	if _, err := configs.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "coredns-custom"}, Data: map[string]string{"a.server": "corp.example {\n  rewrite a b\n}"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := configs.Delete(afterwards(t), "coredns-custom", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	back, told := false, false
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !back || !told {
		now, err := services.Get(ctx, was.Name, metav1.GetOptions{})
		back = err == nil && now.UID != was.UID && now.Spec.ClusterIP == was.Spec.ClusterIP
		events, err := s.API.CoreV1().Events(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=coredns-custom"})
		if err == nil {
			for i := range events.Items {
				told = told || strings.Contains(events.Items[i].Message, "a.server:2: plugin rewrite")
			}
		}
		select {
		case <-ctx.Done():
			t.Fatalf("the Service is back at its address: %v; the ConfigMap is complained about: %v", back, told)
		case <-tick.C:
		}
	}
}

package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/shop"
)

// Where nodes serve Ingresses unless they are told otherwise, and the host of the test's.
const (
	ingressHTTP, ingressHTTPS = 8080, 8443
	ingressHost               = "shop.example"
)

// webIngress leads a host to the application.
func webIngress(name, host, secret string) *networkingv1.Ingress {
	prefix := networkingv1.PathTypePrefix
	return &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{"nginx.ingress.kubernetes.io/ssl-redirect": "false"}},
		Spec: networkingv1.IngressSpec{
			TLS: []networkingv1.IngressTLS{{Hosts: []string{host}, SecretName: secret}},
			Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: shop.Name, Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}}}},
		},
	}
}

// browser asks a worker's ingress, trusting one certificate.
func browser(s *shop.Shop, host cluster.Host, trust *x509.CertPool) func(ctx context.Context, secure bool) (status int, text string, err error) {
	client := s.HTTPClient(trust)
	client.Transport.(*http.Transport).TLSClientConfig.ServerName = ingressHost
	return func(ctx context.Context, secure bool) (int, string, error) {
		url := fmt.Sprintf("http://%s:%d/", host.IP, ingressHTTP)
		if secure {
			url = fmt.Sprintf("https://%s:%d/", host.IP, ingressHTTPS)
		}
		return fetch(ctx, client, url, ingressHost)
	}
}

// fetch asks for a page, of the URL's own host when none is named.
func fetch(ctx context.Context, client *http.Client, url, host string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	all, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(all), err
}

// until asks for something until it is so: what the control plane says takes a moment to reach a node.
func until(t *testing.T, ctx context.Context, what string, is func() (bool, any)) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, last := is()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: not so in time; last: %v", what, last)
		case <-tick.C:
		}
	}
}

func ingressCertificate(t *testing.T) (data map[string][]byte, trust *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{ingressHost}, NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data = map[string][]byte{
		corev1.TLSCertKey:       pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}),
		corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}
	trust = x509.NewCertPool()
	trust.AppendCertsFromPEM(data[corev1.TLSCertKey])
	return data, trust
}

// createIngress makes an Ingress that goes with the test.
func createIngress(t *testing.T, ctx context.Context, s *shop.Shop, ing *networkingv1.Ingress) {
	t.Helper()
	api := s.API.NetworkingV1().Ingresses(shop.Namespace)
	if _, err := api.Create(ctx, ing, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := api.Delete(afterwards(t), ing.Name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

func TestAnIngressIsServedByEveryNodeWithTheCertificateThatItsSecretHas(t *testing.T) {
	ctx, s := begin(t)
	createIngress(t, ctx, s, webIngress("web", ingressHost, "web-tls"))
	younger := webIngress("younger", ingressHost, "web-tls")
	younger.Annotations["nginx.ingress.kubernetes.io/server-snippet"] = "return 200;"
	createIngress(t, ctx, s, younger)
	secrets := s.API.CoreV1().Secrets(shop.Namespace)
	for _, h := range s.Workers() {
		until(t, ctx, "served by "+h.Name+" without a certificate of its own", func() (bool, any) {
			status, text, err := browser(s, h, nil)(ctx, false)
			_, _, refused := browser(s, h, nil)(ctx, true) // self-signed
			return status == 200 && refused != nil && strings.Contains(refused.Error(), "certificate"), fmt.Sprint(status, text, err, refused)
		})
	}
	told(t, ctx, s, "web", "there is no Secret shop/web-tls")
	told(t, ctx, s, "younger", "shop.example, path / (Prefix): Ingress shop/web is older")
	told(t, ctx, s, "younger", "server-snippet is refused")
	data, trust := ingressCertificate(t)
	secret, err := secrets.Create(ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web-tls"}, Type: corev1.SecretTypeTLS, Data: data}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := secrets.Delete(afterwards(t), "web-tls", metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
	everywhere := func(what string, trust *x509.CertPool) {
		t.Helper()
		for _, h := range s.Workers() {
			until(t, ctx, what+" by "+h.Name, func() (bool, any) {
				status, text, err := browser(s, h, trust)(ctx, true)
				return status == 200 && err == nil, fmt.Sprint(status, text, err)
			})
		}
	}
	everywhere("served with the Secret's certificate", trust)
	data, trust = ingressCertificate(t)
	secret.Data = data
	if _, err := secrets.Update(ctx, secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	everywhere("served with the new certificate", trust)

	until(t, ctx, "the nodes' addresses in the status", func() (bool, any) {
		ing, err := s.API.NetworkingV1().Ingresses(shop.Namespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		got := map[string]bool{}
		for _, a := range ing.Status.LoadBalancer.Ingress {
			got[a.IP] = true
		}
		for _, h := range s.Workers() {
			if !got[h.IP] {
				return false, ing.Status
			}
		}
		return true, nil
	})
}

// told waits until an Ingress' owner has been told something.
func told(t *testing.T, ctx context.Context, s *shop.Shop, ingress, what string) {
	t.Helper()
	until(t, ctx, ingress+" told that "+what, func() (bool, any) {
		events, err := s.API.CoreV1().Events(shop.Namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=Ingress,involvedObject.name=" + ingress})
		if err != nil {
			return false, err
		}
		var all []string
		for i := range events.Items {
			all = append(all, events.Items[i].Message)
		}
		text := strings.Join(all, "\n")
		return strings.Contains(text, what), text
	})
}

func TestRollingUpdateUnderLoadThroughTheIngressFailsNoRequest(t *testing.T) {
	ctx, s := begin(t)
	createIngress(t, ctx, s, webIngress("web", ingressHost, ""))
	for _, h := range s.Workers() {
		until(t, ctx, "served by "+h.Name, func() (bool, any) {
			status, text, err := browser(s, h, nil)(ctx, false)
			return status == 200, fmt.Sprint(status, text, err)
		})
	}
	load, stop := context.WithCancel(ctx)
	var wg sync.WaitGroup
	var mu sync.Mutex
	var requests int
	var failures []string
	versions := map[string]int{}
	for user := range 4 {
		get := browser(s, s.Workers()[user%2], nil)
		wg.Go(func() {
			for load.Err() == nil {
				status, text, err := get(load, false)
				if load.Err() != nil {
					return // cut off by the test's end
				}
				mu.Lock()
				requests++
				if f := strings.Fields(text); status == 200 && err == nil && len(f) >= 2 {
					versions[f[1]]++
				} else {
					failures = append(failures, fmt.Sprint(time.Now().Format("15:04:05.000 "), status, " ", text, " ", err))
				}
				mu.Unlock()
			}
		})
	}
	release(t, ctx, "v2", 4)
	release(t, ctx, "v1", 3)
	stop()
	wg.Wait()
	if len(failures) > 0 {
		t.Errorf("%d of %d requests failed: %s", len(failures), requests, strings.Join(failures[:min(5, len(failures))], "\n"))
	}
	if versions["v1"] == 0 || versions["v2"] == 0 {
		t.Errorf("answers by version: %v, want both", versions)
	}
	t.Logf("%d requests through the ingress: %v", requests, versions)
}

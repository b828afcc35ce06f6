package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"text/tabwriter"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/test/cluster"
	"github.com/gitopsd/gitopsd/test/images"
	"github.com/gitopsd/gitopsd/test/netns"
)

// What the ingress figures are taken with.
const (
	ingressClients = 64
	ingressRounds  = 3
	ingressRound   = 3 * time.Second
	ingressPods    = 2
	ingressName    = "web.bench.example"
)

// ingressCases are where clients ask, of the node's own ingress and of nginx.
var ingressCases = []struct {
	name      string
	secure    bool
	own, peer string
}{
	{"HTTP/1.1, keep-alive", false, "127.0.0.1:8080", "127.0.0.1:1080"},
	{"the same by TLS", true, "127.0.0.1:8443", "127.0.0.1:1443"},
}

// benchIngress takes requests per second of one node's ingress, and of nginx as a reverse proxy to the same Pods, on the same node in the same run, where
// nginx is installed. Clients, proxies and Pods share the machine's processors.
func benchIngress(ctx context.Context, bin, dir string, out io.Writer) (err error) {
	c, err := cluster.Up(ctx, cluster.Options{Dir: filepath.Join(dir, "ingress"), Workers: 1, Bin: bin, Owned: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Down()) }()
	k, err := c.Client()
	if err != nil {
		return err
	}
	cert, err := selfSigned(ingressName)
	if err != nil {
		return err
	}
	pods, err := ingressObjects(ctx, k, cert)
	if err != nil {
		return err
	}
	inside := netns.Path(c.Workers()[0].NetNS)
	peer := false
	if nginx, err := exec.LookPath("nginx"); err == nil {
		stop, err := startNginx(ctx, nginx, filepath.Join(dir, "nginx"), inside, pods, cert)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		peer = true
	}
	fmt.Fprintf(out, "ingress of one node, %d Pods behind it: medians of %d rounds, %d clients on the same cores\n", ingressPods, ingressRounds, ingressClients)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tper second\tp99\tnginx per second\tp99\tof nginx\t")
	for _, cs := range ingressCases {
		servers := []string{cs.own}
		if peer {
			servers = append(servers, cs.peer)
		}
		for _, s := range servers {
			if err := awaitIngress(ctx, inside, s, cs.secure); err != nil {
				return err
			}
		}
		rates, p99 := make([][]float64, 2), make([][]time.Duration, 2)
		for range ingressRounds {
			for i, s := range servers { // by turns, as the machine is not equally fast all the time
				times, err := browse(ctx, inside, s, cs.secure)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", s, cs.name, err)
				}
				rates[i] = append(rates[i], float64(len(times))/ingressRound.Seconds())
				p99[i] = append(p99[i], figure{times: times}.percentile(99))
			}
		}
		row := [3]string{"–", "–", "–"}
		if peer {
			row = [3]string{fmt.Sprintf("%.0f", median(rates[1])), figure{times: p99[1]}.percentile(50).Round(10 * time.Microsecond).String(), ratio(median(rates[0]), median(rates[1]))}
		}
		fmt.Fprintf(w, "%s\t%.0f\t%s\t%s\t%s\t%s\t\n", cs.name, median(rates[0]), figure{times: p99[0]}.percentile(50).Round(10*time.Microsecond), row[0], row[1], row[2])
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintln(out)
	return err
}

// selfSigned makes what a TLS Secret holds.
func selfSigned(name string) (map[string][]byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		corev1.TLSCertKey: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), corev1.TLSPrivateKeyKey: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}),
	}, nil
}

// ingressObjects makes the Pods and the Ingress that leads to them, and returns the Pods' addresses.
func ingressObjects(ctx context.Context, k kubernetes.Interface, cert map[string][]byte) (addresses []string, err error) {
	const namespace = "bench"
	labels, prefix := map[string]string{"app": "web"}, networkingv1.PathTypePrefix
	if _, err := k.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(servicePort)}}}}
	if _, err := k.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Type: corev1.SecretTypeTLS, Data: cert}
	if _, err := k.CoreV1().Secrets(namespace).Create(ctx, secret, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	ing := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Annotations: map[string]string{"nginx.ingress.kubernetes.io/ssl-redirect": "false"}},
		Spec: networkingv1.IngressSpec{
			TLS: []networkingv1.IngressTLS{{Hosts: []string{ingressName}, SecretName: "web"}},
			Rules: []networkingv1.IngressRule{{Host: ingressName, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
			}}}}}},
		},
	}
	if _, err := k.NetworkingV1().Ingresses(namespace).Create(ctx, ing, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	for i := range ingressPods {
		_, err := k.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web-", i), Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: images.Web + ":v1"}}},
		}, metav1.CreateOptions{})
		if err != nil {
			return nil, err
		}
	}
	return runningPods(ctx, k, namespace, ingressPods)
}

// startNginx starts nginx on the node, on loopback, as it is configured where speed matters.
func startNginx(ctx context.Context, program, dir, inside string, pods []string, cert map[string][]byte) (stop func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	text := fmt.Sprintf(`user root;
worker_processes auto;
daemon off;
pid nginx.pid;
error_log stderr error;
events { worker_connections 1024; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  keepalive_requests 1000000000;
  upstream web {
    server %s;
    keepalive %d;
    keepalive_requests 1000000000;
  }
  server {
    listen %s;
    listen %s ssl;
    server_name %s;
    ssl_certificate tls.crt;
    ssl_certificate_key tls.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    location / {
      proxy_pass http://web;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_set_header X-Forwarded-Host $host;
      proxy_set_header X-Forwarded-Port $server_port;
      proxy_set_header X-Forwarded-Proto $scheme;
    }
  }
}
`, strings.Join(pods, "; server "), ingressClients, ingressCases[0].peer, ingressCases[1].peer, ingressName)
	for name, data := range map[string][]byte{"nginx.conf": []byte(text), "tls.crt": cert[corev1.TLSCertKey], "tls.key": cert[corev1.TLSPrivateKeyKey]} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, program, "-p", dir, "-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // its workers end with it only so
	return startInside(inside, cmd, filepath.Join(dir, "log"))
}

// browsing is one client with a connection of its own. It does as little as a client can, as it takes its time from what is measured.
type browsing struct {
	conn    net.Conn
	r       *bufio.Reader
	request []byte
}

func newBrowsing(inside, server string, secure bool) (*browsing, error) {
	b := &browsing{request: []byte("GET / HTTP/1.1\r\nHost: " + ingressName + "\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")}
	if err := netns.Do(inside, func() (err error) { b.conn, err = net.Dial("tcp", server); return err }); err != nil {
		return nil, err
	}
	if secure {
		b.conn = tls.Client(b.conn, &tls.Config{ServerName: ingressName, InsecureSkipVerify: true})
	}
	b.r = bufio.NewReader(b.conn)
	return b, b.conn.SetDeadline(time.Now().Add(roundTime))
}

var lengthHeader = []byte("content-length:")

// once asks and reads the answer.
func (b *browsing) once() error {
	if _, err := b.conn.Write(b.request); err != nil {
		return err
	}
	length := 0
	for n := 0; ; n++ {
		line, err := b.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		switch {
		case n == 0 && !bytes.HasPrefix(line, []byte("HTTP/1.1 200 ")):
			return fmt.Errorf("answered with %q, want %d", bytes.TrimSpace(line), http.StatusOK)
		case len(line) > len(lengthHeader) && bytes.EqualFold(line[:len(lengthHeader)], lengthHeader):
			if _, err := fmt.Sscan(string(line[len(lengthHeader):]), &length); err != nil {
				return fmt.Errorf("length %q: %w", line, err)
			}
		case len(line) <= 2:
			_, err := b.r.Discard(length)
			return err
		}
	}
}

// awaitIngress waits until a server leads to the Pods.
func awaitIngress(ctx context.Context, inside, server string, secure bool) (err error) {
	for deadline := time.Now().Add(roundTime); ; {
		var b *browsing
		if b, err = newBrowsing(inside, server, secure); err == nil {
			err = b.once()
			b.conn.Close()
		}
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("%s does not answer: %w", server, err)
		}
		time.Sleep(50 * time.Millisecond) // there is no event for "a server answers"
	}
}

// browse has all clients ask for a round, and returns how long each answer took.
func browse(ctx context.Context, inside, server string, secure bool) ([]time.Duration, error) {
	clients := make([]*browsing, ingressClients)
	for i := range clients {
		b, err := newBrowsing(inside, server, secure)
		if err != nil {
			return nil, err
		}
		defer b.conn.Close()
		if clients[i] = b; b.once() != nil { // also the handshake, which is another figure
			return nil, fmt.Errorf("the first request of client %d failed", i)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, ingressRound)
	defer cancel()
	times, errs := make([][]time.Duration, ingressClients), make([]error, ingressClients)
	var wg sync.WaitGroup
	for i, b := range clients {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				if errs[i] = b.once(); errs[i] != nil {
					return
				}
				times[i] = append(times[i], time.Since(began))
			}
		})
	}
	wg.Wait()
	return slices.Concat(times...), errors.Join(errs...)
}

package ingresscertificate_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerstest"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ingresscertificate"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ingressstatus"
	"github.com/gitopsd/gitopsd/internal/ingress"
	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// authority is Let's Encrypt's Pebble in this process, for which all names below .here.example are 127.0.0.1, and no others are there.
type authority struct {
	cfg   ingresscertificate.Config
	roots *x509.CertPool
	store *db.MemoryStore
	// orders are how many it has been given.
	orders atomic.Int32
}

func startAuthority(t *testing.T, httpPort int, life time.Duration) *authority {
	t.Helper()
	t.Setenv("PEBBLE_VA_NOSLEEP", "1")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	names := &dns.Server{Listener: l, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch name := q.Question[0].Name; {
		case !strings.HasSuffix(name, ".here.example."):
			m.Rcode = dns.RcodeNameError
		case q.Question[0].Qtype == dns.TypeA:
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET}, A: net.IPv4(127, 0, 0, 1)}}
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = names.ActivateAndServe() }()
	t.Cleanup(func() { _ = names.Shutdown() })
	quiet, store := log.New(io.Discard, "", 0), db.NewMemoryStore()
	signer := ca.New(quiet, store, "", "ecdsa", 0, 1, map[string]ca.Profile{"default": {ValidityPeriod: uint64(life / time.Second)}})
	front := wfe.New(quiet, store, va.New(quiet, httpPort, 0, true, l.Addr().String(), store), signer, nil, true, false, 1, 1)
	a, answer := &authority{roots: x509.NewCertPool(), store: store}, front.Handler()
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/order-plz" {
			w = counted{w, &a.orders}
		}
		answer.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	a.roots.AddCert(signer.GetRootCert(0).Cert)
	a.cfg = ingresscertificate.Config{Email: "ops@here.example", Directory: srv.URL + wfe.DirectoryPath, CA: x509.NewCertPool()}
	a.cfg.CA.AddCert(srv.Certificate())
	return a
}

// counted counts what is created. Pebble refuses one request in twenty for its nonce, so that clients send it again.
type counted struct {
	http.ResponseWriter
	n *atomic.Int32
}

func (c counted) WriteHeader(status int) {
	if status == http.StatusCreated {
		c.n.Add(1)
	}
	c.ResponseWriter.WriteHeader(status)
}

// freePort is one that nobody listens at.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// world is a control plane's two controllers of Ingresses, and a node's ingress.
type world struct {
	*controllerstest.Env
	*authority
	secure int
}

func newWorld(t *testing.T, life time.Duration) *world {
	t.Helper()
	w := &world{Env: controllerstest.New(t), secure: freePort(t)}
	plain := freePort(t)
	w.authority = startAuthority(t, plain, life)
	if _, err := w.Client.CoreV1().Namespaces().Create(w.Ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: v1alpha1.SystemNamespace}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	node, err := ingress.New(ingress.Config{HTTPPort: plain, HTTPSPort: w.secure, Informers: w.Factory, Client: w.Client, Event: func(_, text string) { t.Error(text) }})
	if err != nil {
		t.Fatal(err)
	}
	w.Start(t, ingressstatus.New(w.Client, w.Factory, w.Events).Run, func(ctx context.Context) { _ = node.Run(ctx) })
	controllerstest.Eventually(t, "the class is there", func() bool {
		_, err := w.Client.NetworkingV1().IngressClasses().Get(w.Ctx, translate.ClassName, metav1.GetOptions{})
		return err == nil
	})
	return w
}

// order runs the controller with informers of its own, as another control plane would, until stop.
func (w *world) order(cfg ingresscertificate.Config) (stop func()) {
	ctx, cancel := context.WithCancel(w.Ctx)
	f := informers.NewSharedInformerFactory(w.Client, 0)
	c := ingresscertificate.New(w.Client, f, w.Events, cfg)
	f.StartWithContext(ctx)
	var wg sync.WaitGroup
	wg.Go(func() { c.Run(ctx) })
	return func() {
		cancel()
		wg.Wait()
		f.Shutdown()
	}
}

// publish makes an Ingress that asks for a certificate, or gives one other hosts.
func (w *world) publish(t *testing.T, name, secret string, hosts ...string) {
	t.Helper()
	class, prefix := translate.ClassName, networkingv1.PathTypePrefix
	ing := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{translate.AnnotationACME: "true"}},
		Spec:       networkingv1.IngressSpec{IngressClassName: &class, TLS: []networkingv1.IngressTLS{{Hosts: hosts, SecretName: secret}}},
	}
	for _, h := range hosts {
		ing.Spec.Rules = append(ing.Spec.Rules, networkingv1.IngressRule{Host: h, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
			Path: "/", PathType: &prefix, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: "web", Port: networkingv1.ServiceBackendPort{Number: 80}}},
		}}}}})
	}
	client := w.Client.NetworkingV1().Ingresses("default")
	if had, err := client.Get(w.Ctx, name, metav1.GetOptions{}); err == nil {
		had.Spec = ing.Spec
		if _, err := client.Update(w.Ctx, had, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		return
	}
	if _, err := client.Create(w.Ctx, ing, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// served is the certificate that a client of the node gets who believes the authority, or nil.
func (w *world) served(host string) *x509.Certificate {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: 5 * time.Second}, Config: &tls.Config{ServerName: host, RootCAs: w.roots}}
	c, err := d.DialContext(w.Ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(w.secure)))
	if err != nil {
		return nil
	}
	defer c.Close()
	return c.(*tls.Conn).ConnectionState().PeerCertificates[0]
}

// told says whether an Event at the Ingress has a reason and a text.
func (w *world) told(ing, reason, text string) bool {
	list, err := w.Client.CoreV1().Events("default").List(w.Ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + ing + ",reason=" + reason})
	if err != nil {
		return false
	}
	for _, e := range list.Items {
		if strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

func (w *world) secret(t *testing.T, namespace, name string) *corev1.Secret {
	t.Helper()
	s, err := w.Client.CoreV1().Secrets(namespace).Get(w.Ctx, name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// account is the Secret with the account's key.
func (w *world) account(t *testing.T) *corev1.Secret {
	t.Helper()
	list, err := w.Client.CoreV1().Secrets(v1alpha1.SystemNamespace).List(w.Ctx, metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%d Secrets, %v; want that of one account", len(list.Items), err)
	}
	return &list.Items[0]
}

func TestAnIngressGetsTheCertificateThatItAsksFor(t *testing.T) {
	var logged lockedBuffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer slog.SetDefault(before)
	w := newWorld(t, time.Hour)
	stop := w.order(w.cfg)
	w.publish(t, "web", "web-tls", "a.here.example", "b.here.example")
	controllerstest.Eventually(t, "both hosts are served with a certificate of the authority", func() bool {
		return w.served("a.here.example") != nil && w.served("b.here.example") != nil
	})
	controllerstest.Eventually(t, "an Event says so", func() bool {
		return w.told("web", "CertificateIssued", "a.here.example, b.here.example is in Secret default/web-tls")
	})
	made, account := w.secret(t, "default", "web-tls"), w.account(t)
	if made.Type != corev1.SecretTypeTLS {
		t.Errorf("the Secret is of type %s", made.Type)
	}

	// Another control plane goes on where this one ended: with the same account, and without another order.
	stop()
	stop = w.order(w.cfg)
	w.publish(t, "second", "second-tls", "c.here.example")
	controllerstest.Eventually(t, "another control plane's order is served", func() bool { return w.served("c.here.example") != nil })
	if again := w.secret(t, "default", "web-tls"); again.ResourceVersion != made.ResourceVersion {
		t.Error("the first certificate was ordered anew")
	}
	if w.account(t).ResourceVersion != account.ResourceVersion {
		t.Error("there is another account")
	}

	// A host that leads elsewhere is told; one that is corrected is ordered at once.
	w.publish(t, "third", "third-tls", "d.elsewhere.example")
	controllerstest.Eventually(t, "an Event says why there is no certificate", func() bool {
		return w.told("third", "CertificateFailed", "d.elsewhere.example")
	})
	if w.served("d.elsewhere.example") != nil {
		t.Error("it is served with a certificate nevertheless")
	}
	w.publish(t, "third", "third-tls", "d.here.example")
	controllerstest.Eventually(t, "the corrected host is served", func() bool { return w.served("d.here.example") != nil })
	stop()

	for name, secret := range map[string]*corev1.Secret{"the account": account, "the certificate": made} {
		for line := range bytes.Lines(secret.Data[corev1.TLSPrivateKeyKey]) {
			if line = bytes.TrimSpace(line); !bytes.HasPrefix(line, []byte("-----")) && bytes.Contains(logged.bytes(), line) {
				t.Errorf("the key of %s is logged", name)
			}
		}
	}
}

func TestACertificateIsRenewedInTime(t *testing.T) {
	defer ingresscertificate.FirstPauses(2 * time.Second)()
	w := newWorld(t, 15*time.Second)
	stop := w.order(w.cfg)
	defer stop()
	w.publish(t, "web", "web-tls", "a.here.example")
	var first *x509.Certificate
	controllerstest.Eventually(t, "the host is served", func() bool {
		first = w.served("a.here.example")
		return first != nil
	})
	controllerstest.Eventually(t, "a new certificate is served while the first is still valid", func() bool {
		next := w.served("a.here.example")
		return next != nil && next.SerialNumber.Cmp(first.SerialNumber) != 0 && time.Now().Before(first.NotAfter)
	})
}

func TestNothingIsOrderedWithoutAnAccountOrOverSomebodysSecret(t *testing.T) {
	w := newWorld(t, time.Hour)
	stop := w.order(ingresscertificate.Config{Directory: w.cfg.Directory})
	w.publish(t, "web", "web-tls", "a.here.example")
	controllerstest.Eventually(t, "an Event says that there is no account", func() bool { return w.told("web", "CertificateFailed", "--acme-email") })
	stop()
	if _, err := w.Client.CoreV1().Secrets("default").Create(w.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "web-tls"}, Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: []byte("x"), corev1.TLSPrivateKeyKey: []byte("y")},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer w.order(w.cfg)()
	controllerstest.Eventually(t, "an Event says whose Secret it is", func() bool { return w.told("web", "CertificateFailed", "was not made by ACME") })
	if got := w.secret(t, "default", "web-tls"); string(got.Data[corev1.TLSCertKey]) != "x" {
		t.Error("somebody's Secret was overwritten")
	}
}

func TestACertificateThatCannotBeKeptIsNotOrderedOverAndOver(t *testing.T) {
	defer ingresscertificate.FirstPauses(2 * time.Second)()
	w := newWorld(t, time.Hour)
	secrets, fixed := w.Client.CoreV1().Secrets("default"), true
	if _, err := secrets.Create(w.Ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "web-tls", Annotations: map[string]string{ingresscertificate.AnnotationDirectory: w.cfg.Directory}}, Immutable: &fixed,
		Type: corev1.SecretTypeTLS, Data: map[string][]byte{corev1.TLSCertKey: []byte("x"), corev1.TLSPrivateKeyKey: []byte("y")},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	defer w.order(w.cfg)()
	w.publish(t, "web", "web-tls", "a.here.example")
	controllerstest.Eventually(t, "an Event says why it cannot be kept", func() bool { return w.told("web", "CertificateFailed", "immutable") })
	time.Sleep(3 * time.Second) // there is another attempt
	if err := secrets.Delete(w.Ctx, "web-tls", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	controllerstest.Eventually(t, "it is served when it can be kept", func() bool { return w.served("a.here.example") != nil })
	if n := w.orders.Load(); n != 1 {
		t.Errorf("%d were ordered", n)
	}
}

func TestAnAddressThatChangesIsToldTheAuthority(t *testing.T) {
	w := newWorld(t, time.Hour)
	contact := func() []string {
		block, _ := pem.Decode(w.account(t).Data[corev1.TLSPrivateKeyKey])
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		a, err := w.store.GetAccountByKey(key.(crypto.Signer).Public())
		if err != nil || a == nil {
			t.Fatalf("the authority has no such account: %v", err)
		}
		return a.Contact
	}
	for i, email := range []string{"ops@here.example", "ops@here.example", "other@here.example"} {
		cfg, host := w.cfg, fmt.Sprintf("%c.here.example", 'a'+i)
		cfg.Email = email
		stop := w.order(cfg)
		w.publish(t, host, host, host)
		controllerstest.Eventually(t, host+" is served", func() bool { return w.served(host) != nil })
		stop()
		if got := contact(); !slices.Equal(got, []string{"mailto:" + email}) {
			t.Errorf("the authority has %v, want %s", got, email)
		}
	}
}

// A Secret that somebody deletes as often as it is made is not ordered as often: the authority would give no more for weeks.
func TestASecretThatIsDeletedAgainAndAgainIsNotOrderedAsOften(t *testing.T) {
	defer ingresscertificate.FirstPauses(time.Second)()
	w := newWorld(t, time.Hour)
	defer w.order(w.cfg)()
	w.publish(t, "web", "web-tls", "a.here.example")
	for deadline := time.Now().Add(8 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err := w.Client.CoreV1().Secrets("default").Delete(w.Ctx, "web-tls", metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
	}
	if n := w.orders.Load(); n < 2 || n > 3 { // at once and after each of the two short pauses, as far as there was time; the next is long
		t.Errorf("%d were ordered, want 2 or 3", n)
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

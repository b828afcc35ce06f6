package ingresscertificate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

const directory = "https://acme.example/dir"

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// certified is a Secret with a certificate of ninety days from epoch on.
func certified(t *testing.T, from string, hosts ...string) *corev1.Secret {
	t.Helper()
	key, text, err := newKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: hosts, NotBefore: epoch, NotAfter: epoch.AddDate(0, 0, 90)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tls", Annotations: map[string]string{AnnotationDirectory: from}}, Type: corev1.SecretTypeTLS,
		Data: map[string][]byte{corev1.TLSCertKey: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), corev1.TLSPrivateKeyKey: text},
	}
}

func TestDecide(t *testing.T) {
	good := certified(t, directory, "a.example", "b.example")
	foreign, broken, mixed, account := good.DeepCopy(), good.DeepCopy(), good.DeepCopy(), good.DeepCopy()
	foreign.Annotations = nil
	account.Type, account.Data = corev1.SecretTypeOpaque, map[string][]byte{accountKey: good.Data[corev1.TLSPrivateKeyKey]}
	broken.Data[corev1.TLSCertKey] = []byte("what?")
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	mixed.Data[corev1.TLSPrivateKeyKey] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	many := make([]string, maxHosts+1)
	for i := range many {
		many[i] = strings.Repeat("x", i+1) + ".example"
	}
	renew := epoch.AddDate(0, 0, 60)
	for _, test := range []struct {
		name    string
		hosts   []string
		nobody  bool
		secret  *corev1.Secret
		from    string
		now     time.Time
		order   string
		again   time.Time
		problem string
	}{
		{name: "nobody asks", nobody: true},
		{name: "no account", from: "-", hosts: []string{"a.example"}, problem: "--acme-email"},
		{name: "no Secret", hosts: []string{"a.example"}, order: "there is none"},
		{name: "as it should be", hosts: []string{"a.example", "b.example"}, secret: good, again: renew},
		{name: "with names that are not needed", hosts: []string{"b.example"}, secret: good, again: renew},
		{name: "a host more", hosts: []string{"a.example", "c.example"}, secret: good, order: "it is not for c.example"},
		{name: "almost two thirds", hosts: []string{"a.example"}, secret: good, now: renew.Add(-time.Second), again: renew},
		{name: "two thirds", hosts: []string{"a.example"}, secret: good, now: renew, order: "it ends on 2026-04-01"},
		{name: "over", hosts: []string{"a.example"}, secret: good, now: renew.AddDate(1, 0, 0), order: "it ends on 2026-04-01"},
		{name: "of a test's authority", hosts: []string{"a.example"}, secret: certified(t, "https://staging.example", "a.example"), order: "it is of another authority"},
		{name: "broken", hosts: []string{"a.example"}, secret: broken, order: "it is broken"},
		{name: "another's key", hosts: []string{"a.example"}, secret: mixed, order: "it is broken"},
		{name: "somebody else's", hosts: []string{"a.example"}, secret: foreign, problem: "was not made by ACME"},
		{name: "the account's key", hosts: []string{"a.example"}, secret: account, problem: "was not made by ACME"},
		{name: "a wildcard", hosts: []string{"*.example.org"}, problem: "wildcards"},
		{name: "an address", hosts: []string{"192.0.2.1"}, problem: "not one of the public DNS"},
		{name: "a name of the house", hosts: []string{"printer"}, problem: "not one of the public DNS"},
		{name: "no host", problem: "nothing to get a certificate for"},
		{name: "too many hosts", hosts: many, problem: "101 hosts"},
	} {
		w := Want{Hosts: test.hosts, Ingresses: []*networkingv1.Ingress{{}}}
		if test.nobody {
			w.Ingresses = nil
		}
		if test.now.IsZero() {
			test.now = epoch
		}
		from := directory
		if test.from == "-" {
			from = ""
		}
		a := Decide(w, test.secret, from, test.now)
		if !strings.Contains(a.Order, test.order) || (a.Order == "") != (test.order == "") || !a.Again.Equal(test.again) ||
			!strings.Contains(a.Problem, test.problem) || (a.Problem == "") != (test.problem == "") {
			t.Errorf("%s: %+v, want order %q, again %s, problem %q", test.name, a, test.order, test.again, test.problem)
		}
	}
}

func TestWanted(t *testing.T) {
	ours, theirs := "gitopsd", "other"
	classes := translate.Classes{
		{ObjectMeta: metav1.ObjectMeta{Name: ours}, Spec: networkingv1.IngressClassSpec{Controller: translate.Controller}},
		{ObjectMeta: metav1.ObjectMeta{Name: theirs}, Spec: networkingv1.IngressClassSpec{Controller: "other.example/x"}},
	}
	age := 0
	ingress := func(name, class, asks string, tls ...networkingv1.IngressTLS) *networkingv1.Ingress {
		age++
		return &networkingv1.Ingress{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(epoch.Add(time.Duration(age) * time.Second)), Annotations: map[string]string{translate.AnnotationACME: asks}},
			Spec:       networkingv1.IngressSpec{IngressClassName: &class, TLS: tls, Rules: []networkingv1.IngressRule{{Host: name + ".example"}, {}}},
		}
	}
	entry := func(secret string, hosts ...string) networkingv1.IngressTLS {
		return networkingv1.IngressTLS{SecretName: secret, Hosts: hosts}
	}
	all := []*networkingv1.Ingress{
		ingress("b", ours, "true", entry("tls", "B.example", "x.example"), entry("tls", "y.example"), entry("another", "z.example")),
		ingress("a", ours, "true", entry("tls")),
		ingress("c", ours, "false", entry("tls", "no.example")),
		ingress("d", theirs, "true", entry("tls", "no.example")),
		ingress("e", ours, "true", entry("another", "no.example")),
	}
	w := Wanted(classes, all, "shop", "tls")
	if want := []string{"a.example", "b.example", "x.example", "y.example"}; !slices.Equal(w.Hosts, want) {
		t.Errorf("hosts %v, want %v", w.Hosts, want)
	}
	if len(w.Others) > 0 {
		t.Errorf("others have %v", w.Others)
	}
	thief := ingress("thief", ours, "true", entry("tls", "a.example", "X.example", "mine.example"))
	thief.Namespace = "den"
	if w := Wanted(classes, append(all, thief), "den", "tls"); !slices.Equal(w.Others, []string{"a.example", "x.example"}) {
		t.Errorf("a younger Ingress of another namespace gets all hosts but %v", w.Others)
	} else if a := Decide(w, nil, directory, epoch); a.Order != "" || !strings.Contains(a.Problem, "a.example, x.example: an older Ingress") {
		t.Errorf("for hosts of another namespace: %+v", a)
	}
	if len(w.Ingresses) != 2 || w.Ingresses[0].Name != "a" || w.Ingresses[1].Name != "b" {
		t.Errorf("asked for by %v", w.Ingresses)
	}
}

func TestPausesGrow(t *testing.T) {
	for failures, want := range map[int]time.Duration{1: 20 * time.Second, 2: 5 * time.Minute, 5: 6 * time.Hour, 50: 6 * time.Hour} {
		if got := pause(failures); got != want {
			t.Errorf("after %d failures: %s, want %s", failures, got, want)
		}
	}
}

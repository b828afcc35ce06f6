package podcert

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var now = time.Unix(1_800_000_000, 0)

// answered is a request with a condition; empty for none.
func answered(condition string) *certificatesv1.PodCertificateRequest {
	r := &certificatesv1.PodCertificateRequest{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "req-1"}}
	r.Spec.SignerName = "example.com/s"
	if condition != "" {
		r.Status.Conditions = []metav1.Condition{{Type: condition, Status: "True", Reason: "Why", Message: "for a reason"}}
	}
	return r
}

func TestWhatComesNextForACertificate(t *testing.T) {
	asked := func(ago time.Duration) *pending { return &pending{name: "req-1", asked: now.Add(-ago)} }
	until := func(renew time.Duration) *held {
		return &held{renew: now.Add(renew), expires: now.Add(renew + time.Hour)}
	}
	for _, c := range []struct {
		name    string
		state   state
		request *certificatesv1.PodCertificateRequest
		want    verb
	}{
		{"nothing yet", state{}, nil, ask},
		{"asked, not seen yet", state{pending: asked(time.Second)}, nil, wait},
		{"asked long ago, never seen", state{pending: asked(2 * time.Minute)}, nil, look},
		{"asked, no answer", state{pending: asked(time.Hour)}, answered(""), wait},
		{"issued", state{pending: asked(time.Second)}, answered("Issued"), take},
		{"denied", state{pending: asked(time.Second)}, answered("Denied"), stop},
		{"failed", state{pending: asked(time.Second)}, answered("Failed"), stop},
		{"a condition of somebody else's", state{pending: asked(time.Second)}, answered("Seen"), wait},
		{"held and young", state{held: until(time.Hour)}, nil, wait},
		{"to be renewed now", state{held: until(0)}, nil, ask},
		{"renewal under way", state{held: until(-time.Minute), pending: asked(time.Second)}, answered(""), wait},
		{"renewal issued", state{held: until(-time.Minute), pending: asked(time.Second)}, answered("Issued"), take},
		{"refused", state{refused: "no"}, nil, wait},
		{"renewal refused", state{held: until(-time.Minute), refused: "no"}, nil, wait},
	} {
		if got := decide(c.state, c.request, now); got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, got, c.want)
		}
	}
}

func TestARefusalIsToldInTheSignersWords(t *testing.T) {
	for condition, want := range map[string]string{
		"Denied": "PodCertificateRequest shop/req-1 was denied by signer example.com/s: Why: for a reason",
		"Failed": "PodCertificateRequest shop/req-1 failed at signer example.com/s: Why: for a reason",
		"":       "",
	} {
		if got := refusal(answered(condition)); got != want {
			t.Errorf("%s: got %q, want %q", condition, got, want)
		}
	}
}

// sign answers a request as a signer does, with a certificate of an authority of its own.
func sign(t testing.TB, request []byte, from, to time.Time) []byte {
	t.Helper()
	csr, err := x509.ParseCertificateRequest(request)
	if err != nil {
		t.Fatal(err)
	}
	if err := csr.CheckSignature(); err != nil {
		t.Fatalf("the request does not prove possession of its key: %v", err)
	}
	caKey, _, err := newKey("ED25519")
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(caKey)
	ca, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(from.UnixNano()), NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, csr.PublicKey, ca.(crypto.Signer))
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestEveryKeyTypeOfTheAPIIsMadeWithProofOfPossession(t *testing.T) {
	for _, kind := range []string{"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519"} {
		key, request, err := newKey(kind)
		if err != nil {
			t.Fatal(err)
		}
		c := Credential{Key: key, Chain: sign(t, request, now, now.Add(time.Hour))}
		if _, err := leaf(c); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		if back := Split(c.Bundle()); string(back.Key) != string(key) || string(back.Chain) != string(c.Chain) {
			t.Errorf("%s: a bundle taken apart is not what it was made of", kind)
		}
		csr, err := x509.ParseCertificateRequest(request)
		if err != nil || len(csr.Subject.Names) > 0 || len(csr.DNSNames) > 0 {
			t.Errorf("%s: the request is not empty: %v, %v", kind, csr, err)
		}
	}
	if _, _, err := newKey("RSA2048"); err == nil || !strings.Contains(err.Error(), "use RSA3072") {
		t.Errorf("a key type that the API does not have: %v", err)
	}
}

func TestACertificateForAnotherKeyIsNotTaken(t *testing.T) {
	key, _, _ := newKey("ED25519")
	_, other, _ := newKey("ED25519")
	r := answered("Issued")
	r.Status.CertificateChain = string(sign(t, other, now, now.Add(time.Hour)))
	if _, err := issued(key, r); err == nil || !strings.Contains(err.Error(), "for another key") {
		t.Errorf("got %v", err)
	}
	r.Status.CertificateChain = "none"
	if _, err := issued(key, r); err == nil {
		t.Error("a chain without a certificate was taken")
	}
}

func TestWhatAVolumeHoldsIsTakenOverUnlessItIsOver(t *testing.T) {
	key, request, err := newKey("ECDSAP256")
	if err != nil {
		t.Fatal(err)
	}
	c := Credential{Key: key, Chain: sign(t, request, now, now.Add(3*time.Hour))}
	h := adopted(c, now.Add(time.Minute))
	if h == nil {
		t.Fatal("it was not taken over")
	}
	// What the signer wished is not known any more, so it is renewed with a third of its life left.
	if want := now.Add(2 * time.Hour); !h.renew.Equal(want) {
		t.Errorf("it is renewed at %v, want %v", h.renew, want)
	}
	for name, c := range map[string]Credential{"nothing": {}, "a key alone": {Key: key}, "rubbish": {Key: []byte("x"), Chain: []byte("y")}} {
		if adopted(c, now) != nil {
			t.Errorf("%s was taken over", name)
		}
	}
	if adopted(c, now.Add(4*time.Hour)) != nil {
		t.Error("an expired certificate was taken over")
	}
}

func TestAChainIsCleanedOfWhatIsNoCertificate(t *testing.T) {
	_, request, _ := newKey("ED25519")
	cert := string(sign(t, request, now, now.Add(time.Hour)))
	block, _ := pem.Decode([]byte(cert))
	block.Headers = map[string]string{"who": "signer"}
	got := string(clean([]byte("# a comment\n" + string(pem.EncodeToMemory(block)) + "between\n" + cert + "after")))
	if want := cert + cert; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func FuzzSplit(f *testing.F) {
	key, request, err := newKey("ED25519")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(Credential{Key: key, Chain: sign(f, request, now, now.Add(time.Hour))}.Bundle())
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := Split(b)
		adopted(c, now) // whatever is in a volume must not end the daemon
		if again := Split(c.Bundle()); string(again.Key) != string(c.Key) || string(again.Chain) != string(c.Chain) {
			t.Errorf("taken apart twice it is not the same:\n%q\n%q", c, again)
		}
	})
}

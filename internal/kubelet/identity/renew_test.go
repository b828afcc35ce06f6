package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// authority signs what it is asked for, for three hours.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	away atomic.Bool
}

func (a *authority) sign(public any, ips []net.IP) []byte {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "system:node:n"}, IPAddresses: ips, NotBefore: time.Now(), NotAfter: time.Now().Add(3 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, a.key)
	if err != nil {
		a.t.Error(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *authority) answer(act clienttesting.Action) (bool, runtime.Object, error) {
	if a.away.Load() {
		return true, nil, &url.Error{Op: "Post", URL: "https://192.0.2.1", Err: &net.OpError{Op: "dial", Err: errors.New("connection refused")}}
	}
	csr := act.(clienttesting.CreateAction).GetObject().(*certificatesv1.CertificateSigningRequest).DeepCopy()
	block, _ := pem.Decode(csr.Spec.Request)
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		a.t.Error(err)
		return true, nil, err
	}
	csr.Status.Certificate = a.sign(req.PublicKey, req.IPAddresses)
	return true, csr, nil
}

func TestACertificateThatWasDueInAnHourWithoutTheAPIIsRenewedSecondsAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		a := &authority{t: t, key: key}
		c := fake.NewClientset()
		c.PrependReactor("create", "certificatesigningrequests", a.answer)
		der, err := x509.MarshalECPrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		first := append(a.sign(key.Public(), nil), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der})...)
		if err := os.WriteFile(filepath.Join(dir, clientFile), first, 0o600); err != nil {
			t.Fatal(err)
		}
		id := &Identity{opts: Options{Dir: dir, Node: "n", IPs: []net.IP{net.IPv4(192, 0, 2, 2)}}}
		events := map[string]int{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			if err := id.Run(ctx, c, func(reason, _ string) { events[reason]++ }); err != nil {
				t.Error(err)
			}
		}()

		time.Sleep(100 * time.Minute)
		a.away.Store(true)
		time.Sleep(time.Hour) // both are due after 144 minutes
		if tries := len(c.Actions()); tries > 2+2*17*6 {
			t.Errorf("it was tried %d times", tries)
		}
		a.away.Store(false)
		time.Sleep(unreachedPause)
		synctest.Wait()
		for _, file := range []string{clientFile, servingFile} {
			leaf, err := id.leaf(file)
			if err != nil {
				t.Fatal(err)
			}
			if age := time.Since(leaf.NotBefore); age > unreachedPause+time.Second {
				t.Errorf("%s is %s old", file, age)
			}
		}
		cancel()
		<-done
		if events[reasonFailed] != 2 {
			t.Errorf("its Events are %v, want one for each certificate", events)
		}
	})
}

package ingresscertificate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/gitopsd/gitopsd/api/v1alpha1"
	"github.com/gitopsd/gitopsd/internal/ingress/translate"
)

// Config is whom certificates are ordered from.
type Config struct {
	// Email is told of what is wrong with the account, and says that the authority's terms are agreed to; empty: nothing is ordered.
	Email string
	// Directory is the authority's URL.
	Directory string
	// CA is what its own certificate is signed by; nil: what this host believes.
	CA *x509.CertPool
}

// LetsEncrypt is the authority where no other is named.
const LetsEncrypt = "https://acme-v02.api.letsencrypt.org/directory"

// requestTimeout is for each request of the authority, orderTimeout for a certificate.
const requestTimeout, orderTimeout = 30 * time.Second, 5 * time.Minute

func (cfg Config) client() *acmez.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() // which goes by the environment's proxy
	transport.TLSClientConfig = &tls.Config{RootCAs: cfg.CA, MinVersion: tls.VersionTLS12}
	return &acmez.Client{
		Client:           &acme.Client{Directory: cfg.Directory, UserAgent: "gitopsd", HTTPClient: &http.Client{Transport: transport, Timeout: requestTimeout}},
		ChallengeSolvers: map[string]acmez.Solver{acme.ChallengeTypeHTTP01: nodes{}},
	}
}

// nodes answer challenges by themselves, as soon as they know the account.
type nodes struct{}

var _ acmez.Solver = nodes{}

// Present implements acmez.Solver.
func (nodes) Present(context.Context, acme.Challenge) error { return nil }

// CleanUp implements acmez.Solver.
func (nodes) CleanUp(context.Context, acme.Challenge) error { return nil }

// accountKey is the key of the Secret's data that holds the account's private key.
const accountKey = "tls.key"

// accountName is the Secret's name. Each authority has an account of its own.
func (cfg Config) accountName() string {
	sum := sha256.Sum256([]byte(cfg.Directory))
	return "acme-account-" + hex.EncodeToString(sum[:5])
}

// account finds the account at the authority, or makes it. Its key is kept before anything is done with it; asking for an account that there is returns it.
func (c *Controller) account(ctx context.Context) (acme.Account, error) {
	c.accountMu.Lock()
	defer c.accountMu.Unlock()
	if c.known.Status == acme.StatusValid {
		return c.known, nil
	}
	key, err := c.key(ctx)
	if err != nil {
		return acme.Account{}, err
	}
	contact := []string{"mailto:" + c.cfg.Email}
	account := acme.Account{Contact: slices.Clone(contact), TermsOfServiceAgreed: true, PrivateKey: key}
	thumbprint, err := account.Thumbprint()
	if err != nil {
		return acme.Account{}, err
	}
	if err := c.publish(ctx, thumbprint); err != nil {
		return acme.Account{}, err
	}
	if account, err = c.acme.NewAccount(ctx, account); err != nil {
		return acme.Account{}, fmt.Errorf("the account at %s: %w", c.cfg.Directory, err)
	}
	if !slices.Equal(account.Contact, contact) { // what the authority has: it was made with another address
		if _, err := c.acme.UpdateAccount(ctx, acme.Account{Contact: contact, Location: account.Location, PrivateKey: key}); err != nil {
			return acme.Account{}, fmt.Errorf("telling %s of the account's email address: %w", c.cfg.Directory, err)
		}
	}
	c.known = account
	return account, nil
}

// lookUpAgain has the next order ask for the account anew: the authority may have closed it.
func (c *Controller) lookUpAgain() {
	c.accountMu.Lock()
	defer c.accountMu.Unlock()
	c.known = acme.Account{}
}

// key is the account's.
func (c *Controller) key(ctx context.Context) (crypto.Signer, error) {
	secrets, name := c.client.CoreV1().Secrets(v1alpha1.SystemNamespace), c.cfg.accountName()
	secret, err := secrets.Get(ctx, name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		_, text, err := newKey()
		if err != nil {
			return nil, err
		}
		secret = &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{AnnotationDirectory: c.cfg.Directory}},
			Data:       map[string][]byte{accountKey: text},
		}
		if secret, err = secrets.Create(ctx, secret, metav1.CreateOptions{FieldManager: fieldManager}); err != nil {
			return nil, fmt.Errorf("keeping the key of the ACME account: %w", err)
		}
		return parseKey(secret)
	}
	if err != nil {
		return nil, fmt.Errorf("the key of the ACME account: %w", err)
	}
	return parseKey(secret)
}

func parseKey(secret *corev1.Secret) (crypto.Signer, error) {
	broken := fmt.Errorf("the key of the ACME account in Secret %s/%s is broken: restore it, or delete the Secret to begin with a new account", secret.Namespace, secret.Name)
	block, _ := pem.Decode(secret.Data[accountKey])
	if block == nil {
		return nil, broken
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if signer, ok := key.(crypto.Signer); ok && err == nil {
		return signer, nil
	}
	return nil, broken
}

// newKey makes a key, and its form in a Secret.
func newKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// publish has the nodes answer in the account's name.
func (c *Controller) publish(ctx context.Context, thumbprint string) error {
	class, err := c.classes.Get(translate.ClassName)
	if err != nil {
		return fmt.Errorf("telling the nodes of the ACME account: %w", err)
	}
	if class.Annotations[translate.AnnotationAccount] == thumbprint {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]string{translate.AnnotationAccount: thumbprint}}})
	if err != nil {
		return err
	}
	if _, err := c.client.NetworkingV1().IngressClasses().Patch(ctx, translate.ClassName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager}); err != nil {
		return fmt.Errorf("telling the nodes of the ACME account: %w", err)
	}
	return nil
}

// obtain orders a certificate, and returns what a Secret holds.
func (c *Controller) obtain(ctx context.Context, hosts []string) (map[string][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	account, err := c.account(ctx)
	if err != nil {
		return nil, err
	}
	key, text, err := newKey()
	if err != nil {
		return nil, err
	}
	chains, err := c.acme.ObtainCertificateForSANs(ctx, account, key, hosts)
	if err != nil {
		return nil, err
	}
	if len(chains) == 0 {
		return nil, errors.New("the authority gave no certificate")
	}
	return map[string][]byte{corev1.TLSCertKey: chains[0].ChainPEM, corev1.TLSPrivateKeyKey: text}, nil
}

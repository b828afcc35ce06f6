package identity

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/internal/durable"
	"github.com/gitopsd/gitopsd/internal/logging"
)

// Options of a node's identity.
type Options struct {
	Server string // URL of the API server
	Token  string // join token; needed only for the first start
	Dir    string // keeps the certificates
	Node   string // name
	IPs    []net.IP
	Names  []string
	// Patience is how long to try to reach the API server when joining.
	Patience time.Duration
}

// Identity is a node that has joined.
type Identity struct {
	opts   Options
	server *url.URL
	ca     *x509.CertPool

	lapsed *x509.Certificate // had expired before this start, and was replaced

	mu      sync.Mutex
	serving *tls.Certificate
}

const (
	caFile      = "ca.crt"
	clientFile  = "client.pem"
	servingFile = "serving.pem"
)

// Joined says whether a directory has a node's certificate, whatever has become of that since.
func Joined(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, clientFile))
	return err == nil
}

// Join gives the identity kept in the directory, or gets one with the token.
func Join(ctx context.Context, o Options) (*Identity, error) {
	server, err := url.Parse(o.Server)
	if err != nil || server.Scheme != "https" || server.Host == "" {
		return nil, fmt.Errorf("--server %q: must be https://host:port, the address of the control plane", o.Server)
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("keeping the node's certificates: %w", err)
	}
	id := &Identity{opts: o, server: server}
	leaf, err := id.leaf(clientFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the node's certificate: %w; remove the directory %s and start with a new --token", err, o.Dir)
	}
	switch {
	case leaf != nil && leaf.Subject.CommonName != "system:node:"+o.Node:
		return nil, fmt.Errorf("the data directory belongs to %s, not to node %q: give --name that name, or --data-dir another directory", leaf.Subject.CommonName, o.Node)
	case leaf != nil && time.Now().After(leaf.NotAfter):
		return id, id.replace(ctx, leaf)
	case leaf != nil:
		return id, id.loadCA()
	case o.Token == "":
		return nil, errors.New("--token: this node has not joined a cluster yet; give it a join token, printed by `gitopsd token create` on the control plane")
	}
	return id, id.join(ctx)
}

// atOnce is how long a start may take over a certificate that has expired: the node's Pods wait for it.
const atOnce = 3 * time.Second

// replace tries once to get another certificate for one that has expired. If that fails it is left to Run, whatever the cause: the node's Pods are to be looked after meanwhile.
func (i *Identity) replace(ctx context.Context, lapsed *x509.Certificate) error {
	ctx, cancel := context.WithTimeout(ctx, atOnce)
	defer cancel()
	if err := i.rejoin(ctx, nil, clientFile); err == nil || errors.Is(err, errOtherCA) {
		i.lapsed = lapsed
	}
	return i.loadCA()
}

// join gets the CA and the client certificate. It goes on trying while the server cannot be reached, since both may be starting, but not when refused.
func (i *Identity) join(ctx context.Context) error {
	token, err := ParseToken(i.opts.Token)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, i.opts.Patience)
	defer cancel()
	var last error
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := i.tryJoin(ctx, token)
		switch {
		case err == nil:
			return i.loadCA()
		case errors.Is(err, ErrWrongCluster), errors.Is(err, ErrRefused):
			return err
		case apierrors.IsUnauthorized(err):
			return fmt.Errorf("the API server at %s refused the join token with ID %q: it is unknown, expired or mistyped; print a new one with `gitopsd token create` on the control plane", i.server, token.ID)
		case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
			return fmt.Errorf("the API server at %s does not let this node join: %w", i.server, err)
		}
		if last == nil || last.Error() != err.Error() {
			slog.Warn("joining the cluster failed; trying on", "server", i.server.String(), "err", err)
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server at %s could not be reached: %w; check --server, that `gitopsd serve` runs there, and the network between", i.server, last)
		case <-time.After(pause):
		}
	}
}

func (i *Identity) tryJoin(ctx context.Context, token Token) error {
	ca, err := fetchCA(ctx, i.server, token.CAHash)
	if err != nil {
		return err
	}
	pemCA := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
	cfg := &rest.Config{Host: i.server.String(), BearerToken: token.Bearer, QPS: -1, TLSClientConfig: rest.TLSClientConfig{CAData: pemCA}}
	c, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	cert, err := request(ctx, c, wanted{node: i.opts.Node, signer: certificatesv1.KubeAPIServerClientKubeletSignerName, usage: certificatesv1.UsageClientAuth})
	if err != nil {
		return err
	}
	if err := i.save(caFile, pemCA); err != nil {
		return err
	}
	return i.save(clientFile, cert)
}

func (i *Identity) path(name string) string { return filepath.Join(i.opts.Dir, name) }

// save replaces a file in one step: half a certificate would keep the node from starting.
func (i *Identity) save(name string, b []byte) error {
	if err := durable.Replace(i.path(name), b); err != nil {
		return fmt.Errorf("keeping the node's certificates: %w", err)
	}
	return nil
}

// leaf reads a certificate that is kept.
func (i *Identity) leaf(name string) (*x509.Certificate, error) {
	c, err := tls.LoadX509KeyPair(i.path(name), i.path(name))
	if err != nil {
		return nil, err
	}
	return c.Leaf, nil
}

func (i *Identity) loadCA() error {
	b, err := os.ReadFile(i.path(caFile))
	if err != nil {
		return fmt.Errorf("the cluster's CA: %w; remove the directory %s and start with a new --token", err, i.opts.Dir)
	}
	i.ca = x509.NewCertPool()
	if !i.ca.AppendCertsFromPEM(b) {
		return fmt.Errorf("the cluster's CA in %s is no certificate; remove the directory %s and start with a new --token", i.path(caFile), i.opts.Dir)
	}
	return nil
}

// Config is for clients of the API server. A renewed certificate is taken up without a new client.
func (i *Identity) Config() *rest.Config {
	return &rest.Config{
		Host: i.server.String(), QPS: -1, UserAgent: "gitopsd-node",
		DisableCompression: true, // what all nodes watch would be compressed for each of them
		ContentConfig:      rest.ContentConfig{ContentType: "application/vnd.kubernetes.protobuf", AcceptContentTypes: "application/vnd.kubernetes.protobuf,application/json"},
		TLSClientConfig:    rest.TLSClientConfig{CAFile: i.path(caFile), CertFile: i.path(clientFile), KeyFile: i.path(clientFile)},
		WrapTransport:      func(next http.RoundTripper) http.RoundTripper { return newAway(next, i.server) },
	}
}

// ServerTLS is for the node's own server: it shows the serving certificate once there is one and asks callers for a certificate of the cluster.
func (i *Identity) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ClientCAs: i.ca, ClientAuth: tls.VerifyClientCertIfGiven,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			i.mu.Lock()
			defer i.mu.Unlock()
			if i.serving == nil {
				return nil, errors.New("the node has no serving certificate yet")
			}
			return i.serving, nil
		},
	}
}

// Reasons of Events about the node's certificates.
const (
	reasonExpired = "CertificateExpired"
	reasonFailed  = "FailedCertificateRenewal"
)

// errOtherCA is when the node joined again and the cluster has another CA than before. Whatever this process made from the old one is of no use then.
var errOtherCA = errors.New("the cluster has another certificate authority now; start this daemon anew")

// Run gets the serving certificate and renews both until ctx ends, or until the process has to start anew to go on. warn records an Event about the Node, once there is a way to.
func (i *Identity) Run(ctx context.Context, c kubernetes.Interface, warn func(reason, message string)) error {
	if i.lapsed != nil {
		warn(reasonExpired, replaced(i.lapsed))
	}
	failures := map[string]*logging.News{servingFile: {}, clientFile: {}}
	if cert, err := tls.LoadX509KeyPair(i.path(servingFile), i.path(servingFile)); err == nil && i.fits(cert.Leaf) {
		i.setServing(cert)
	}
	for pause := time.Duration(0); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(pause):
		}
		next := 24 * time.Hour
		failed, unreached := false, false
		for _, file := range []string{clientFile, servingFile} {
			leaf, err := i.leaf(file)
			if err == nil && (file == clientFile || i.fits(leaf)) {
				if due := renewal(leaf); time.Now().Before(due) {
					next = min(next, time.Until(due))
					continue
				}
			}
			renew := i.renew
			lapsed := file == clientFile && err == nil && time.Now().After(leaf.NotAfter)
			if lapsed {
				renew = i.rejoin // nobody takes the old one any more
			}
			attempt, cancel := context.WithTimeout(ctx, time.Minute)
			err = renew(attempt, c, file)
			cancel()
			if errors.Is(err, errOtherCA) {
				return err
			}
			news := failures[file].New(err)
			switch {
			case err == nil && lapsed:
				warn(reasonExpired, replaced(leaf))
			case news && ctx.Err() == nil:
				slog.Warn("renewing a certificate of this node failed; it is tried again until it succeeds", "certificate", file, "err", err)
				warn(reasonFailed, fmt.Sprintf("renewing the certificate %s failed, and is tried again: %v", file, err))
			}
			if err != nil {
				failed = true
				unreached = unreached || errors.As(err, new(*net.OpError))
				if lapsed {
					break // the other is not given to who cannot say who it is
				}
			}
		}
		switch {
		case unreached:
			// It may be back at any moment, and a node whose certificate has expired meanwhile can do nothing until this succeeds.
			pause = unreachedPause
		case failed:
			pause = min(max(2*pause, time.Second), 5*time.Minute)
		default:
			pause = max(next, time.Second)
		}
	}
}

// unreachedPause is between two tries to renew a certificate while the API server cannot be reached.
const unreachedPause = 10 * time.Second

// renewal is when a certificate is to be renewed: when four fifths of its life are over.
func renewal(leaf *x509.Certificate) time.Time {
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 5 * 4)
}

// fits says whether a serving certificate is still good and is for all the node's addresses.
func (i *Identity) fits(leaf *x509.Certificate) bool {
	if leaf == nil || time.Now().After(leaf.NotAfter) {
		return false
	}
	for _, ip := range i.opts.IPs {
		if leaf.VerifyHostname(ip.String()) != nil {
			return false
		}
	}
	return true
}

func (i *Identity) renew(ctx context.Context, c kubernetes.Interface, file string) error {
	w := wanted{node: i.opts.Node, signer: certificatesv1.KubeAPIServerClientKubeletSignerName, usage: certificatesv1.UsageClientAuth}
	if file == servingFile {
		w.signer, w.usage, w.names, w.ips = certificatesv1.KubeletServingSignerName, certificatesv1.UsageServerAuth, i.opts.Names, i.opts.IPs
	}
	b, err := request(ctx, c, w)
	if err != nil {
		return err
	}
	if err := i.save(file, b); err != nil {
		return err
	}
	if file == servingFile {
		cert, err := tls.X509KeyPair(b, b)
		if err != nil {
			return err
		}
		i.setServing(cert)
	}
	return nil
}

// rejoin gets a client certificate with the token, as the first one was. With errOtherCA it has got one.
func (i *Identity) rejoin(ctx context.Context, _ kubernetes.Interface, file string) error {
	if i.opts.Token == "" {
		leaf, err := i.leaf(file)
		if err != nil {
			return err
		}
		return expired(leaf)
	}
	token, err := ParseToken(i.opts.Token)
	if err != nil {
		return err
	}
	before, err := os.ReadFile(i.path(caFile))
	if err != nil {
		return err
	}
	if err := i.tryJoin(ctx, token); err != nil {
		return err
	}
	if now, err := os.ReadFile(i.path(caFile)); err != nil || !bytes.Equal(before, now) {
		return errOtherCA
	}
	return nil
}

// expired tells that a node has no way to show who it is any more.
func expired(leaf *x509.Certificate) error {
	return fmt.Errorf("the node's certificate expired on %s, while it was off or the control plane away: start it once with --token, printed by `gitopsd token create` on the control plane", leaf.NotAfter.Format(time.DateOnly))
}

func replaced(leaf *x509.Certificate) string {
	return fmt.Sprintf("the node's certificate expired on %s; it was replaced with the join token", leaf.NotAfter.Format(time.DateTime))
}

func (i *Identity) setServing(c tls.Certificate) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.serving = &c
}

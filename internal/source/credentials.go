package source

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing/transport"
	gitproto "github.com/go-git/go-git/v5/plumbing/transport/git"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"
	gitssh "github.com/go-git/go-git/v5/plumbing/transport/ssh"
	"github.com/skeema/knownhosts"
	"golang.org/x/crypto/ssh"
)

func init() {
	// What the daemon connects to is decided by the Application alone, not by the ssh configuration of whoever runs the daemon.
	gitssh.DefaultSSHConfig = nil
}

// Credentials are what a repository's Secret holds. The zero value is none.
type Credentials struct {
	// Secret is "namespace/name" of the Secret they come from.
	Secret string
	// Username and Password are for basic authentication; Username also replaces the user of an ssh URL, and Password opens Identity.
	Username, Password string
	// BearerToken is sent instead of basic authentication.
	BearerToken string
	// Identity is an ssh private key in PEM, KnownHosts the lines of a known_hosts file.
	Identity, KnownHosts []byte
	// CAFile is a bundle of PEM certificates that a server's certificate must come from, next to the system's.
	CAFile []byte
	// TLSCert and TLSKey are a client certificate and its key in PEM.
	TLSCert, TLSKey []byte
	// Proxy is the URL of a proxy to connect through: http, https or socks5.
	Proxy string
	// Insecure says that a registry of charts may be asked by plain HTTP. It is the Application's word, not the Secret's.
	Insecure bool
}

// CredentialsFromSecret reads the keys that the Application's API documents.
func CredentialsFromSecret(name string, data map[string][]byte) Credentials {
	line := func(k string) string { return strings.TrimRight(string(data[k]), "\r\n") }
	ca := data["caFile"]
	if len(ca) == 0 {
		ca = data["ca.crt"]
	}
	return Credentials{
		Secret: name, Username: line("username"), Password: line("password"), BearerToken: line("bearerToken"),
		Identity: data["identity"], KnownHosts: data["known_hosts"], CAFile: ca,
		TLSCert: data["tls.crt"], TLSKey: data["tls.key"], Proxy: line("proxy"),
	}
}

// called is how messages name the Secret.
func (c Credentials) called() string {
	if c.Secret == "" {
		return "the Secret"
	}
	return "the Secret " + c.Secret
}

// fingerprint tells two sets of credentials apart; it stays in memory.
func (c Credentials) fingerprint() string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(c.Username), []byte(c.Password), []byte(c.BearerToken), c.Identity, c.KnownHosts, c.CAFile, c.TLSCert, c.TLSKey, []byte(c.Proxy)} {
		fmt.Fprintf(h, "%d:", len(part))
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// dialTimeout bounds connecting, and each handshake.
const dialTimeout = 15 * time.Second

// answerTimeout bounds how long a server may think before the first byte of its answer. Only tests change it.
var answerTimeout = 60 * time.Second

// transportFor makes the client and the credentials for one repository. Each repository has a client of its own, so that neither
// connections nor CA bundles are ever shared between two of them.
func transportFor(ep *transport.Endpoint, c Credentials) (transport.Transport, transport.AuthMethod, error) {
	switch ep.Protocol {
	case "http", "https":
		return httpTransport(ep, c)
	case "ssh":
		auth, err := sshAuthFor(ep, c)
		if err != nil {
			return nil, nil, err
		}
		if _, err := proxyOf(c); err != nil {
			return nil, nil, err
		}
		ep.Proxy.URL = sshProxy + cmp.Or(c.Proxy, "direct:")
		return gitssh.NewClient(nil), auth, nil
	case "git":
		if c.Proxy != "" {
			return nil, nil, failf(InvalidCredentials, "%s names a proxy, through which the protocol git does not go; write repoURL with https or ssh, or take proxy out of the Secret", c.called())
		}
		return gitproto.DefaultClient, nil, nil
	}
	return nil, nil, failf(InvalidSource, "no transport for %s", ep.Protocol)
}

// HTTPClient makes a client that connects as the credentials say, but sends none of them by itself, and that ends answers which are longer than any honest one.
func HTTPClient(c Credentials) (*http.Client, error) {
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(c.CAFile) > 0 {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM(c.CAFile) {
			return nil, failf(InvalidCredentials, "%s has a caFile without a PEM certificate", c.called())
		}
		tlsConfig.RootCAs = pool
	}
	if len(c.TLSCert) > 0 || len(c.TLSKey) > 0 {
		cert, err := tls.X509KeyPair(c.TLSCert, c.TLSKey)
		if err != nil {
			return nil, wrapf(InvalidCredentials, err, "%s: tls.crt and tls.key are no client certificate with its key, both in PEM", c.called())
		}
		tlsConfig.Certificates = []tls.Certificate{cert}
	}
	proxy, err := proxyOf(c)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: boundedBodies{&http.Transport{
		Proxy: proxy,
		OnProxyConnectResponse: func(_ context.Context, proxy *url.URL, _ *http.Request, res *http.Response) error {
			return tunnelled(proxy, res.StatusCode)
		},
		DialContext:           (&net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:       tlsConfig,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: answerTimeout,
		MaxIdleConnsPerHost:   2,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
	}}}, nil
}

// proxyOf chooses the proxy: that of the Secret, or of the environment.
func proxyOf(c Credentials) (func(*http.Request) (*url.URL, error), error) {
	if c.Proxy == "" {
		return http.ProxyFromEnvironment, nil
	}
	u, err := url.Parse(c.Proxy)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return nil, failf(InvalidCredentials, "%s: proxy is no URL with the scheme http, https or socks5", c.called())
	}
	return http.ProxyURL(u), nil
}

func httpTransport(ep *transport.Endpoint, c Credentials) (transport.Transport, transport.AuthMethod, error) {
	client, err := HTTPClient(c)
	if err != nil {
		return nil, nil, err
	}
	var auth transport.AuthMethod
	user, password := ep.User, ep.Password
	if c.Username != "" || c.Password != "" {
		user, password = c.Username, c.Password
	}
	switch {
	case c.BearerToken != "":
		auth = &githttp.TokenAuth{Token: c.BearerToken}
	case user != "" || password != "":
		if user == "" {
			user = "git" // hosts that take a token as password want some user name, and any will do
		}
		auth = &githttp.BasicAuth{Username: user, Password: password}
	}
	ep.User, ep.Password = "", "" // the URL is what errors quote
	return githttp.NewClient(client), auth, nil
}

// sshAuth authenticates one ssh connection with one key, against one set of known hosts.
type sshAuth struct{ config ssh.ClientConfig }

func (*sshAuth) Name() string   { return "ssh-key" }
func (*sshAuth) String() string { return "ssh key of the Application's Secret" }

func (a *sshAuth) ClientConfig() (*ssh.ClientConfig, error) {
	c := a.config
	return &c, nil
}

func sshAuthFor(ep *transport.Endpoint, c Credentials) (*sshAuth, error) {
	if len(c.Identity) == 0 {
		return nil, failf(InvalidCredentials, "an ssh repository needs spec.source.secretRef with the keys identity (a private key) and known_hosts")
	}
	var signer ssh.Signer
	var err error
	if c.Password != "" {
		signer, err = ssh.ParsePrivateKeyWithPassphrase(c.Identity, []byte(c.Password))
	} else {
		signer, err = ssh.ParsePrivateKey(c.Identity)
	}
	var locked *ssh.PassphraseMissingError
	switch {
	case errors.As(err, &locked):
		return nil, failf(InvalidCredentials, "%s: identity is encrypted; put its passphrase into the key password", c.called())
	case err != nil:
		return nil, wrapf(InvalidCredentials, err, "%s: identity is no usable ssh private key", c.called())
	}
	hosts, err := knownHosts(c)
	if err != nil {
		return nil, err
	}
	port := ep.Port
	if port <= 0 {
		port = gitssh.DefaultPort
	}
	address := net.JoinHostPort(ep.Host, fmt.Sprint(port))
	algorithms := hosts.HostKeyAlgorithms(address)
	if len(algorithms) == 0 {
		return nil, failf(InvalidCredentials, "%s: known_hosts has no key for %s; add the output of: ssh-keyscan -p %d %s", c.called(), knownhosts.Normalize(address), port, ep.Host)
	}
	user := ep.User
	if c.Username != "" {
		user = c.Username
	}
	if user == "" {
		user = gitssh.DefaultUsername
	}
	return &sshAuth{ssh.ClientConfig{
		User:              user,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback:   hosts.HostKeyCallback(),
		HostKeyAlgorithms: algorithms,
		Timeout:           dialTimeout,
	}}, nil
}

// knownHosts parses the known_hosts; the library reads only files, so they pass through one that is gone again when this returns.
func knownHosts(c Credentials) (*knownhosts.HostKeyDB, error) {
	if len(c.KnownHosts) == 0 {
		return nil, failf(InvalidCredentials, "%s lacks known_hosts; without it anybody could pose as the repository's host", c.called())
	}
	f, err := os.CreateTemp("", "gitopsd-known-hosts-")
	if err != nil {
		return nil, wrapf(StoreFailed, err, "cannot write a temporary file")
	}
	defer os.Remove(f.Name())
	_, err = f.Write(c.KnownHosts)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, wrapf(StoreFailed, err, "cannot write a temporary file")
	}
	db, err := knownhosts.NewDB(f.Name())
	if err != nil {
		// The library's text names the temporary file, which means nothing to the reader.
		return nil, failf(InvalidCredentials, "%s: known_hosts cannot be parsed: %s", c.called(), strings.ReplaceAll(err.Error(), f.Name(), "known_hosts"))
	}
	return db, nil
}

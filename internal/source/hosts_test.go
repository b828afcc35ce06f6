package source_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gitopsd/gitopsd/internal/source"
	"github.com/gitopsd/gitopsd/internal/source/gittest"
)

// clientCertificate makes a certificate that proves itself, with its key, both in PEM.
func clientCertificate(t *testing.T) (cert, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

func TestAHostThatWantsAClientCertificateIsShownTheSecrets(t *testing.T) {
	repo := gittest.New(t)
	commit := repo.Push(two)
	cert, key := clientCertificate(t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(cert)
	s := httptest.NewUnstartedServer(repo.Serve(t, false).Config.Handler)
	s.TLS = &tls.Config{ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	s.StartTLS()
	t.Cleanup(s.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	head, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: s.URL + "/acme/repo.git", Credentials: source.Credentials{CAFile: ca, TLSCert: cert, TLSKey: key}})
	if err != nil || head.Hash != commit {
		t.Errorf("with the certificate: %v, %v", head, err)
	}
	_, err = source.New(t.TempDir()).Head(t.Context(), source.Request{URL: s.URL + "/acme/repo.git", Credentials: source.Credentials{CAFile: ca}})
	if source.ReasonOf(err) != source.Unauthorized || !strings.Contains(err.Error(), "wants a client certificate; put it into the Secret as tls.crt") {
		t.Errorf("without a certificate: %v", err)
	}
	_, err = source.New(t.TempDir()).Head(t.Context(), source.Request{URL: s.URL + "/acme/repo.git", Credentials: source.Credentials{CAFile: ca, TLSCert: cert}})
	if source.ReasonOf(err) != source.InvalidCredentials {
		t.Errorf("a certificate without key: %v", err)
	}
}

func TestAProxyIsUsedWhereTheSecretNamesOne(t *testing.T) {
	repo := gittest.New(t)
	commit := repo.Push(two)
	git := repo.Serve(t, false)
	var through atomic.Int64
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through.Add(1)
		(&httputil.ReverseProxy{Rewrite: func(*httputil.ProxyRequest) {}}).ServeHTTP(w, r)
	}))
	t.Cleanup(proxy.Close)
	head, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: git.Repo(), Credentials: source.Credentials{Proxy: proxy.URL}})
	if err != nil || head.Hash != commit || through.Load() != 2 {
		t.Errorf("%v, %v; %d requests through the proxy, want 2", head, err, through.Load())
	}
	for _, bad := range []string{"ftp://x", "proxy.example.com:3128", "http://user:s3cret@%"} {
		_, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: git.Repo(), Credentials: source.Credentials{Proxy: bad}})
		if source.ReasonOf(err) != source.InvalidCredentials || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("proxy %q: %v", bad, err)
		}
	}
}

// tunnels starts a proxy that connects whoever is me with the password.
func tunnels(t *testing.T) *httptest.Server {
	t.Helper()
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); {
		case r.Method != http.MethodConnect || user == "stranger":
			http.Error(w, "only friends", http.StatusForbidden)
			return
		case user != "me" || password != "s3cret":
			w.Header().Set("Proxy-Authenticate", "Basic")
			http.Error(w, "who are you?", http.StatusProxyAuthRequired)
			return
		}
		host, err := net.Dial("tcp", r.Host)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer host.Close()
		client, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer client.Close()
		fmt.Fprint(client, "HTTP/1.1 200 Connected\r\n\r\n")
		go func() { _, _ = io.Copy(host, client); host.Close() }()
		_, _ = io.Copy(client, host)
	}))
	t.Cleanup(proxy.Close)
	return proxy
}

// For https the proxy makes a tunnel, and sees neither credentials nor content.
func TestAProxyThatRefusesATunnelIsToldApartFromTheHost(t *testing.T) {
	repo := gittest.New(t)
	commit := repo.Push(two)
	git := repo.Serve(t, true)
	proxy := tunnels(t)
	through := func(user string) (source.Commit, error) {
		return source.New(t.TempDir()).Head(t.Context(), source.Request{URL: git.Repo(), Credentials: source.Credentials{CAFile: git.CA(), Proxy: strings.Replace(proxy.URL, "//", "//"+user, 1)}})
	}
	if head, err := through("me:s3cret@"); err != nil || head.Hash != commit {
		t.Errorf("with the password: %v, %v", head, err)
	}
	for user, want := range map[string]string{
		"me:wr0ng@":       "wants a user and password, or refused those given; put them into its URL, as proxy of the Secret",
		"stranger:wr0ng@": "answers 403 when asked for a connection",
	} {
		_, err := through(user)
		if source.ReasonOf(err) != source.ProxyRefused || !strings.HasPrefix(err.Error(), git.Repo()+": the proxy ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wr0ng") {
			t.Errorf("as %s: %v, want %q", user, err, want)
		}
	}
}

func TestSSHGoesThroughAProxyOfHTTPAndGitSaysThatItDoesNot(t *testing.T) {
	repo := gittest.New(t)
	commit := repo.Push(two)
	host, proxy := repo.ServeSSH(t), tunnels(t)
	through := func(user string) (source.Commit, error) {
		return source.New(t.TempDir()).Head(t.Context(), source.Request{URL: host.URL, Credentials: source.Credentials{
			Identity: host.Identity, KnownHosts: host.KnownHosts, Proxy: strings.Replace(proxy.URL, "//", "//"+user, 1),
		}})
	}
	if head, err := through("me:s3cret@"); err != nil || head.Hash != commit {
		t.Errorf("with the password: %v, %v", head, err)
	}
	if _, err := through("me:wr0ng@"); source.ReasonOf(err) != source.ProxyRefused || strings.Contains(err.Error(), "wr0ng") {
		t.Errorf("without the password: %v", err)
	}
	_, err := source.New(t.TempDir()).Head(t.Context(), source.Request{URL: "git://git.example.com/shop.git", Credentials: source.Credentials{Secret: "shop/git", Proxy: proxy.URL}})
	if source.ReasonOf(err) != source.InvalidCredentials || !strings.Contains(err.Error(), "the Secret shop/git names a proxy, through which the protocol git does not go") {
		t.Errorf("git: %v", err)
	}
}

// A silent host is given up, whichever protocol it was to speak.
func TestAHostThatAcceptsConnectionsAndIsSilentIsGivenUp(t *testing.T) {
	source.AnswerWithin(t, 200*time.Millisecond)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var held []net.Conn // or the collector would close them
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			held = append(held, c)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-ended
		for _, c := range held {
			c.Close()
		}
	})
	key := gittest.New(t).ServeSSH(t)
	at := l.Addr().String()
	for _, scheme := range []string{"http", "git", "ssh"} {
		r := source.Request{URL: scheme + "://" + at + "/repo.git", Credentials: source.Credentials{Identity: key.Identity, KnownHosts: []byte(strings.Replace(string(key.KnownHosts), strings.TrimPrefix(key.Address, "127.0.0.1"), strings.TrimPrefix(at, "127.0.0.1"), 1))}}
		done := make(chan error, 1)
		go func() { _, err := source.New(t.TempDir()).Head(context.WithoutCancel(t.Context()), r); done <- err }()
		select {
		case err := <-done:
			if source.ReasonOf(err) != source.Unreachable || !strings.Contains(err.Error(), "did not answer in time") {
				t.Errorf("%s: %v", scheme, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s: it is waited for for ever", scheme)
		}
	}
}

func TestAHostThatLimitsRequestsIsLeftAloneForAsLongAsItSays(t *testing.T) {
	repo := gittest.New(t)
	repo.Push(two)
	git := repo.Serve(t, false)
	var limited atomic.Bool
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if limited.Load() {
			w.Header().Set("Retry-After", "120")
			http.Error(w, "slow down", http.StatusTooManyRequests)
			return
		}
		git.Config.Handler.ServeHTTP(w, r)
	}))
	t.Cleanup(s.Close)
	g := source.New(t.TempDir())
	r := source.Request{URL: s.URL + "/acme/repo.git"}
	commit, _ := read(t, g, r)
	limited.Store(true)
	before := asked.Load()
	for range 20 {
		// Another URL of the same host is not asked either.
		for _, r := range []source.Request{r, {URL: s.URL + "/acme/other.git"}} {
			_, err := g.Head(t.Context(), r)
			if source.ReasonOf(err) != source.RateLimited || source.RetryAfter(err) < time.Minute || source.RetryAfter(err) > 2*time.Minute {
				t.Fatalf("%v, again after %s", err, source.RetryAfter(err))
			}
		}
	}
	if n := asked.Load() - before; n != 1 {
		t.Errorf("the host was asked %d times while it wanted nobody", n)
	}
	if files := filesOf(t, g, r, commit, "deploy"); len(files) != 2 {
		t.Errorf("meanwhile the last commit reads %v", files)
	}
}

func TestAHostThatIsDownIsAskedOnceForAllWhoShareTheRepository(t *testing.T) {
	repo := gittest.New(t)
	repo.Push(two)
	s := repo.Serve(t, false)
	s.Down.Store(true)
	g := source.New(t.TempDir())
	told := time.Now()
	for range 100 {
		if _, err := g.Head(t.Context(), source.Request{URL: s.Repo(), NotBefore: told}); source.ReasonOf(err) != source.Unreachable {
			t.Fatal(err)
		}
	}
	if n := s.Requests.Load(); n != 1 {
		t.Errorf("%d requests for a hundred Applications", n)
	}
}

func TestSubmodulesAreReadWhereTheApplicationWantsIt(t *testing.T) {
	library, repo := gittest.New(t), gittest.New(t)
	pinned := library.Push(map[string]string{"deploy/lib.yaml": "lib: 1\n", "link.yaml": "-> ../../etc/passwd"})
	library.Push(map[string]string{"deploy/lib.yaml": "lib: 2\n"})
	first := repo.PushModule(map[string]string{"deploy/a.yaml": "a: 1\n"}, "deploy/library", library.URL(), pinned)
	for name, url := range map[string]string{"file": repo.URL(), "http": repo.Serve(t, false).Repo()} {
		t.Run(name, func(t *testing.T) {
			g := source.New(t.TempDir())
			r := source.Request{URL: url}
			head, err := g.Head(t.Context(), r)
			if err != nil || head.Hash != first {
				t.Fatal(head, err)
			}
			if _, err := plain(t, g, r, first, "deploy"); err == nil || !strings.Contains(err.Error(), "deploy/library: a submodule") {
				t.Errorf("without submodules: %v", err)
			}
			r.Submodules = true
			if name == "http" {
				// A repository from far away must not reach into this machine.
				if _, err := plain(t, g, r, first, "deploy/library/deploy"); err == nil || !strings.Contains(err.Error(), "control plane's host") {
					t.Errorf("a file URL in .gitmodules: %v", err)
				}
				return
			}
			if d := cmp.Diff(map[string]string{"deploy/library/deploy/lib.yaml": "lib: 1\n"}, filesOf(t, g, r, first, "deploy/library/deploy")); d != "" {
				t.Errorf("files (-want +got):\n%s", d)
			}
			if _, err := plain(t, g, r, first, "deploy"); err == nil || !strings.Contains(err.Error(), "deploy/library/link.yaml: symbolic link to") {
				t.Errorf("a link out of the submodule: %v", err)
			}
		})
	}
}

func TestARenderingDependsOnlyOnWhatItRead(t *testing.T) {
	repo := gittest.New(t)
	files := map[string]string{"a/x.yaml": "x: 1\n", "b/y.yaml": "y: 1\n", "a/link.yaml": "-> ../c/z.yaml", "c/z.yaml": "z: 1\n", "README.md": "1"}
	first := repo.Push(files)
	g := source.New(t.TempDir())
	r := source.Request{URL: repo.URL()}
	if _, err := g.Head(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	var in source.Inputs
	err := g.Read(t.Context(), r, first, func(tree *source.Tree) error {
		_, _, err := source.Plain(tree, "a", nil)
		in = tree.Inputs()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(in) != 2 {
		t.Errorf("it depends on %v, want the folder and what the link leads to", in)
	}
	for _, c := range []struct {
		file, content string
		same          bool
	}{
		{"README.md", "2", true},
		{"b/y.yaml", "y: 2\n", true},
		{"a/x.yaml", "x: 2\n", false},
		{"a/x.yaml", "x: 1\n", true},
		{"c/z.yaml", "z: 2\n", false},
		{"c/z.yaml", "z: 1\n", true},
		{"a/new.yaml", "n: 1\n", false},
	} {
		files[c.file] = c.content
		commit := repo.Push(files)
		if _, err := g.Head(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		same, err := g.Unchanged(t.Context(), r, commit, in)
		if err != nil || same != c.same {
			t.Errorf("after %s = %q: unchanged is %t, %v; want %t", c.file, c.content, same, err, c.same)
		}
	}
}

package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/gitopsd/gitopsd/test/netns"
)

// peer is Kubernetes' own API server with etcd, on the loopback interface, for the same load in the same run: figures of another day are of another machine.
type peer struct {
	controlPlane
	etcd *exec.Cmd
}

const peerToken = "bench-administrator"

// startPeer starts the programs kube-apiserver and etcd of a folder.
func startPeer(ctx context.Context, folder, data string) (_ *peer, err error) {
	if err := os.MkdirAll(data, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	files := map[string]string{
		"sa.key":     string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})),
		"tokens.csv": peerToken + ",admin,admin,system:masters\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(data, name), []byte(text), 0o600); err != nil {
			return nil, err
		}
	}
	store, peers := fmt.Sprintf("http://127.0.0.1:%d", ports[0]), fmt.Sprintf("http://127.0.0.1:%d", ports[1])
	p := &peer{controlPlane: controlPlane{log: &strings.Builder{}}}
	p.etcd = exec.CommandContext(ctx, filepath.Join(folder, "etcd"), "--data-dir", filepath.Join(data, "etcd"), "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", "default="+peers, "--log-level", "error")
	p.cmd = exec.CommandContext(ctx, filepath.Join(folder, "kube-apiserver"), "--etcd-servers", store, "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1",
		"--secure-port", fmt.Sprint(ports[2]), "--cert-dir", data, "--token-auth-file", filepath.Join(data, "tokens.csv"), "--authorization-mode", "Node,RBAC",
		"--service-account-issuer", "https://kubernetes.default.svc", "--service-account-key-file", filepath.Join(data, "sa.key"),
		"--service-account-signing-key-file", filepath.Join(data, "sa.key"), "--service-cluster-ip-range", "10.43.0.0/16", "--disable-admission-plugins", "ServiceAccount", "--endpoint-reconciler-type", "none")
	p.cmd.Stderr = p.log
	for _, c := range []*exec.Cmd{p.etcd, p.cmd} {
		c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
		if err := c.Start(); err != nil {
			return nil, errors.Join(err, p.stop())
		}
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.stop(), errors.New(p.log.String()))
		}
	}()
	host := fmt.Sprintf("https://127.0.0.1:%d", ports[2])
	p.config = &rest.Config{Host: host, BearerToken: peerToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: -1}
	return p, awaitReady(ctx, host+"/readyz", time.Now().Add(roundTime))
}

// freePorts names ports that nobody listens on. They are held together, so that they differ, and let go before it returns.
func freePorts(n int) (ports []int, err error) {
	for range n {
		l, lerr := net.Listen("tcp", "127.0.0.1:0")
		if lerr != nil {
			return nil, lerr
		}
		defer func() { err = errors.Join(err, l.Close()) }()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}

func (p *peer) stop() error {
	var errs []error
	for _, c := range []*exec.Cmd{p.cmd, p.etcd} {
		if c.Process == nil {
			continue
		}
		errs = append(errs, c.Process.Signal(syscall.SIGTERM))
		var exit *exec.ExitError
		if err := c.Wait(); err != nil && !errors.As(err, &exit) { // etcd ends by the signal itself
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// benchPeer takes the rates of benchAPI with 32 clients and with one, and returns them by name and number of clients.
func benchPeer(ctx context.Context, folder, dir string, out io.Writer) (_ map[string]float64, err error) {
	p, err := startPeer(ctx, folder, filepath.Join(dir, "peer"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	load, err := newClients(&p.controlPlane)
	if err != nil {
		return nil, err
	}
	if _, err := load.clients[0].CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: loadNamespace}}, metav1.CreateOptions{}); err != nil {
		return nil, err
	}
	var rates []rate
	for _, step := range []struct {
		name string
		call func(ctx context.Context, k kubernetes.Interface, i int) error
	}{{"creates", load.create}, {"status patches", load.patch}, {"gets", load.get}} {
		r, err := p.measure(ctx, load.clients, step.call)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", step.name, err)
		}
		r.name = step.name
		rates = append(rates, r)
	}
	if err := p.memory(out, "of kube-apiserver alone after the same load"); err != nil {
		return nil, err
	}
	single, err := load.single(ctx)
	if err != nil {
		return nil, err
	}
	rates = append(rates, single...)
	fmt.Fprintln(out, "kube-apiserver with etcd, the same load:")
	for i := range rates {
		rates[i].reference = reference{}
	}
	if err := rateTable(out, rates); err != nil {
		return nil, err
	}
	seen := map[string]float64{}
	for _, r := range rates {
		seen[r.key()] = median(r.perSecond)
	}
	return seen, nil
}

// key names a rate among others.
func (r rate) key() string { return fmt.Sprint(r.name, "/", r.clients) }

// sameRun puts what the peer did in this run in the place of what it did on another day, and scales what the trial did by the difference.
func (r *rate) sameRun(seen map[string]float64) {
	now, ok := seen[r.key()]
	if !ok || r.reference.upstream == 0 {
		return
	}
	r.reference.trial *= now / r.reference.upstream
	r.reference.upstream = now
}

// startInside starts another's program in a network namespace, with what it says in the file log. stop ends it and waits for that.
func startInside(inside string, cmd *exec.Cmd, log string) (stop func() error, err error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := netns.Do(inside, cmd.Start); err != nil {
		return nil, err
	}
	return func() error {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			return err
		}
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && !errors.As(err, &exit) { // some end by the signal itself
			return err
		}
		return nil
	}, nil
}

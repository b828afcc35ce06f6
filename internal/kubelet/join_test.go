package kubelet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var insecure = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, Timeout: patience}

// refused runs the daemon with flags that it must refuse, and gives what it said.
func (h *host) refused(env []string, flags ...string) string {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.ctx(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv(dirVariable), "node"), flags...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err == nil || ctx.Err() != nil {
		h.t.Errorf("node %v went on, or ended well: %v\n%s", flags, err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

func TestWhatKeepsANodeFromStartingIsSaidWithWhatToDo(t *testing.T) {
	h := prepare(t)
	token := h.token()
	hash, secret := token[4:68], token[69:]
	check := func(name, got string, want ...string) {
		t.Helper()
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: it says %q, want %q in it", name, got, w)
			}
		}
		if strings.Contains(got, secret) {
			t.Errorf("%s: it tells the token: %q", name, got)
		}
	}
	with := func(token string, more ...string) []string { return append(h.nodeFlags(token), more...) }

	check("a token file that is not there", h.refused(nil, with("", "--token-file", filepath.Join(h.dir, "none"))...), "--token-file", "none: no such file", "gitopsd token create")
	check("no token", h.refused(nil, with("")...), "--token", "gitopsd token create")
	check("no token at all", h.refused(nil, with("sesame")...), "--token", "gitopsd token create")
	check("a token of another cluster", h.refused(nil, with("gj1-"+strings.Repeat("0", 64)+"-"+secret)...), "is not the cluster", "--server")
	check("a wrong secret", h.refused(nil, with("gj1-"+hash+"-abc123.0123456789abcdef")...), "refused the join token", `"abc123"`, "gitopsd token create")
	check("nobody there", h.refused(nil, with(token, "--server", "https://127.0.0.1:1", "--join-timeout", "1s")...), "could not be reached", "https://127.0.0.1:1", "gitopsd serve")
	check("no URL", h.refused(nil, with(token, "--server", "localhost:6443")...), "--server", "https://host:port")
	check("a bad name", h.refused(nil, with(token, "--name", "Not A Name")...), "--name")
	check("no containerd", h.refused([]string{"PATH=/nonexistent"}, with(token)...), "containerd", "install it", "--containerd-address")
	check("an unknown flag", h.refused(nil, with(token, "--nonsense")...), "--nonsense")
	check("a bad mirror", h.refused(nil, with(token, "--mirror", "r.example:5000")...), "--mirror", "http://host:port")
	check("logs among the Pods' own directories", h.refused(nil, with(token, "--pod-log-dir", filepath.Join(h.dir, "n", "pods"))...), "--pod-log-dir", "must be apart from")

	l, err := net.Listen("tcp", "0.0.0.0:10250")
	if err != nil {
		t.Fatal(err)
	}
	check("the port is in use", h.refused(nil, with(token)...), "--port 10250", "in use")
	l.Close()

	// A token that has expired: its Secret says so.
	secrets := h.client.CoreV1().Secrets("kube-system")
	id := secret[:6]
	s, err := secrets.Get(h.ctx(), "bootstrap-token-"+id, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	s.Data["expiration"] = []byte(time.Now().Add(-time.Hour).UTC().Format(time.RFC3339))
	if _, err := secrets.Update(h.ctx(), s, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	h.eventually("the token to have expired", func() (bool, string) {
		got := h.refused(nil, with(token)...)
		return strings.Contains(got, "refused the join token"), got
	})
	if _, err := os.Stat(filepath.Join(h.dir, "n", "pki", "client.pem")); err == nil {
		t.Error("a node that was refused has a certificate")
	}
}

func TestANodeThatHasJoinedNeedsNoTokenAndKeepsItsDirectoryForItself(t *testing.T) {
	h := start(t)
	if got := h.refused(nil, append(h.nodeFlags(h.token()), "--port", "10299")...); !strings.Contains(got, "in use by another node daemon") {
		t.Errorf("a second daemon on the same directory: %q", got)
	}
	h.killNode()
	if got := h.refused(nil, append(h.nodeFlags(""), "--name", "other")...); !strings.Contains(got, "belongs to system:node:n1") {
		t.Errorf("another node's directory: %q", got)
	}
	h.flags = append(h.nodeFlags(""), "--token-file", filepath.Join(h.dir, "removed"))
	before, err := h.client.CoordinationV1().Leases("kube-node-lease").Get(h.ctx(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.startNode()
	h.eventually("the Lease to be renewed", func() (bool, string) {
		now, err := h.client.CoordinationV1().Leases("kube-node-lease").Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		return now.Spec.RenewTime.After(before.Spec.RenewTime.Time), fmt.Sprint(now.Spec.RenewTime)
	})
	n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if n.Labels["kubernetes.io/hostname"] != "n1" || n.Status.DaemonEndpoints.KubeletEndpoint.Port != 10250 || n.Status.Addresses[0].Address != hostIP || n.Status.Capacity.Pods().IsZero() {
		t.Errorf("the Node is %+v", n)
	}
}

func TestACertificateThatHasExpiredIsToldOfAndReplacedWithAToken(t *testing.T) {
	h := start(t)
	h.create("p", `{containers: [{name: c, command: [sh, -c, 'echo begins; exec sleep 1000']}]}`)
	p := h.wait("p", "to be ready", ready)
	file := filepath.Join(h.dir, "n", "pki", "client.pem")
	h.killNode()
	if err := os.WriteFile(file, nodeCertificate(t, time.Now().Add(-time.Hour)), 0o600); err != nil {
		t.Fatal(err)
	}
	// The API is away too, and there is no token: what runs is looked after all the same, and the log says what is to be done.
	h.stopAPI()
	withToken := h.flags
	h.flags = h.nodeFlags("")
	h.startNode()
	h.killContainer(p)
	h.eventually("its container to run again", func() (bool, string) {
		b, err := os.ReadFile(h.logGlob(p, 1))
		return strings.Contains(string(b), "F begins"), fmt.Sprint(string(b), err)
	})
	h.eventually("the log to say that the certificate has expired", func() (bool, string) {
		b, err := os.ReadFile(filepath.Join(h.dir, "node.log"))
		said := string(b)
		return strings.Contains(said, "expired on "+time.Now().Add(-time.Hour).Format(time.DateOnly)) && strings.Contains(said, "gitopsd token create"), fmt.Sprint(said, err)
	})

	// With one it joins as soon as it can.
	h.killNode()
	h.flags = withToken
	h.startNode()
	h.startAPI()
	before := identity(h.wait("p", "to be reported as restarted", func(p *v1.Pod) bool { return ready(p) && p.Status.ContainerStatuses[0].RestartCount == 1 }))
	h.told("n1", "CertificateExpired", "it was replaced with the join token")

	// Where the API is there, a start replaces it at once.
	h.killNode()
	if err := os.WriteFile(file, nodeCertificate(t, time.Now().Add(-time.Hour)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.startNode()
	h.eventually("a daemon with a token to have joined again", func() (bool, string) {
		out, err := h.tryExec("p", "true")
		return err == nil, fmt.Sprint(out, err)
	})

	// One that expires while the daemon runs, and that could not be renewed before: nobody takes it.
	h.killNode()
	if err := os.WriteFile(file, nodeCertificate(t, time.Now().Add(3*time.Second)), 0o600); err != nil {
		t.Fatal(err)
	}
	h.startNode()
	h.create("after", `{containers: [{name: c}]}`)
	h.wait("after", "to be ready", ready)
	if diff := cmp.Diff(before, identity(h.get("p"))); diff != "" {
		t.Errorf("the Pod that ran meanwhile was touched (-before +after):\n%s", diff)
	}
}

// nodeCertificate is one of node n1 with its key, by nobody's authority.
func nodeCertificate(t testing.TB, until time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "system:node:n1", Organization: []string{"system:nodes"}},
		NotBefore: until.Add(-24 * time.Hour), NotAfter: until}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})...)
}

package serve

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/gitopsd/gitopsd/internal/controlplane/pki"
)

// writeKubeconfig writes the administrator's kubeconfig, unless the one that is there already reaches this server.
func writeKubeconfig(file string, keys *pki.PKI, url string) error {
	if old, err := clientcmd.LoadFromFile(file); err == nil {
		if c := old.Clusters[kubeconfigName]; c != nil && c.Server == url && string(c.CertificateAuthorityData) == string(keys.CAPEM()) {
			return nil
		}
	}
	cert, key, err := keys.Client("gitopsd-admin", "system:masters")
	if err != nil {
		return err
	}
	text, err := Kubeconfig(url, keys.CAPEM(), kubeconfigName, cert, key)
	if err != nil {
		return err
	}
	return pki.WriteFile(file, text, 0o600)
}

// kubeconfigName is what kubeconfigs call the cluster, the context, and the administrator.
const kubeconfigName = "gitopsd"

// Kubeconfig is the text of a kubeconfig for a user with a client certificate; ca, cert and key are PEM.
func Kubeconfig(url string, ca []byte, user string, cert, key []byte) ([]byte, error) {
	return clientcmd.Write(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{kubeconfigName: {Server: url, CertificateAuthorityData: ca}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{user: {ClientCertificateData: cert, ClientKeyData: key}},
		Contexts:       map[string]*clientcmdapi.Context{kubeconfigName: {Cluster: kubeconfigName, AuthInfo: user}},
		CurrentContext: kubeconfigName,
	})
}

const tokenAlphabet = "abcdefghijklmnopqrstuvwxyz0123456789"

func randomText(alphabet string, n int) string {
	var b strings.Builder
	for range n {
		i, err := rand.Int(rand.Reader, big.NewInt(int64(len(alphabet))))
		if err != nil {
			panic(err) // crypto/rand does not fail on Linux
		}
		b.WriteByte(alphabet[i.Int64()])
	}
	return b.String()
}

// JoinToken is a node's way in: it names the cluster's authority, and a secret known to it.
type JoinToken struct{ Hash, ID, Secret string }

var joinToken = regexp.MustCompile(`^gj1-([0-9a-f]{64})-([a-z0-9]{6})\.([a-z0-9]{16})$`)

// NewJoinToken makes a random token for the cluster whose authority has that hash.
func NewJoinToken(hash string) JoinToken {
	return JoinToken{hash, randomText(tokenAlphabet, 6), randomText(tokenAlphabet, 16)}
}

// ParseJoinToken reads the text form.
func ParseJoinToken(text string) (JoinToken, error) {
	m := joinToken.FindStringSubmatch(strings.TrimSpace(text))
	if m == nil {
		return JoinToken{}, errors.New("not a join token: want gj1-<64 hexadecimal digits>-<6 letters or digits>.<16 letters or digits>")
	}
	return JoinToken{m[1], m[2], m[3]}, nil
}

func (t JoinToken) String() string { return "gj1-" + t.Hash + "-" + t.ID + "." + t.Secret }

// bootstrapNamespace is where the API server looks for join tokens.
const bootstrapNamespace = metav1.NamespaceSystem

// StoreJoinToken makes the token known to the API server. A zero end is never.
func StoreJoinToken(ctx context.Context, client kubernetes.Interface, t JoinToken, end time.Time, description string) error {
	data := map[string][]byte{
		"token-id": []byte(t.ID), "token-secret": []byte(t.Secret), "usage-bootstrap-authentication": []byte("true"),
		"description": []byte(description),
	}
	if !end.IsZero() {
		data["expiration"] = []byte(end.UTC().Format(time.RFC3339))
	}
	_, err := client.CoreV1().Secrets(bootstrapNamespace).Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: "bootstrap-token-" + t.ID, Namespace: bootstrapNamespace},
		Type:       corev1.SecretTypeBootstrapToken, Data: data,
	}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("store join token %s: %w", t.ID, err)
	}
	return nil
}

// ensureNodeToken makes the join token of the file good, also after etcd was lost; a first start makes the file.
func ensureNodeToken(ctx context.Context, client kubernetes.Interface, keys *pki.PKI, file string) error {
	text, err := os.ReadFile(file)
	var t JoinToken
	switch {
	case errors.Is(err, fs.ErrNotExist):
		t = NewJoinToken(keys.Hash())
	case err != nil:
		return err
	default:
		if t, err = ParseJoinToken(string(text)); err != nil {
			return fmt.Errorf("%s: %w; remove the file to get a new one", file, err)
		}
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: bootstrapNamespace}}
	if _, err := client.CoreV1().Namespaces().Create(ctx, ns, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("create namespace %s: %w", bootstrapNamespace, err)
	}
	if err := StoreJoinToken(ctx, client, t, time.Time{}, "made at the first start"); err != nil {
		return err
	}
	return pki.WriteFile(file, []byte(t.String()+"\n"), 0o600)
}

package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/gitopsd/gitopsd/test/netns"
)

// HTTPClient connects from inside the outer namespace, trusting the given authorities where TLS is spoken.
func (c *Cluster) HTTPClient(trust *x509.CertPool) *http.Client {
	return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
		DialContext: netns.Dialer(netns.Path(c.rec.outer())), TLSClientConfig: &tls.Config{RootCAs: trust}, DisableKeepAlives: true,
	}}
}

// RESTConfig is the administrator's access to the Kubernetes API.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	cfg, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	cfg.Dial = netns.Dialer(netns.Path(c.rec.outer()))
	cfg.QPS = -1
	return cfg, nil
}

// Client is a client of the Kubernetes API with the administrator's rights.
func (c *Cluster) Client() (kubernetes.Interface, error) {
	cfg, err := c.RESTConfig()
	if err != nil {
		return nil, err
	}
	return kubernetes.NewForConfig(cfg)
}

// NodeIsReady says whether a Node's condition Ready is true.
func NodeIsReady(n *corev1.Node) bool {
	for _, cond := range n.Status.Conditions {
		if cond.Type == corev1.NodeReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

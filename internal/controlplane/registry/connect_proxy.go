package registry

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/registry/rest"
)

// target is where a proxied request goes, and by which transport.
type target struct {
	scheme, host string
	transport    http.RoundTripper
}

// proxyREST passes requests of any method on to what an object stands for: a Pod, a Service's Pods, a node. Names have the form [scheme:]name[:port].
type proxyREST struct {
	object  func() runtime.Object
	options func() runtime.Object
	// path is what stands behind /proxy in the request, as the options have it.
	path func(options runtime.Object) string
	find func(ctx context.Context, name string) (target, error)
}

var _ rest.Connecter = (*proxyREST)(nil)

func (r *proxyREST) New() runtime.Object { return r.object() }

func (*proxyREST) Destroy() {}

// NewConnectOptions says that the rest of the URL belongs to the request that is passed on.
func (r *proxyREST) NewConnectOptions() (runtime.Object, bool, string) {
	return r.options(), true, "path"
}

func (*proxyREST) ConnectMethods() []string {
	return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodHead, http.MethodPatch, http.MethodOptions}
}

func (r *proxyREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	t, err := r.find(ctx, name)
	if err != nil {
		return nil, err
	}
	at := &url.URL{Scheme: t.scheme, Host: t.host, Path: r.path(options)}
	if at.Scheme == "" {
		at.Scheme = "http"
	}
	// Links in HTML pages are rewritten to lead through the proxy again.
	return proxy.NewUpgradeAwareHandler(at, t.transport, true, false, proxy.NewErrorResponder(responder)), nil
}

// newPodTransport speaks to Pods. Nothing is known of the certificates that Pods have, so none is asked for more than that it is there; the
// requests carry no credentials of this server.
func newPodTransport() http.RoundTripper {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.ForceAttemptHTTP2 = false
	t.TLSClientConfig = &tls.Config{InsecureSkipVerify: true} //nolint:gosec // see above
	return t
}

// podTarget is the port of a Pod: the one that is asked for, or the first that a container names.
func podTarget(p *corev1.Pod, scheme, port string, transport http.RoundTripper) (target, error) {
	ip, err := netip.ParseAddr(podIP(p))
	// Whoever may write a Pod's status must not be able to point this server at its own host or link.
	if err != nil || ip.IsLoopback() || !ip.IsGlobalUnicast() {
		return target{}, apierrors.NewBadRequest("address not allowed")
	}
	if port == "" {
		port = firstPort(p)
	}
	return target{scheme, hostPort(ip, port), transport}, nil
}

func podIP(p *corev1.Pod) string {
	if len(p.Status.PodIPs) > 0 {
		return p.Status.PodIPs[0].IP
	}
	return p.Status.PodIP
}

func firstPort(p *corev1.Pod) string {
	for _, c := range p.Spec.Containers {
		if len(c.Ports) > 0 {
			return fmt.Sprint(c.Ports[0].ContainerPort)
		}
	}
	return ""
}

func hostPort(ip netip.Addr, port string) string {
	if port != "" {
		return net.JoinHostPort(ip.String(), port)
	}
	if ip.Is6() {
		return "[" + ip.String() + "]"
	}
	return ip.String()
}

package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/proxy"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	genericrest "k8s.io/apiserver/pkg/registry/generic/rest"
	"k8s.io/apiserver/pkg/registry/rest"
	utilproxy "k8s.io/apiserver/pkg/util/proxy"
	"k8s.io/streaming/pkg/httpstream/wsstream"

	"github.com/gitopsd/gitopsd/internal/hangup"
)

// NodeClient reaches the node daemons. It is the one place where the API server talks to a node instead of the other way round.
type NodeClient struct {
	transport http.RoundTripper
}

// NewNodeClient authenticates to nodes with cert and believes those whose certificate ca signed.
func NewNodeClient(cert tls.Certificate, ca *x509.CertPool) *NodeClient {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.Proxy = nil
	t.ForceAttemptHTTP2 = false
	t.TLSClientConfig = &tls.Config{Certificates: []tls.Certificate{cert}, RootCAs: ca, MinVersion: tls.VersionTLS12}
	return &NodeClient{transport: t}
}

// base returns the address of the daemon that runs the Pod.
func (c *NodeClient) base(ctx context.Context, nodes *genericregistry.Store, p *corev1.Pod) (*url.URL, error) {
	if p.Spec.NodeName == "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", p.Name))
	}
	return daemonURL(ctx, nodes, p.Spec.NodeName)
}

// Daemon returns the address of a node's daemon.
func (c *NodeClient) Daemon(ctx context.Context, r *Registry, node string) (*url.URL, error) {
	return daemonURL(ctx, r.Store(corev1.Resource("nodes")), node)
}

// Get asks a node's daemon, at the address that Daemon gave, for a document of at most limit bytes.
func (c *NodeClient) Get(ctx context.Context, daemon *url.URL, path string, limit int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, daemon.JoinPath(path).String(), nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.transport.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s: %.200s", req.URL, resp.Status, text)
	}
	return text, err
}

func daemonURL(ctx context.Context, nodes *genericregistry.Store, name string) (*url.URL, error) {
	obj, err := nodes.Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	node := obj.(*corev1.Node)
	port := node.Status.DaemonEndpoints.KubeletEndpoint.Port
	for _, kind := range []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP, corev1.NodeHostName} {
		for _, a := range node.Status.Addresses {
			if a.Type == kind && port != 0 {
				return &url.URL{Scheme: "https", Host: net.JoinHostPort(a.Address, strconv.Itoa(int(port)))}, nil
			}
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("node %s has not reported an address and a port of its daemon", node.Name))
}

// containerOf returns the container a request is about: the named one, or the only or default one.
func containerOf(p *corev1.Pod, name string) (string, error) {
	var known []string
	for _, c := range p.Spec.Containers {
		known = append(known, c.Name)
	}
	if name == "" {
		if len(known) == 1 {
			return known[0], nil
		}
		if d := p.Annotations["kubectl.kubernetes.io/default-container"]; d != "" {
			return containerOf(p, d)
		}
		return "", apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: %v", p.Name, known))
	}
	for _, c := range p.Spec.InitContainers {
		known = append(known, c.Name)
	}
	for _, c := range p.Spec.EphemeralContainers {
		known = append(known, c.Name)
	}
	for _, k := range known {
		if k == name {
			return name, nil
		}
	}
	return "", apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s; it has %v", name, p.Name, known))
}

// logREST serves a container's log from its node.
type logREST struct {
	store    *genericregistry.Store
	nodes    *NodeClient
	registry *Registry
}

var (
	_ rest.GetterWithOptions = (*logREST)(nil)
	_ rest.StorageMetadata   = (*logREST)(nil)
)

func (*logREST) New() runtime.Object { return &corev1.Pod{} }

func (*logREST) Destroy() {}

func (*logREST) ProducesMIMETypes(string) []string { return []string{"text/plain"} }

func (*logREST) ProducesObject(string) any { return "" }

func (*logREST) NewGetOptions() (runtime.Object, bool, string) {
	return &corev1.PodLogOptions{}, false, ""
}

// OverrideMetricsVerb counts a followed log as a connection, not as a slow read.
func (*logREST) OverrideMetricsVerb(verb string) string {
	if verb == "GET" {
		return "CONNECT"
	}
	return verb
}

func (r *logREST) Get(ctx context.Context, name string, options runtime.Object) (runtime.Object, error) {
	o, ok := options.(*corev1.PodLogOptions)
	if !ok {
		return nil, fmt.Errorf("log options are a %T", options)
	}
	p, err := getPod(ctx, r.store, name)
	if err != nil {
		return nil, err
	}
	container, err := containerOf(p, o.Container)
	if err != nil {
		return nil, err
	}
	if err := checkLogOptions(o); err != nil {
		return nil, err
	}
	if p.Spec.NodeName == "" {
		// A Pod that is not placed yet has an empty log, as clients expect.
		return &genericrest.LocationStreamer{}, nil
	}
	location, err := r.nodes.base(ctx, r.registry.Store(corev1.Resource("nodes")), p)
	if err != nil {
		return nil, err
	}
	location.Path = fmt.Sprintf("/containerLogs/%s/%s/%s", p.Namespace, p.Name, container)
	location.RawQuery = logQuery(o).Encode()
	return logStream{&genericrest.LocationStreamer{
		Location: location, Transport: r.nodes.transport, ContentType: "text/plain", Flush: o.Follow,
		ResponseChecker: logResponse{container: container, pod: p.Name},
		RedirectChecker: genericrest.PreventRedirects,
	}}, nil
}

func checkLogOptions(o *corev1.PodLogOptions) error {
	switch {
	case o.TailLines != nil && *o.TailLines < 0:
		return apierrors.NewBadRequest(fmt.Sprintf("tailLines must be zero or more, got %d", *o.TailLines))
	case o.LimitBytes != nil && *o.LimitBytes < 1:
		return apierrors.NewBadRequest(fmt.Sprintf("limitBytes must be one or more, got %d", *o.LimitBytes))
	case o.SinceSeconds != nil && o.SinceTime != nil:
		return apierrors.NewBadRequest("at most one of sinceTime or sinceSeconds may be specified")
	case o.SinceSeconds != nil && *o.SinceSeconds < 1:
		return apierrors.NewBadRequest(fmt.Sprintf("sinceSeconds must be one or more, got %d", *o.SinceSeconds))
	}
	return nil
}

func logQuery(o *corev1.PodLogOptions) url.Values {
	q := url.Values{}
	for name, set := range map[string]bool{"follow": o.Follow, "previous": o.Previous, "timestamps": o.Timestamps} {
		if set {
			q.Set(name, "true")
		}
	}
	for name, n := range map[string]*int64{"tailLines": o.TailLines, "limitBytes": o.LimitBytes, "sinceSeconds": o.SinceSeconds} {
		if n != nil {
			q.Set(name, strconv.FormatInt(*n, 10))
		}
	}
	if o.SinceTime != nil {
		q.Set("sinceTime", o.SinceTime.UTC().Format("2006-01-02T15:04:05Z07:00"))
	}
	return q
}

// logResponse passes on what the node says when it has no log.
type logResponse struct{ container, pod string }

func (c logResponse) Check(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest {
		return nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<14))
	if err != nil {
		return apierrors.NewInternalError(fmt.Errorf("log of container %s in pod %s: %w", c.container, c.pod, err))
	}
	switch resp.StatusCode {
	case http.StatusBadRequest:
		return apierrors.NewBadRequest(string(text))
	case http.StatusInternalServerError:
		return apierrors.NewInternalError(errors.New(string(text)))
	}
	return apierrors.NewGenericServerResponse(resp.StatusCode, "GET", corev1.Resource("pods/log"), c.pod, string(text), 0, false)
}

// streamREST connects a client with a container's process or port through the node.
type streamREST struct {
	store    *genericregistry.Store
	nodes    *NodeClient
	registry *Registry
	// verb is the node's own name of the connection: exec, attach or portForward.
	verb    string
	options func() runtime.Object
}

var _ rest.Connecter = (*streamREST)(nil)

func (r *streamREST) New() runtime.Object { return r.options() }

func (*streamREST) Destroy() {}

func (r *streamREST) NewConnectOptions() (runtime.Object, bool, string) {
	return r.options(), false, ""
}

func (*streamREST) ConnectMethods() []string { return []string{http.MethodGet, http.MethodPost} }

func (r *streamREST) Connect(ctx context.Context, name string, options runtime.Object, responder rest.Responder) (http.Handler, error) {
	p, err := getPod(ctx, r.store, name)
	if err != nil {
		return nil, err
	}
	path := fmt.Sprintf("/%s/%s/%s", r.verb, p.Namespace, p.Name)
	q := url.Values{}
	var streams utilproxy.Options
	switch o := options.(type) {
	case *corev1.PodExecOptions:
		c, err := containerOf(p, o.Container)
		if err != nil {
			return nil, err
		}
		if len(o.Command) == 0 {
			return nil, apierrors.NewBadRequest("you must specify at least one command for the container")
		}
		path += "/" + c
		q["command"] = o.Command
		streams = utilproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	case *corev1.PodAttachOptions:
		c, err := containerOf(p, o.Container)
		if err != nil {
			return nil, err
		}
		path += "/" + c
		streams = utilproxy.Options{Stdin: o.Stdin, Stdout: o.Stdout, Stderr: o.Stderr, Tty: o.TTY}
	case *corev1.PodPortForwardOptions:
		for _, port := range o.Ports {
			q.Add("port", strconv.Itoa(int(port)))
		}
	default:
		return nil, fmt.Errorf("connection options are a %T", options)
	}
	if streams.Tty {
		// A terminal has one output.
		streams.Stderr = false
	}
	for name, on := range map[string]bool{"input": streams.Stdin, "output": streams.Stdout, "error": streams.Stderr, "tty": streams.Tty} {
		if on {
			q.Set(name, "1")
		}
	}
	location, err := r.nodes.base(ctx, r.registry.Store(corev1.Resource("nodes")), p)
	if err != nil {
		return nil, err
	}
	location.Path, location.RawQuery = path, q.Encode()

	upgrade := proxy.NewUpgradeAwareHandler(location, r.nodes.transport, false, true, proxy.NewErrorResponder(responder))
	// Clients since 1.31 speak WebSocket; the node is spoken to in SPDY in either case.
	if r.verb == "portForward" {
		return utilproxy.NewTranslatingHandler(upgrade, utilproxy.NewTunnelingHandler(upgrade), wsstream.IsWebSocketRequestWithTunnelingProtocol), nil
	}
	translate := utilproxy.NewStreamTranslatorHandler(location, r.nodes.transport, 0, streams)
	return utilproxy.NewTranslatingHandler(upgrade, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		// The translator would stay connected with the node for a client that is gone.
		w, req, cancel := hangup.Watch(w, req)
		defer cancel()
		translate.ServeHTTP(w, req)
	}), wsstream.IsWebSocketRequestWithStreamCloseProtocol), nil
}

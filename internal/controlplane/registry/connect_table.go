package registry

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	utilproxy "k8s.io/apiserver/pkg/util/proxy"
)

// AddProxies adds the proxy subresources of Pods, Services and nodes to the core group. It must be called before Install.
func (r *Registry) AddProxies(nodes *NodeClient) {
	x := proxies{registry: r, nodes: nodes, pods: newPodTransport()}
	r.AddComputed(corev1.SchemeGroupVersion, map[string]rest.Storage{
		"pods/proxy": &proxyREST{
			object: func() runtime.Object { return &corev1.Pod{} }, options: func() runtime.Object { return &corev1.PodProxyOptions{} },
			path: func(o runtime.Object) string { return o.(*corev1.PodProxyOptions).Path }, find: x.pod,
		},
		"services/proxy": &proxyREST{
			object: func() runtime.Object { return &corev1.Service{} }, options: func() runtime.Object { return &corev1.ServiceProxyOptions{} },
			path: func(o runtime.Object) string { return o.(*corev1.ServiceProxyOptions).Path }, find: x.service,
		},
		"nodes/proxy": &proxyREST{
			object: func() runtime.Object { return &corev1.Node{} }, options: func() runtime.Object { return &corev1.NodeProxyOptions{} },
			path: func(o runtime.Object) string { return o.(*corev1.NodeProxyOptions).Path }, find: x.node,
		},
	})
}

// proxies finds the targets of the proxy subresources.
type proxies struct {
	registry *Registry
	nodes    *NodeClient
	pods     http.RoundTripper
}

func split(kind, id string) (scheme, name, port string, err error) {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return "", "", "", apierrors.NewBadRequest(fmt.Sprintf("invalid %s request %q: want name, name:port or scheme:name:port", kind, id))
	}
	return scheme, name, port, nil
}

func (x proxies) pod(ctx context.Context, id string) (target, error) {
	scheme, name, port, err := split("pod", id)
	if err != nil {
		return target{}, err
	}
	p, err := getPod(ctx, x.registry.Store(corev1.Resource("pods")), name)
	if err != nil {
		return target{}, err
	}
	return podTarget(p, scheme, port, x.pods)
}

func (x proxies) service(ctx context.Context, id string) (target, error) {
	scheme, name, port, err := split("service", id)
	if err != nil {
		return target{}, err
	}
	obj, err := x.registry.Store(corev1.Resource("services")).Get(ctx, name, &metav1.GetOptions{})
	if err != nil {
		return target{}, err
	}
	portName, err := servicePort(obj.(*corev1.Service), port)
	if err != nil {
		return target{}, err
	}
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: name})
	list, err := x.registry.Store(discoveryv1.Resource("endpointslices")).List(ctx, &metainternalversion.ListOptions{LabelSelector: selector, ResourceVersion: "0"})
	if err != nil {
		return target{}, err
	}
	var slices []*discoveryv1.EndpointSlice
	for i := range list.(*discoveryv1.EndpointSliceList).Items {
		slices = append(slices, &list.(*discoveryv1.EndpointSliceList).Items[i])
	}
	// An EndpointSlice can be written by users and say anything: only addresses that Pods have are gone to.
	at, err := utilproxy.RandomEndpoint(name, slices, portName, corev1.IPv4Protocol, func(e *discoveryv1.Endpoint) bool { return x.isPod(ctx, e) })
	if err != nil {
		return target{}, err
	}
	return target{scheme, at, x.pods}, nil
}

// servicePort is the name of the Service's port that has that number or name.
func servicePort(s *corev1.Service, port string) (string, error) {
	number, err := strconv.Atoi(port)
	if err != nil {
		return port, nil
	}
	for _, p := range s.Spec.Ports {
		if int(p.Port) == number {
			return p.Name, nil
		}
	}
	return "", apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", number, s.Name))
}

func (x proxies) isPod(ctx context.Context, e *discoveryv1.Endpoint) bool {
	if e.TargetRef == nil || e.TargetRef.Namespace != genericapirequest.NamespaceValue(ctx) {
		return false
	}
	p, err := getPod(ctx, x.registry.Store(corev1.Resource("pods")), e.TargetRef.Name)
	if err != nil {
		return false
	}
	for _, ip := range p.Status.PodIPs {
		if ip.IP == e.Addresses[0] {
			return true
		}
	}
	return false
}

// node leads to the node's daemon when no port, or the daemon's, is asked for: then with this server's own certificate. To any other port of the
// node requests go without.
func (x proxies) node(ctx context.Context, id string) (target, error) {
	scheme, name, port, err := split("node", id)
	if err != nil {
		return target{}, err
	}
	daemon, err := x.nodes.Daemon(ctx, x.registry, name)
	if err != nil {
		return target{}, err
	}
	if port == "" || port == daemon.Port() {
		return target{daemon.Scheme, daemon.Host, x.nodes.transport}, nil
	}
	return target{scheme, net.JoinHostPort(daemon.Hostname(), port), x.pods}, nil
}

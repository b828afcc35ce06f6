package hollow

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	"k8s.io/component-base/version"

	"github.com/gitopsd/gitopsd/internal/kubelet/identity"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/reference"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
	"github.com/gitopsd/gitopsd/internal/kubelet/status"
)

// Options of a hollow node.
type Options struct {
	Server string // URL of the API server
	Token  string // join token
	Dir    string // keeps the node's certificates
	Name   string
	// Nodes is read for the Node as it is stored. A real node has it from its watch of that; here one copy serves all hollow nodes of a process.
	Nodes corelisters.NodeLister
}

// Node is a node without containers.
type Node struct {
	name    string
	id      *identity.Identity
	client  kubernetes.Interface
	nodes   corelisters.NodeLister
	dir     string
	changed chan struct{}

	ip       string
	recorder record.EventRecorder
	objects  *reference.Objects
	status   *status.Writer

	mu   sync.Mutex
	pods map[string]*pod // by UID
}

const joinPatience = time.Minute

// Join gives the node its identity, as a daemon's first start does.
func Join(ctx context.Context, o Options) (*Node, error) {
	// An address nobody can be reached at: the API server proxies to no loopback address.
	ip := "127.0.0.1"
	id, err := identity.Join(ctx, identity.Options{
		Server: o.Server, Token: o.Token, Dir: filepath.Join(o.Dir, o.Name), Node: o.Name, IPs: []net.IP{net.ParseIP(ip)}, Names: []string{o.Name}, Patience: joinPatience,
	})
	if err != nil {
		return nil, fmt.Errorf("hollow node %s: %w", o.Name, err)
	}
	client, err := kubernetes.NewForConfig(id.Config())
	if err != nil {
		return nil, fmt.Errorf("hollow node %s: %w", o.Name, err)
	}
	return &Node{
		name: o.Name, id: id, client: client, nodes: o.Nodes, dir: o.Dir, ip: ip, changed: make(chan struct{}, 1),
		objects: reference.New(client), status: status.New(client), pods: map[string]*pod{},
	}, nil
}

// Run is the node's life until ctx ends.
func (n *Node) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		n.id.Run(ctx, n.client, func(reason, message string) { slog.Warn(message, "node", n.name, "reason", reason) })
	})
	events := record.NewBroadcaster()
	defer events.Shutdown()
	events.StartRecordingToSink(&typedv1.EventSinkImpl{Interface: n.client.CoreV1().Events("")})
	n.recorder = events.NewRecorder(scheme.Scheme, v1.EventSource{Component: "kubelet", Host: n.name})

	reg := &register.Node{
		Client: n.client, Name: n.name, IPs: []string{n.ip}, Port: 10250, DataDir: n.dir, Version: version.Get().GitVersion,
		Containerd: func() string { return "2.0.0" }, Images: func() []*image.Image { return nil }, PodCIDRs: func() []netip.Prefix { return nil }, Observe: n.observe, Stored: n.stored, Changed: n.changed,
		Allocatable: func(capacity v1.ResourceList) v1.ResourceList { return capacity },
		InUse:       func() []v1.UniqueVolumeName { return nil }, Reported: func([]v1.UniqueVolumeName, string) {},
	}
	wg.Go(func() {
		reg.Run(ctx, func(node *v1.Node) {
			wg.Go(func() { register.RenewLease(ctx, n.client, func() *v1.Node { return node }) })
		})
	})
	own := fields.OneTermEqualSelector(metav1.ObjectNameField, n.name).String()
	for _, s := range []struct {
		client             rest.Interface
		resource, selected string
	}{
		{n.client.CoreV1().RESTClient(), "nodes", own}, {n.client.CoreV1().RESTClient(), "nodes", ""},
		{n.client.CoreV1().RESTClient(), "services", ""}, {n.client.DiscoveryV1().RESTClient(), "endpointslices", ""},
	} {
		wg.Go(func() { receive(ctx, s.client, s.resource, s.selected) })
	}
	return n.followPods(ctx)
}

// Assigned has the node look at its Node anew: somebody wrote it.
func (n *Node) Assigned() {
	select {
	case n.changed <- struct{}{}:
	default:
	}
}

func (n *Node) stored() *v1.Node {
	node, err := n.nodes.Get(n.name)
	if err != nil {
		return nil // not listed yet
	}
	return node
}

// observe says, as the real node does, that there is no network while no addresses have been assigned.
func (n *Node) observe() register.Observed {
	if node := n.stored(); node == nil || len(node.Spec.PodCIDRs) == 0 {
		return register.Observed{Network: "the Node has no podCIDRs yet"}
	}
	return register.Observed{}
}

func (n *Node) followPods(ctx context.Context) error {
	own := fields.OneTermEqualSelector("spec.nodeName", n.name).String()
	f := informers.NewSharedInformerFactoryWithOptions(n.client, 0, informers.WithTransform(lean), informers.WithTweakListOptions(func(o *metav1.ListOptions) { o.FieldSelector = own }))
	_, err := f.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { n.put(ctx, obj.(*v1.Pod)) },
		UpdateFunc: func(_, obj any) { n.put(ctx, obj.(*v1.Pod)) },
		DeleteFunc: func(obj any) {
			if t, ok := obj.(cache.DeletedFinalStateUnknown); ok {
				obj = t.Obj
			}
			if p, ok := obj.(*v1.Pod); ok {
				n.remove(p)
			}
		},
	})
	if err != nil {
		return err
	}
	f.Start(ctx.Done())
	<-ctx.Done()
	f.Shutdown()
	n.mu.Lock()
	running := make([]*pod, 0, len(n.pods))
	for _, p := range n.pods {
		running = append(running, p)
	}
	n.mu.Unlock()
	for _, p := range running {
		<-p.ended
	}
	return nil
}

func lean(obj any) (any, error) {
	if p, ok := obj.(*v1.Pod); ok {
		p.ManagedFields = nil
	}
	return obj, nil
}

// receive lists a resource and follows it as an informer does, and drops what comes.
func receive(ctx context.Context, c rest.Interface, resource, selected string) {
	for ctx.Err() == nil {
		err := func() error {
			body, err := c.Get().Resource(resource).VersionedParams(&metav1.ListOptions{
				Watch: true, FieldSelector: selected, AllowWatchBookmarks: true, SendInitialEvents: new(true), ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
			}, scheme.ParameterCodec).Stream(ctx)
			if err != nil {
				return err
			}
			_, err = io.Copy(io.Discard, body)
			return errors.Join(err, body.Close())
		}()
		if err == nil {
			continue // the server ends every watch after a while
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

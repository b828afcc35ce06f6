package runtime

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
)

// Namespace is where the node's containers and images live within containerd.
const Namespace = "gitopsd"

// Runtime talks to one containerd.
type Runtime struct {
	Client  *client.Client
	address string
	pipes   string // where the pipes of executed commands are
	roots   string // where file systems of containers with their own user IDs are mounted

	operations operations
	removed    chan struct{} // says that snapshots were removed since it was last read
	began      time.Time

	mu      sync.Mutex
	root    string
	version string
}

// Connect prepares to talk to the containerd at address; it need not be there yet. pipes is a directory for the pipes of executed commands;
// what a killed process left there is removed. roots is one for file systems of containers whose Pods have user IDs of their own.
func Connect(address, pipes, roots string) (*Runtime, error) {
	if err := errors.Join(os.RemoveAll(pipes), os.MkdirAll(pipes, 0o700)); err != nil {
		return nil, fmt.Errorf("the directory for pipes: %w", err)
	}
	operations := newOperations()
	conn, err := grpc.NewClient("unix://"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			// A daemon that is being started again is looked for often: containers that end meanwhile wait for it.
			Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
			began := time.Now()
			err := invoke(inNamespace(ctx), method, req, reply, cc, opts...)
			if method != waitMethod {
				operations.count(method, time.Since(began), err)
			}
			return err
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
			return stream(inNamespace(ctx), desc, cc, method, opts...)
		}))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", address, err)
	}
	c, err := client.NewWithConn(conn, client.WithDefaultNamespace(Namespace), client.WithDefaultRuntime(shim))
	if err != nil {
		return nil, fmt.Errorf("containerd at %s: %w", address, err)
	}
	return &Runtime{Client: c, address: address, pipes: pipes, roots: roots, operations: operations, removed: make(chan struct{}, 1), began: time.Now()}, nil
}

// waitMethod takes as long as what is waited for, whatever containerd does.
const waitMethod = "/containerd.services.tasks.v1.Tasks/Wait"

func inNamespace(ctx context.Context) context.Context {
	if _, ok := namespaces.Namespace(ctx); ok {
		return ctx
	}
	return namespaces.WithNamespace(ctx, Namespace)
}

// WaitUp waits until the daemon answers.
func (r *Runtime) WaitUp(ctx context.Context) error {
	conn, ok := r.Client.Conn().(*grpc.ClientConn)
	for ok && conn.GetState() != connectivity.Ready {
		conn.Connect()
		if s := conn.GetState(); s != connectivity.Ready && !conn.WaitForStateChange(ctx, s) {
			return ctx.Err()
		}
	}
	v, err := r.Client.Version(ctx)
	if err != nil {
		return fmt.Errorf("containerd: %w", err)
	}
	root := r.findRoot(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version, r.root = v.Version, root
	return nil
}

// Version of the daemon, once it has answered.
func (r *Runtime) Version() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.version
}

// defaultRoot is where containerd keeps its data unless it is told otherwise.
const defaultRoot = "/var/lib/containerd"

// Root is the directory of the daemon's images and containers, as it tells.
func (r *Runtime) Root() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return cmp.Or(r.root, defaultRoot)
}

// findRoot asks the daemon for its root; one that does not say has the usual one.
func (r *Runtime) findRoot(ctx context.Context) string {
	list, err := r.Client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1,id=="+image.Snapshotter)
	if err != nil || len(list.Plugins) == 0 {
		return ""
	}
	return list.Plugins[0].Exports["root"]
}

// IsDown says whether err means that the daemon did not answer, as opposed to that it answered with a failure.
func IsDown(err error) bool {
	return errdefs.IsUnavailable(err) || errdefs.IsCanceled(err)
}

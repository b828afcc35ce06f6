package csi

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	events "k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
	"github.com/gitopsd/gitopsd/internal/kubelet/plugins"
)

// DefaultPatience is how long a driver may take for a call, as upstream.
const DefaultPatience = 2 * time.Minute

// Node is the storage drivers of one node, and their volumes that are mounted on it.
type Node struct {
	Client kubernetes.Interface
	Name   string
	// Root is the folder that drivers' manifests mount from the host.
	Root   string
	Events events.EventRecorder
	// Stored is the Node as the API has it; nil while that is not known. Whoever changes what it gives calls NodeChanged.
	Stored func() *v1.Node
	// InUseChanged is called when InUse gives something else.
	InUseChanged func()
	// Token gets a token of the Pod's account.
	Token func(ctx context.Context, pod *v1.Pod, audience string, seconds int64) (string, time.Time, error)
	// Label is what SELinux has a Pod's files labelled with; empty where the kernel enforces none.
	Label func(pod *v1.Pod) string
	// Grown is told that the volume of a claim has been made as large as the volume says.
	Grown func(ctx context.Context, claim *v1.PersistentVolumeClaim, v *v1.PersistentVolume) error
	// Patience is how long a driver may take for a call.
	Patience time.Duration

	boot       string
	describing sync.Mutex

	mu      sync.Mutex
	drivers map[string]*driver
	turns   map[string]*turn
	holds   map[v1.UniqueVolumeName]*hold
	changed chan struct{}                    // closed and replaced when the Node has changed
	uid     types.UID                        // of the Node that knows the drivers
	figures map[types.UID]map[string]figures // by the volume's name in the Pod
	told    map[string]string                // what was last said of each volume's condition
}

var _ plugins.Kind = (*Node)(nil)

// Open reads what an earlier daemon has left mounted.
func (n *Node) Open() error {
	n.boot = bootID()
	n.drivers, n.turns, n.holds, n.changed = map[string]*driver{}, map[string]*turn{}, map[v1.UniqueVolumeName]*hold{}, make(chan struct{})
	n.figures, n.told = map[types.UID]map[string]figures{}, map[string]string{}
	if n.Patience == 0 {
		n.Patience = DefaultPatience
	}
	for _, dir := range []string{n.at().registry(), n.at().root + "/pods", n.at().root + "/plugins"} {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			return fmt.Errorf("making the folders of storage drivers: %w", err)
		}
	}
	if err := mounts.Share(n.Root); err != nil {
		return err
	}
	pods, err := n.at().published("*")
	if err != nil {
		return err
	}
	staged, err := n.at().staged()
	if err != nil {
		return err
	}
	others, err := n.at().held("*")
	if err != nil {
		return err
	}
	for _, r := range slices.Concat(pods, staged, others) {
		n.hold(r)
	}
	return nil
}

// Registry is the folder where drivers register.
func (n *Node) Registry() string { return n.at().registry() }

func (n *Node) at() paths { return paths{n.Root} }

// Add implements plugins.Kind.
func (n *Node) Add(ctx context.Context, p plugins.Plugin) error {
	d, err := open(ctx, p, n.Patience)
	if err != nil {
		return err
	}
	if err := n.publish(ctx, d.info); err != nil {
		d.conn.Close()
		return fmt.Errorf("telling the cluster of it: %w", err)
	}
	n.mu.Lock()
	before := n.drivers[p.Name]
	n.drivers[p.Name] = d
	n.mu.Unlock()
	if before != nil {
		before.conn.Close() // its calls fail and are made again, with the new one
	}
	return nil
}

// Remove implements plugins.Kind.
func (n *Node) Remove(p plugins.Plugin) {
	n.mu.Lock()
	d := n.drivers[p.Name]
	if d == nil || d.conn.Target() != "passthrough:///"+p.Endpoint {
		n.mu.Unlock()
		return // another has taken its place
	}
	delete(n.drivers, p.Name)
	n.mu.Unlock()
	d.conn.Close()
	ctx, cancel := context.WithTimeout(context.Background(), n.Patience)
	defer cancel()
	if err := n.withdraw(ctx, d.info); err != nil {
		slog.Warn("telling the cluster that a storage driver is gone failed; it lists the driver until that registers again", "driver", p.Name, "err", err)
	}
}

func (n *Node) driver(name string) *driver {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.drivers[name]
}

// NodeChanged has whoever waits for something of the Node look again. A Node that was made anew is told of the drivers.
func (n *Node) NodeChanged(node *v1.Node) {
	n.mu.Lock()
	n.wake()
	known := slices.Collect(maps.Values(n.drivers))
	anew := n.uid != "" && n.uid != node.UID
	n.uid = node.UID
	n.mu.Unlock()
	if !anew {
		return
	}
	for _, d := range known {
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), n.Patience)
			defer cancel()
			if err := n.publish(ctx, d.info); err != nil {
				slog.Warn("telling the new Node of a storage driver failed; restart the driver's Pod on this node", "driver", d.name, "err", err)
			}
		}()
	}
}

// turn is a lock that can be given up waiting for.
type turn struct {
	taken chan struct{}
	users int
}

// take waits until nobody else deals with a volume. A call to a driver that hangs holds up this volume only.
func (n *Node) take(ctx context.Context, key string) (give func(), err error) {
	n.mu.Lock()
	t := n.turns[key]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		n.turns[key] = t
	}
	t.users++
	n.mu.Unlock()
	leave := func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		if t.users--; t.users == 0 {
			delete(n.turns, key)
		}
	}
	select {
	case t.taken <- struct{}{}:
		return func() { <-t.taken; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, fmt.Errorf("waiting for what else is done with the volume on this node: %w", ctx.Err())
	}
}

package kubelet

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/durable"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/network"
)

// podNetwork is the Pod network, once the control plane has given this node its share of the addresses. The share is kept on
// disk, so a daemon that starts while the API is away has its network at once.
type podNetwork struct {
	config network.Config
	file   string
	key    string // for WireGuard, where that is how packets get to other nodes

	mu  sync.Mutex
	net *network.Network
	up  chan struct{}
}

func newPodNetwork(c *Config) (*podNetwork, error) {
	n := &podNetwork{
		config: network.Config{NodeName: c.Name, StateDir: filepath.Join(c.DataDir, "network"), ClusterCIDRs: c.clusterCIDRs, Mode: network.Mode(c.PodNetwork), MTU: c.MTU,
			CNI: network.CNI{ConfDir: c.CNIConfDir, BinDirs: c.CNIBinDirs}},
		file: filepath.Join(c.DataDir, "pod-cidrs.json"),
		up:   make(chan struct{}),
	}
	if b, err := os.ReadFile(n.file); err == nil {
		var cidrs []netip.Prefix
		if json.Unmarshal(b, &cidrs) == nil && len(cidrs) > 0 { // else it was written half-way: the Node has it too
			if err := n.start(cidrs); err != nil {
				return nil, err
			}
		}
	}
	// After the start, which has unencrypted packets refused even if there is no key to be had.
	if n.config.Mode == network.WireGuard {
		var err error
		if n.key, err = network.WireGuardKey(n.config); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *podNetwork) start(cidrs []netip.Prefix) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.net != nil {
		return nil
	}
	cfg := n.config
	cfg.PodCIDRs = cidrs
	made, err := network.New(cfg)
	if err != nil {
		return fmt.Errorf("setting up the Pod network: %w", err)
	}
	n.config, n.net = cfg, made
	close(n.up)
	return nil
}

// assigned takes in the node's share of the addresses from its Node.
func (n *podNetwork) assigned(node *v1.Node) error {
	var cidrs []netip.Prefix
	for _, s := range node.Spec.PodCIDRs {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return fmt.Errorf("node %s: spec.podCIDRs: %w", node.Name, err)
		}
		cidrs = append(cidrs, p)
	}
	n.mu.Lock()
	same := slices.Equal(cidrs, n.config.PodCIDRs)
	have := n.config.PodCIDRs
	n.mu.Unlock()
	switch {
	case len(cidrs) == 0 || same:
		return nil
	case have != nil:
		return fmt.Errorf("node %s was given the Pod addresses %v, but has %v in use; drain it, remove %s and its data directory's network folder, and start it again", node.Name, cidrs, have, n.file)
	}
	b, err := json.Marshal(cidrs)
	if err != nil {
		return err
	}
	if err := durable.Replace(n.file, b); err != nil {
		return fmt.Errorf("keeping the node's Pod addresses: %w", err)
	}
	return n.start(cidrs)
}

// ranges are the node's share of the addresses; none while it has not been given any.
func (n *podNetwork) ranges() []netip.Prefix {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.config.PodCIDRs
}

// attacher waits for the network.
func (n *podNetwork) attacher(ctx context.Context) (step.Attacher, error) {
	select {
	case <-n.up:
		return n.net, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// places are the addresses that Pods have been given; none while there is no network.
func (n *podNetwork) places() map[string]network.Place {
	if net := n.get(); net != nil {
		return net.Places()
	}
	return nil
}

// current is the network, or nil while there is none.
func (n *podNetwork) current() step.Attacher {
	if net := n.get(); net != nil {
		return net
	}
	return nil
}

func (n *podNetwork) get() *network.Network {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.net
}

// down says why Pods cannot be given addresses; empty when they can.
func (n *podNetwork) down() string {
	net := n.get()
	if net == nil {
		return "the Pod network is not set up: the control plane has not given this node its Pod addresses (spec.podCIDRs) yet"
	}
	if err := net.Ready(); err != nil {
		return err.Error()
	}
	return ""
}

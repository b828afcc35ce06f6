package step

import (
	"context"
	"fmt"
	"net/netip"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/gitopsd/gitopsd/internal/kubelet/namespaces"
	"github.com/gitopsd/gitopsd/internal/network"
)

// NetworkName is the name of the late step that gives the Pod its addresses.
const NetworkName = "network"

// Attacher is the Pod network.
type Attacher interface {
	Attach(ctx context.Context, pod network.Pod) (network.Attachment, error)
	Detach(ctx context.Context, uid string) error
}

// Network gives the Pod its addresses.
type Network struct {
	// Attacher waits for the node's share of the cluster's addresses, which a new node is given some time after it registered.
	Attacher func(ctx context.Context) (Attacher, error)
	// Current is the network if it is up already, or nil.
	Current func() Attacher
	HostIPs func() []string
	// Guard returns when the kernel has the rules that NetworkPolicies set for a Pod that has been given its addresses.
	Guard func(ctx context.Context, pod *v1.Pod) error
}

var _ Step = Network{}

// Name is how other steps refer to it.
func (Network) Name() string { return NetworkName }

// Needs the network namespace.
func (Network) Needs() []string { return []string{"namespaces"} }

// Setup attaches the Pod; it keeps its addresses if it has any.
func (n Network) Setup(ctx context.Context, s *Sandbox) error {
	if s.Pod.Spec.HostNetwork {
		s.IPs = n.HostIPs()
		return nil
	}
	a, err := n.Attacher(ctx)
	if err != nil {
		return err
	}
	bandwidth, err := bandwidthOf(s.Pod)
	if err != nil {
		return err
	}
	at, err := a.Attach(ctx, network.Pod{
		Namespace: s.Pod.Namespace, Name: s.Pod.Name, UID: string(s.Pod.UID),
		NetNS: filepath.Join(s.Dir, namespacesDir, namespaces.Net), HostPorts: hostPorts(s.Pod), Bandwidth: bandwidth,
		Guard: func(ctx context.Context) error { return n.Guard(ctx, s.Pod) },
	})
	if err != nil {
		return fmt.Errorf("attaching the Pod to the network: %w", err)
	}
	s.IPs = nil
	for _, ip := range at.IPs {
		s.IPs = append(s.IPs, ip.String())
	}
	return nil
}

// Teardown gives the Pod's addresses back. A network that is not up has given none: one that an earlier process had is up from the start.
func (n Network) Teardown(ctx context.Context, s *Sandbox) error {
	a := n.Current()
	if s.Pod.Spec.HostNetwork || a == nil {
		return nil
	}
	return a.Detach(ctx, string(s.Pod.UID))
}

// The annotations that limit what a Pod receives and sends, in bits per second.
const (
	ingressBandwidth = "kubernetes.io/ingress-bandwidth"
	egressBandwidth  = "kubernetes.io/egress-bandwidth"
)

// Bandwidths outside of these are a mistake in the unit, as they are to Kubernetes' own nodes.
var leastBandwidth, mostBandwidth = resource.MustParse("1k"), resource.MustParse("1P")

func bandwidthOf(pod *v1.Pod) (network.Bandwidth, error) {
	var b network.Bandwidth
	for name, bits := range map[string]*uint64{ingressBandwidth: &b.Ingress, egressBandwidth: &b.Egress} {
		text, ok := pod.Annotations[name]
		if !ok {
			continue
		}
		q, err := resource.ParseQuantity(text)
		if err != nil || q.Cmp(leastBandwidth) < 0 || q.Cmp(mostBandwidth) > 0 {
			return b, fmt.Errorf("annotation %s: %q must be bits per second, from 1k to 1P, such as 10M", name, text)
		}
		*bits = uint64(q.Value())
	}
	return b, nil
}

func hostPorts(pod *v1.Pod) []network.HostPort {
	var out []network.HostPort
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort == 0 {
					continue
				}
				ip, _ := netip.ParseAddr(p.HostIP) // validated by the API; empty means all addresses
				out = append(out, network.HostPort{Protocol: p.Protocol, HostPort: uint16(p.HostPort), ContainerPort: uint16(p.ContainerPort), HostIP: ip})
			}
		}
	}
	return out
}

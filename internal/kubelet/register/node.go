package register

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/logging"
	"github.com/gitopsd/gitopsd/internal/network"
)

// Node registers one node.
type Node struct {
	Client kubernetes.Interface
	Name   string
	Labels map[string]string // beyond the usual ones
	// IngressPorts are those at which the node serves Ingresses.
	IngressPorts []int
	// PodCIDRs are the ranges that Pods have addresses of, as far as the node has been given any.
	PodCIDRs func() []netip.Prefix
	// WireGuardKey is the public key that packets for the node's Pods are encrypted for; empty: they are not.
	WireGuardKey string
	IPs          []string
	Port         int32  // of the node's server
	DataDir      string // on the disk that Pods write to
	Version      string // of the Kubernetes API that the daemon speaks, which clients compare with theirs
	// Allocatable is what of the machine's capacity Pods may have.
	Allocatable func(capacity v1.ResourceList) v1.ResourceList
	// Offer adds what device plugins have to the machine's capacity, and to what Pods may have of it; nil: nothing.
	Offer func(capacity, allocatable v1.ResourceList)
	// Observe tells what only the rest of the daemon knows.
	Observe func() Observed
	// Containerd is its version, once known.
	Containerd func() string
	Images     func() []*image.Image
	// Handlers are what RuntimeClasses can name, with what each can do.
	Handlers []v1.NodeRuntimeHandler
	// InUse are the volumes that other nodes must not get; each change of it is a reason to send to Changed. Reported is told since which version of the Node its status
	// says so.
	InUse    func() []v1.UniqueVolumeName
	Reported func(inUse []v1.UniqueVolumeName, version string)
	// Stored is the Node as the API has it, as far as is known here; nil when it is not.
	Stored func() *v1.Node
	// Event records an event about the Node; nil for nobody to be told.
	Event func(reason, message string)
	// Changed is sent to when Observe or Stored may say something new.
	Changed <-chan struct{}

	reported []v1.NodeCondition
	seen     bool   // Stored has given a Node
	told     string // the last event about readiness
	sent     time.Time
	images   int
	offered  [2]v1.ResourceList // by device plugins, as last reported
	inUse    []v1.UniqueVolumeName
	version  string // of the Node that was written last
}

// Reporting as upstream's: the Lease says every 10 s that the node lives, the status only what changed, and every 5 minutes that it is still so (KEP-589).
const (
	checkEvery  = 10 * time.Second
	reportEvery = 5 * time.Minute
)

// Run registers the node and reports its status until ctx ends. registered is called when the API has it.
func (n *Node) Run(ctx context.Context, registered func(*v1.Node)) {
	var node *v1.Node
	var failure logging.News
	for pause := 50 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		var err error
		if node, err = n.register(ctx); err == nil {
			break
		}
		if ctx.Err() != nil {
			return
		}
		if failure.New(err) {
			slog.Warn("registering this node failed; it is tried again until it succeeds", "node", n.Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
	n.reported = node.Status.Conditions
	registered(node)
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		if err := n.report(ctx); failure.New(err) && ctx.Err() == nil {
			slog.Warn("reporting this node's status failed; it is tried again until it succeeds", "node", n.Name, "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-n.Changed:
		}
	}
}

// labels that every node has: https://kubernetes.io/docs/reference/labels-annotations-taints/
func (n *Node) labels() map[string]string {
	inf := info("", "")
	out := map[string]string{v1.LabelHostname: n.Name, v1.LabelOSStable: inf.OperatingSystem, v1.LabelArchStable: inf.Architecture}
	maps.Copy(out, n.Labels)
	return out
}

// AnnIngressPorts is the annotation that tells at which ports of its addresses a node serves Ingresses, separated by commas.
const AnnIngressPorts = "gitopsd.io/ingress-ports"

// annotations of the node. One that says nothing is there all the same, lest what it said before stays.
func (n *Node) annotations() map[string]string {
	ports := make([]string, len(n.IngressPorts))
	for i, p := range n.IngressPorts {
		ports[i] = strconv.Itoa(p)
	}
	out := map[string]string{AnnIngressPorts: strings.Join(ports, ","), network.AnnWireGuardKey: n.WireGuardKey}
	var ranges []string
	for _, r := range n.PodCIDRs() {
		ranges = append(ranges, r.String())
	}
	if ranges != nil {
		out[network.AnnPodCIDRs] = strings.Join(ranges, ",")
	}
	return out
}

// register creates the Node, or brings the labels and annotations of the one there up to date.
func (n *Node) register(ctx context.Context) (*v1.Node, error) {
	nodes := n.Client.CoreV1().Nodes()
	node, err := nodes.Get(ctx, n.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		fresh := &v1.Node{ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.labels(), Annotations: n.annotations()}}
		fresh.Status = n.status(nil)
		node, err = nodes.Create(ctx, fresh, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			node, err = nodes.Get(ctx, n.Name, metav1.GetOptions{})
		}
	}
	if err != nil {
		return nil, err
	}
	labels, annotations := missing(n.labels(), node.Labels), missing(n.annotations(), node.Annotations)
	if len(labels)+len(annotations) == 0 {
		return node, nil
	}
	body, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": labels, "annotations": annotations}})
	if err != nil {
		return nil, err
	}
	return nodes.Patch(ctx, n.Name, types.MergePatchType, body, metav1.PatchOptions{})
}

// missing is what of want is not there or says something else.
func missing(want, have map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range want {
		if old, ok := have[k]; !ok || old != v {
			out[k] = v
		}
	}
	return out
}

func (n *Node) status(before []v1.NodeCondition) v1.NodeStatus {
	yes := true
	capacity := Capacity(n.DataDir)
	allocatable := n.Allocatable(capacity)
	n.offer(capacity, allocatable)
	st := v1.NodeStatus{
		Capacity: capacity, Allocatable: allocatable,
		Conditions:      Conditions(n.Observe(), before, time.Now()),
		NodeInfo:        info(n.Containerd(), n.Version),
		DaemonEndpoints: v1.NodeDaemonEndpoints{KubeletEndpoint: v1.DaemonEndpoint{Port: n.Port}},
		Images:          images(n.Images()),
		VolumesInUse:    n.InUse(),
		Features:        &v1.NodeFeatures{SupplementalGroupsPolicy: &yes},
		RuntimeHandlers: n.Handlers,
	}
	for _, ip := range n.IPs {
		st.Addresses = append(st.Addresses, v1.NodeAddress{Type: v1.NodeInternalIP, Address: ip})
	}
	st.Addresses = append(st.Addresses, v1.NodeAddress{Type: v1.NodeHostName, Address: n.Name})
	return st
}

func (n *Node) offer(capacity, allocatable v1.ResourceList) {
	if n.Offer != nil {
		n.Offer(capacity, allocatable)
	}
}

// maxImages is how many images a Node's status lists; upstream's default.
const maxImages = 50

func images(list []*image.Image) []v1.ContainerImage {
	byDigest := map[string]*v1.ContainerImage{}
	for _, i := range list {
		c := byDigest[i.Digest]
		if c == nil {
			c = &v1.ContainerImage{SizeBytes: i.Size}
			byDigest[i.Digest] = c
		}
		c.Names = append(c.Names, i.Ref)
	}
	out := make([]v1.ContainerImage, 0, len(byDigest))
	for _, c := range byDigest {
		slices.Sort(c.Names)
		out = append(out, *c)
	}
	slices.SortFunc(out, func(a, b v1.ContainerImage) int {
		if a.SizeBytes != b.SizeBytes {
			return int(b.SizeBytes - a.SizeBytes)
		}
		return slices.Compare(a.Names, b.Names)
	})
	return out[:min(len(out), maxImages)]
}

// reported is a status with the volumes in use also when there are none: left out, those of before would stay.
type reported struct {
	v1.NodeStatus
	VolumesInUse []v1.UniqueVolumeName `json:"volumesInUse"`
}

// report sends the status if something changed or it is time to.
func (n *Node) report(ctx context.Context) error {
	st := n.status(n.reported)
	node := n.Stored()
	if node == nil && n.seen {
		n.sent = time.Time{} // it is not there any more: that is to be found out now
	}
	n.seen = node != nil
	if node != nil && n.reported != nil {
		n.reported = asStored(node, st.Conditions)
		st.Conditions = Conditions(n.Observe(), n.reported, time.Now())
	}
	offered := [2]v1.ResourceList{{}, {}}
	n.offer(offered[0], offered[1])
	if !changed(n.reported, st.Conditions) && len(st.Images) == n.images && equality.Semantic.DeepEqual(offered, n.offered) &&
		slices.Equal(st.VolumesInUse, n.inUse) && time.Since(n.sent) < reportEvery {
		n.Reported(st.VolumesInUse, n.version)
		return nil
	}
	body, err := json.Marshal(map[string]any{"status": reported{st, append([]v1.UniqueVolumeName{}, st.VolumesInUse...)}})
	if err != nil {
		return err
	}
	got, err := n.Client.CoreV1().Nodes().Patch(ctx, n.Name, types.StrategicMergePatchType, body, metav1.PatchOptions{}, "status")
	if apierrors.IsNotFound(err) {
		// Somebody deleted the Node while its daemon runs: it comes back, as it would on a restart.
		_, err = n.register(ctx)
		n.reported, n.sent = nil, time.Time{}
		return err
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	n.reported, n.sent, n.images, n.offered, n.inUse = st.Conditions, time.Now(), len(st.Images), offered, st.VolumesInUse
	n.version = got.ResourceVersion
	n.Reported(n.inUse, n.version)
	if now := readiness(n.reported); n.Event != nil && now != n.told {
		n.told = now
		n.Event(now, fmt.Sprintf("Node %s status is now: %s", n.Name, now))
	}
	return nil
}

// readiness is the reason of the event that tells of it.
func readiness(conditions []v1.NodeCondition) string {
	for _, c := range conditions {
		if c.Type == v1.NodeReady && c.Status == v1.ConditionTrue {
			return "NodeReady"
		}
	}
	return "NodeNotReady"
}

package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	plain "google.golang.org/grpc/credentials/insecure"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	api "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
	oldpodresources "k8s.io/kubelet/pkg/apis/podresources/v1alpha1"
)

// cards is a device plugin for example.com/card, whose devices are copies of /dev/zero.
type cards struct {
	api.UnimplementedDevicePluginServer
	t      testing.TB
	dir    string
	server *grpc.Server

	mu      sync.Mutex
	healthy map[string]bool
	changed chan struct{} // closed when healthy does
	calls   []string
}

func (c *cards) start() {
	c.t.Helper()
	l, err := net.Listen("unix", filepath.Join(c.dir, "cards.sock"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.server = grpc.NewServer()
	api.RegisterDevicePluginServer(c.server, c)
	go c.server.Serve(l)
	c.register()
}

// register tells the node that the plugin is there, as plugins do when the node's socket appears.
func (c *cards) register() {
	c.t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(c.dir, "kubelet.sock"), grpc.WithTransportCredentials(plain.NewCredentials()))
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := api.NewRegistrationClient(conn).Register(context.Background(), &api.RegisterRequest{
		Version: api.Version, Endpoint: "cards.sock", ResourceName: "example.com/card", Options: &api.DevicePluginOptions{PreStartRequired: true, GetPreferredAllocationAvailable: true},
	}, grpc.WaitForReady(true)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cards) stop() { c.server.Stop() }

// set changes which devices there are, and whether they are healthy.
func (c *cards) set(healthy map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.healthy = healthy
	if c.changed != nil {
		close(c.changed)
	}
	c.changed = make(chan struct{})
}

func (c *cards) called(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls = append(c.calls, what)
}

func (c *cards) count(what string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, call := range c.calls {
		if call == what {
			n++
		}
	}
	return n
}

func (c *cards) ListAndWatch(_ *api.Empty, s grpc.ServerStreamingServer[api.ListAndWatchResponse]) error {
	for {
		c.mu.Lock()
		said, changed := &api.ListAndWatchResponse{}, c.changed
		for id, ok := range c.healthy {
			said.Devices = append(said.Devices, &api.Device{ID: id, Health: map[bool]string{true: api.Healthy, false: api.Unhealthy}[ok], Topology: &api.TopologyInfo{Nodes: []*api.NUMANode{{ID: 1}}}})
		}
		c.mu.Unlock()
		if err := s.Send(said); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-s.Context().Done():
			return nil
		}
	}
}

// GetPreferredAllocation prefers the last.
func (c *cards) GetPreferredAllocation(_ context.Context, r *api.PreferredAllocationRequest) (*api.PreferredAllocationResponse, error) {
	ids := slices.Sorted(slices.Values(r.ContainerRequests[0].AvailableDeviceIDs))
	return &api.PreferredAllocationResponse{ContainerResponses: []*api.ContainerPreferredAllocationResponse{{DeviceIDs: ids[len(ids)-int(r.ContainerRequests[0].AllocationSize):]}}}, nil
}

func (c *cards) Allocate(_ context.Context, r *api.AllocateRequest) (*api.AllocateResponse, error) {
	ids := strings.Join(r.ContainerRequests[0].DevicesIds, "+")
	c.called("allocate " + ids)
	if ids == "broken" {
		return nil, errors.New("the card has no power")
	}
	return &api.AllocateResponse{ContainerResponses: []*api.ContainerAllocateResponse{{
		Envs: map[string]string{"CARDS": ids}, Mounts: []*api.Mount{{ContainerPath: "/card", HostPath: c.dir, ReadOnly: true}},
		Devices: []*api.DeviceSpec{{ContainerPath: "/dev/card", HostPath: "/dev/zero", Permissions: "rw"}, {ContainerPath: "/dev/told", HostPath: "/dev/kmsg", Permissions: "r"}}, CdiDevices: []*api.CDIDevice{{Name: "example.com/card=all"}},
	}}}, nil
}

func (c *cards) PreStartContainer(_ context.Context, r *api.PreStartContainerRequest) (*api.PreStartContainerResponse, error) {
	c.called("start " + strings.Join(r.DevicesIds, "+"))
	return &api.PreStartContainerResponse{}, nil
}

// podResources connects to the node's PodResources API.
func (h *host) podResources() *grpc.ClientConn {
	h.t.Helper()
	conn, err := grpc.NewClient("unix://"+filepath.Join(h.dir, "n", "kubelet", "pod-resources", "kubelet.sock"), grpc.WithTransportCredentials(plain.NewCredentials()))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { conn.Close() })
	return conn
}

// offers waits until the Node has so many cards, and so many for Pods.
func (h *host) offers(capacity, allocatable int64) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("the Node to have %d cards, %d of them for Pods", capacity, allocatable), func() (bool, string) {
		n, err := h.client.CoreV1().Nodes().Get(h.ctx(), "n1", metav1.GetOptions{})
		if err != nil {
			return false, err.Error()
		}
		all, may := n.Status.Capacity["example.com/card"], n.Status.Allocatable["example.com/card"]
		return all.Value() == capacity && may.Value() == allocatable, fmt.Sprintf("%d, %d", all.Value(), may.Value())
	})
}

func TestPodsHaveDevicesOfPlugins(t *testing.T) {
	cdi := t.TempDir()
	if err := os.WriteFile(filepath.Join(cdi, "card.json"), []byte(`{"cdiVersion": "0.6.0", "kind": "example.com/card", "devices": [{"name": "all", "containerEdits": {"env": ["CDI=yes"]}}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	h := start(t, "--cdi-spec-dirs", cdi)
	p := &cards{t: t, dir: filepath.Join(h.dir, "n", "device-plugins")}
	p.set(map[string]bool{"a": true, "b": true, "c": false})
	p.start()
	defer func() { p.stop() }()
	h.offers(3, 2)

	const loop = `command: [sh, -c, 'trap exit TERM; while :; do sleep 0.2; done']`
	h.run("a container has the device, what its plugin says it needs, and no other", func(t *testing.T) {
		for _, users := range []string{"true", "false"} {
			h.create("look"+users, `{restartPolicy: Never, hostUsers: `+users+`, containers: [{name: c, command: [sh, -c, 'echo $CARDS $CDI; busybox head -c 3 /dev/card | busybox od -An -tx1; (echo x > /dev/told) 2>/dev/null || echo refused; test -S /card/cards.sock && echo mounted'], resources: {limits: {example.com/card: 1}}}]}`)
			want := "b yes\n 00 00 00\nrefused\nmounted\n"
			if out := h.output("look" + users); out != want {
				t.Errorf("with hostUsers %s it says %q, want %q", users, out, want)
			}
		}
		if n := p.count("start b"); n != 2 {
			t.Errorf("the plugin was told of %d starts", n)
		}
	})

	h.run("devices are a Pod's until it ends, whatever becomes of the daemon and the plugin", func(t *testing.T) {
		h.create("one", `{containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		one := h.wait("one", "to be ready", ready)
		p.stop()
		h.offers(3, 0)
		h.killNode()
		h.startNode()
		h.create("two", `{nodeName: n1, containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		if two := h.wait("two", "to be turned away", phase(v1.PodFailed)); two.Status.Reason != "UnexpectedAdmissionError" {
			t.Errorf("without a plugin: %s: %s", two.Status.Reason, two.Status.Message)
		}
		p.start()
		h.offers(3, 2)
		h.create("three", `{containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		h.wait("three", "to be ready", ready)
		h.create("four", `{nodeName: n1, containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		if four := h.wait("four", "to be turned away", phase(v1.PodFailed)); !strings.Contains(four.Status.Message, "Requested: 1, Available: 0") {
			t.Errorf("when all are taken: %s: %s", four.Status.Reason, four.Status.Message)
		}
		if a, b := h.exec("one", "sh", "-c", "echo $CARDS"), h.exec("three", "sh", "-c", "echo $CARDS"); a != "b\n" || b != "a\n" {
			t.Errorf("the Pods have the cards %q and %q", a, b)
		}
		if now := h.get("one"); now.Status.ContainerStatuses[0].ContainerID != one.Status.ContainerStatuses[0].ContainerID {
			t.Error("a container was started anew")
		}
		h.delete("one")
		h.waitGone("one")
		h.create("five", `{containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		h.wait("five", "to be ready", ready)
	})

	h.run("a Pod tells how its devices are, and programs of the node whose they are", func(t *testing.T) {
		// "three" has the card a, "five" b.
		is := func(pod string, want v1.ResourceHealthStatus) {
			t.Helper()
			h.wait(pod, "to say that its card is "+string(want), func(p *v1.Pod) bool {
				of := p.Status.ContainerStatuses[0].AllocatedResourcesStatus
				return len(of) == 1 && of[0].Name == "example.com/card" && len(of[0].Resources) == 1 && of[0].Resources[0].Health == want
			})
		}
		is("three", v1.ResourceHealthStatusHealthy)
		p.set(map[string]bool{"a": false, "b": true, "c": false})
		is("three", v1.ResourceHealthStatusUnhealthy)
		is("five", v1.ResourceHealthStatusHealthy)
		if id := h.get("three").Status.ContainerStatuses[0].AllocatedResourcesStatus[0].Resources[0].ResourceID; id != "a" {
			t.Errorf("the card is %q", id)
		}
		if !ready(h.get("three")) {
			t.Error("the Pod was touched for it")
		}
		conn := h.podResources()
		said, err := podresources.NewPodResourcesListerClient(conn).List(h.ctx(), &podresources.ListPodResourcesRequest{})
		if err != nil {
			t.Fatal(err)
		}
		whose := map[string]string{}
		for _, pod := range said.PodResources {
			for _, dev := range pod.Containers[0].Devices {
				whose[dev.DeviceIds[0]] = pod.Namespace + "/" + pod.Name + " " + pod.Containers[0].Name + " " + dev.ResourceName
				if len(dev.Topology.GetNodes()) != 1 || dev.Topology.Nodes[0].ID != 1 {
					t.Errorf("%s is close to %v", dev.DeviceIds[0], dev.Topology)
				}
			}
		}
		if diff := cmp.Diff(map[string]string{"a": "default/three c example.com/card", "b": "default/five c example.com/card"}, whose); diff != "" {
			t.Errorf("whose the cards are (-want +got):\n%s", diff)
		}
		old, err := oldpodresources.NewPodResourcesListerClient(conn).List(h.ctx(), &oldpodresources.ListPodResourcesRequest{})
		if err != nil || len(old.PodResources) != len(said.PodResources) {
			t.Errorf("by v1alpha1: %v, %v", old, err)
		}
		one, err := podresources.NewPodResourcesListerClient(conn).Get(h.ctx(), &podresources.GetPodResourcesRequest{PodNamespace: "default", PodName: "five"})
		if err != nil || len(one.PodResources.GetContainers()) != 1 || one.PodResources.Containers[0].Devices[0].DeviceIds[0] != "b" {
			t.Errorf("of one Pod: %v, %v", one, err)
		}
		all, err := podresources.NewPodResourcesListerClient(conn).GetAllocatableResources(h.ctx(), &podresources.AllocatableResourcesRequest{})
		if err != nil || len(all.Devices) != 1 || all.Devices[0].DeviceIds[0] != "b" {
			t.Errorf("that can be given: %v, %v", all, err)
		}
		p.stop()
		is("five", v1.ResourceHealthStatusUnknown)
		p.set(map[string]bool{"a": true, "b": true, "c": false})
		p.start()
		is("three", v1.ResourceHealthStatusHealthy)
	})

	h.run("a record that cannot be read keeps others from the devices until its Pod is gone, and nothing else", func(t *testing.T) {
		three, five := h.get("three"), h.get("five")
		p.set(map[string]bool{"a": true, "b": true, "d": true})
		h.offers(3, 3)
		h.killNode()
		if err := os.WriteFile(filepath.Join(h.dir, "n", "pods", string(three.UID), "devices.json"), []byte(`{"assigned": {"c":`), 0o600); err != nil {
			t.Fatal(err)
		}
		h.startNode()
		p.register()
		h.offers(3, 0)
		h.told("three", "FailedCreatePodSandBox", "delete the Pod")
		h.create("six", `{nodeName: n1, containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		h.wait("six", "to be turned away", phase(v1.PodFailed))
		h.create("none", `{containers: [{name: c}]}`)
		h.wait("none", "to be ready", ready)
		for _, before := range []*v1.Pod{three, five} {
			if now := h.get(before.Name); !ready(now) || now.Status.ContainerStatuses[0].ContainerID != before.Status.ContainerStatuses[0].ContainerID {
				t.Errorf("%s was touched: %v", before.Name, now.Status)
			}
		}
		h.delete("three")
		h.waitGone("three")
		h.offers(3, 3)
		h.create("seven", `{containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		h.wait("seven", "to be ready", ready)
		h.delete("seven")
		h.waitGone("seven")
	})

	h.run("which resources there were is found again if that cannot be read", func(t *testing.T) {
		h.killNode()
		if err := os.WriteFile(filepath.Join(p.dir, "gitopsd-resources.json"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		h.startNode()
		h.create("early", `{nodeName: n1, containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		h.wait("early", "to be turned away", phase(v1.PodFailed))
		p.register()
		h.offers(3, 3)
	})

	h.run("a device that cannot be had is told of, and had once it can", func(t *testing.T) {
		p.set(map[string]bool{"a": true, "b": true, "broken": true})
		h.offers(3, 3)
		h.create("broken", `{containers: [{name: c, `+loop+`, resources: {limits: {example.com/card: 1}}}]}`)
		h.told("broken", "FailedCreatePodSandBox", "the card has no power")
		h.delete("broken")
		h.waitGone("broken")
	})
}

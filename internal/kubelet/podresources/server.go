package podresources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	v1 "k8s.io/api/core/v1"
	api "k8s.io/kubelet/pkg/apis/podresources/v1"
	older "k8s.io/kubelet/pkg/apis/podresources/v1alpha1"

	"github.com/gitopsd/gitopsd/internal/kubelet/cpuset"
	"github.com/gitopsd/gitopsd/internal/kubelet/devices"
	"github.com/gitopsd/gitopsd/internal/kubelet/dra"
)

// Server answers. A nil Devices, Claims or CPUs has given nothing.
type Server struct {
	api.UnimplementedPodResourcesListerServer

	Pods    func() []*v1.Pod
	PodsDir string // of the Pods' directories
	Devices *devices.Devices
	Claims  *dra.Claims
	CPUs    *cpuset.CPUs
}

// Socket is where programs look for it, below the folder of a kubelet.
func Socket(kubeletDir string) string {
	return filepath.Join(kubeletDir, "pod-resources", "kubelet.sock")
}

// Run serves at a socket, which is made anew, until ctx ends.
func (s *Server) Run(ctx context.Context, path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("the socket of the PodResources API: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("the socket of the PodResources API: %w", err)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("the socket of the PodResources API: %w", err)
	}
	g := grpc.NewServer()
	api.RegisterPodResourcesListerServer(g, s)
	older.RegisterPodResourcesListerServer(g, lister{s: s})
	context.AfterFunc(ctx, g.Stop)
	if err := g.Serve(l); ctx.Err() == nil {
		return fmt.Errorf("the socket of the PodResources API: %w", err)
	}
	return nil
}

// List tells of all Pods that have not ended.
func (s *Server) List(context.Context, *api.ListPodResourcesRequest) (*api.ListPodResourcesResponse, error) {
	out := &api.ListPodResourcesResponse{}
	for _, pod := range s.Pods() {
		if !ended(pod) {
			out.PodResources = append(out.PodResources, s.of(pod))
		}
	}
	return out, nil
}

// Get tells of one Pod.
func (s *Server) Get(_ context.Context, r *api.GetPodResourcesRequest) (*api.GetPodResourcesResponse, error) {
	for _, pod := range s.Pods() {
		if pod.Namespace == r.PodNamespace && pod.Name == r.PodName && !ended(pod) {
			return &api.GetPodResourcesResponse{PodResources: s.of(pod)}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "pod %s in namespace %s not found", r.PodName, r.PodNamespace)
}

// GetAllocatableResources tells what there is to be given, whether or not it has been.
func (s *Server) GetAllocatableResources(context.Context, *api.AllocatableResourcesRequest) (*api.AllocatableResourcesResponse, error) {
	return &api.AllocatableResourcesResponse{Devices: shown(s.Devices.Healthy()), CpuIds: numbers(s.CPUs.Allocatable())}, nil
}

func ended(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

// of tells of a Pod's containers, but for init containers, which are over when others run.
func (s *Server) of(pod *v1.Pod) *api.PodResources {
	out := &api.PodResources{Namespace: pod.Namespace, Name: pod.Name}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			out.Containers = append(out.Containers, s.container(pod, c))
		}
	}
	for i := range pod.Spec.Containers {
		out.Containers = append(out.Containers, s.container(pod, &pod.Spec.Containers[i]))
	}
	return out
}

func (s *Server) container(pod *v1.Pod, c *v1.Container) *api.ContainerResources {
	out := &api.ContainerResources{Name: c.Name, Devices: shown(s.Devices.Of(pod.UID, c.Name)), CpuIds: numbers(s.CPUs.Exclusive(pod.UID, c.Name))}
	for _, dev := range s.Claims.Of(c, filepath.Join(s.PodsDir, string(pod.UID))) {
		n := len(out.DynamicResources)
		if n == 0 || out.DynamicResources[n-1].ClaimName != dev.Claim {
			out.DynamicResources = append(out.DynamicResources, &api.DynamicResource{ClaimName: dev.Claim, ClaimNamespace: dev.Namespace})
			n++
		}
		one := &api.ClaimResource{DriverName: dev.Driver, PoolName: dev.Pool, DeviceName: dev.Name, ShareId: dev.Share}
		for _, name := range dev.CDI {
			one.CdiDevices = append(one.CdiDevices, &api.CDIDevice{Name: name})
		}
		out.DynamicResources[n-1].ClaimResources = append(out.DynamicResources[n-1].ClaimResources, one)
	}
	return out
}

// shown has an entry for each device, as they need not be close to the same memory.
func shown(list []devices.Device) []*api.ContainerDevices {
	var out []*api.ContainerDevices
	for _, dev := range list {
		one := &api.ContainerDevices{ResourceName: string(dev.Resource), DeviceIds: []string{dev.ID}}
		for _, n := range dev.Nodes {
			if one.Topology == nil {
				one.Topology = &api.TopologyInfo{}
			}
			one.Topology.Nodes = append(one.Topology.Nodes, &api.NUMANode{ID: n})
		}
		out = append(out, one)
	}
	return out
}

func numbers(s cpuset.Set) []int64 {
	var out []int64
	for _, n := range s {
		out = append(out, int64(n))
	}
	return out
}

// lister answers in v1alpha1, which knows devices of plugins only.
type lister struct {
	older.UnimplementedPodResourcesListerServer
	s *Server
}

// List tells of all Pods that have not ended.
func (l lister) List(ctx context.Context, _ *older.ListPodResourcesRequest) (*older.ListPodResourcesResponse, error) {
	all, err := l.s.List(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := &older.ListPodResourcesResponse{}
	for _, pod := range all.PodResources {
		one := &older.PodResources{Namespace: pod.Namespace, Name: pod.Name}
		for _, c := range pod.Containers {
			of := &older.ContainerResources{Name: c.Name}
			for _, dev := range c.Devices {
				of.Devices = append(of.Devices, &older.ContainerDevices{ResourceName: dev.ResourceName, DeviceIds: dev.DeviceIds})
			}
			one.Containers = append(one.Containers, of)
		}
		out.PodResources = append(out.PodResources, one)
	}
	return out, nil
}

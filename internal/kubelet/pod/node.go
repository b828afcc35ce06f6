package pod

import (
	"context"
	"net/netip"
	"path/filepath"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/record"

	"github.com/gitopsd/gitopsd/internal/kubelet/cgroup"
	"github.com/gitopsd/gitopsd/internal/kubelet/cpuset"
	"github.com/gitopsd/gitopsd/internal/kubelet/devices"
	"github.com/gitopsd/gitopsd/internal/kubelet/dra"
	"github.com/gitopsd/gitopsd/internal/kubelet/env"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/probe"
	"github.com/gitopsd/gitopsd/internal/kubelet/reference"
	"github.com/gitopsd/gitopsd/internal/kubelet/runtime"
	"github.com/gitopsd/gitopsd/internal/kubelet/spec"
	"github.com/gitopsd/gitopsd/internal/kubelet/status"
	"github.com/gitopsd/gitopsd/internal/kubelet/step"
	"github.com/gitopsd/gitopsd/internal/kubelet/trace"
)

// Node is what the workers of a node work with.
type Node struct {
	Client   kubernetes.Interface
	Recorder record.EventRecorder
	Runtime  *runtime.Runtime
	Images   *image.Store
	Logs     *logs.Client
	Objects  *reference.Objects
	Status   *status.Writer
	Probes   *probe.Results
	Cgroups  *cgroup.Tree
	Starts   *trace.Starts
	Plan     step.Plan
	Host     spec.Host

	// Allocatable is what of the machine Pods may have together.
	Allocatable v1.ResourceList

	Rules Rules

	// Devices are those of device plugins; nil: there are none.
	Devices *devices.Devices
	// Claims are the Pods' ResourceClaims; nil: there are none.
	Claims *dra.Claims
	// CDIDirs are the folders of files that describe devices (CDI).
	CDIDirs []string

	// CPUs gives containers processors for themselves; nil: to none.
	CPUs *cpuset.CPUs

	Dir    string // of the Pods' directories
	LogDir string // of the Pods' logs

	// Creating bounds how many containers are created at once: each is a good 40 ms of processor time in the shim and runc, and a hundred of
	// them at the same time make every one of them late, and none sooner.
	Creating chan struct{}

	// Facts are what the node itself tells Pods; the Pods' own addresses are added.
	Facts func() env.Facts
	// Services gives the Services whose addresses a Pod is told by environment variables.
	Services func(namespace string) []*v1.Service
	// Drained waits until no new connection is sent to an address; nil where there are no Services.
	Drained func(ctx context.Context, addr netip.Addr) error
	// Seccomp gives the node's default system call filter, and the profile in a file of the node's seccomp directory.
	Seccomp func(ctx context.Context, profile *v1.SeccompProfile, s *specs.Spec) (*specs.LinuxSeccomp, error)
}

// LogPath is the log file of a container attempt.
func (n *Node) LogPath(pod *v1.Pod, container string, attempt int) string {
	return filepath.Join(n.podLogs(pod), container, itoa(attempt)+".log")
}

func (n *Node) podLogs(pod *v1.Pod) string {
	return filepath.Join(n.LogDir, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

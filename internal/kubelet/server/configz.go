package server

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubeletconfig "k8s.io/kubelet/config/v1beta1"

	"github.com/gitopsd/gitopsd/internal/kubelet/allocatable"
	"github.com/gitopsd/gitopsd/internal/kubelet/cpuset"
	"github.com/gitopsd/gitopsd/internal/kubelet/eviction"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/logs"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
	"github.com/gitopsd/gitopsd/internal/kubelet/shutdown"
)

// Facts are what of this node's configuration others ask for.
type Facts struct {
	Address       string
	Port          int32
	ClusterDomain string
	ClusterDNS    func(context.Context) []string
	Metrics       []prometheus.Collector // of parts that are not this server's
	CgroupRoot    string
	Containerd    string
	PodLogDir     string
	StaticPodPath string
	LogRotation   logs.Rotation
	SystemLogs    string // the host's log directory; empty if it is not to be shown
	UnsafeSysctls []string
	ParallelPulls int // 0 for no limit
	MaxPods       int32
	Shutdown      shutdown.Config
	Eviction      eviction.Config
	Images        image.Keeping
	Allocatable   allocatable.Config
	Throttling    float64
	CPUs          cpuset.Config
}

// configuration tells of this node's settings in the kubelet's own form, as /configz has it. What the node has no setting for is left out.
func (f Facts) configuration(ctx context.Context) map[string]*kubeletconfig.KubeletConfiguration {
	yes, no, shown := true, false, f.SystemLogs != ""
	c := &kubeletconfig.KubeletConfiguration{
		EnableServer: &yes, Address: f.Address, Port: f.Port, ServerTLSBootstrap: true, RotateCertificates: true,
		Authentication: kubeletconfig.KubeletAuthentication{
			X509:      kubeletconfig.KubeletX509Authentication{},
			Webhook:   kubeletconfig.KubeletWebhookAuthentication{Enabled: &yes, CacheTTL: metav1.Duration{Duration: believed}},
			Anonymous: kubeletconfig.KubeletAnonymousAuthentication{Enabled: &no},
		},
		Authorization: kubeletconfig.KubeletAuthorization{
			Mode: kubeletconfig.KubeletAuthorizationModeWebhook,
			Webhook: kubeletconfig.KubeletWebhookAuthorization{
				CacheAuthorizedTTL: metav1.Duration{Duration: believed}, CacheUnauthorizedTTL: metav1.Duration{Duration: doubted},
			},
		},
		ClusterDomain: f.ClusterDomain, ClusterDNS: f.ClusterDNS(ctx), CgroupRoot: f.CgroupRoot, CgroupDriver: "cgroupfs", CgroupsPerQOS: &no,
		StreamingConnectionIdleTimeout: metav1.Duration{Duration: idleTimeout}, MaxPods: f.MaxPods, ContainerRuntimeEndpoint: "unix://" + f.Containerd, PodLogsDir: f.PodLogDir, StaticPodPath: f.StaticPodPath, AllowedUnsafeSysctls: f.UnsafeSysctls,
		NodeLeaseDurationSeconds: register.LeaseSeconds, EnableDebuggingHandlers: &yes, EnableSystemLogHandler: &shown, EnableSystemLogQuery: &shown,
		FailSwapOn: &no, RegisterNode: &yes,
	}
	files := int32(f.LogRotation.Files)
	c.ContainerLogMaxSize, c.ContainerLogMaxFiles = resource.NewQuantity(f.LogRotation.Size, resource.BinarySI).String(), &files
	f.Shutdown.Published(c)
	serialize := f.ParallelPulls == 1
	c.SerializeImagePulls = &serialize
	if n := int32(f.ParallelPulls); n > 1 {
		c.MaxParallelImagePulls = &n
	}
	f.Eviction.Published(c)
	f.Images.Published(c)
	f.Allocatable.Published(c)
	c.CPUManagerPolicy, c.ReservedSystemCPUs = f.CPUs.Policy, f.CPUs.Reserved
	if f.Throttling > 0 {
		c.MemoryThrottlingFactor = &f.Throttling
	}
	c.Kind, c.APIVersion = "KubeletConfiguration", kubeletconfig.SchemeGroupVersion.String()
	return map[string]*kubeletconfig.KubeletConfiguration{"kubeletconfig": c}
}

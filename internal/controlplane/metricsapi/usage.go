package metricsapi

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
	metrics "k8s.io/metrics/pkg/apis/metrics/v1beta1"
)

// figures are what one node reported: nothing else of its report is kept.
type figures struct {
	at     time.Time
	window time.Duration
	// node is nil when the report says nothing about the node's use.
	node corev1.ResourceList
	pods map[types.UID][]metrics.ContainerMetrics
}

// read takes the figures from a report; window is the time between it and the one before.
func read(s *statsv1.Summary, window time.Duration) figures {
	f := figures{window: window, node: usage(s.Node.CPU, s.Node.Memory), pods: make(map[types.UID][]metrics.ContainerMetrics, len(s.Pods))}
	for _, p := range s.Pods {
		var containers []metrics.ContainerMetrics
		for _, c := range p.Containers {
			if u := usage(c.CPU, c.Memory); u != nil {
				containers = append(containers, metrics.ContainerMetrics{Name: c.Name, Usage: u})
			}
		}
		if len(containers) > 0 {
			f.pods[types.UID(p.PodRef.UID)] = containers
		}
	}
	return f
}

// usage is nil when a figure is missing: half of the truth would be taken for the whole.
func usage(cpu *statsv1.CPUStats, memory *statsv1.MemoryStats) corev1.ResourceList {
	if cpu == nil || cpu.UsageNanoCores == nil || memory == nil || memory.WorkingSetBytes == nil {
		return nil
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(*cpu.UsageNanoCores), resource.Nano),
		corev1.ResourceMemory: *resource.NewQuantity(int64(*memory.WorkingSetBytes), resource.BinarySI),
	}
}

// nodeMetrics is false when nothing is known of the node's use.
func nodeMetrics(n *corev1.Node, f figures) (metrics.NodeMetrics, bool) {
	return metrics.NodeMetrics{
		ObjectMeta: metav1.ObjectMeta{Name: n.Name, Labels: n.Labels, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(f.at), Window: metav1.Duration{Duration: f.window}, Usage: f.node,
	}, f.node != nil
}

// podMetrics is false until every container that runs has figures, as autoscalers expect it.
func podMetrics(p *corev1.Pod, f figures) (metrics.PodMetrics, bool) {
	known := f.pods[p.UID]
	names := map[string]bool{}
	for _, c := range known {
		names[c.Name] = true
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil && !names[c.Name] {
			return metrics.PodMetrics{}, false
		}
	}
	return metrics.PodMetrics{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, CreationTimestamp: metav1.Now()},
		Timestamp:  metav1.NewTime(f.at), Window: metav1.Duration{Duration: f.window}, Containers: known,
	}, len(known) > 0
}

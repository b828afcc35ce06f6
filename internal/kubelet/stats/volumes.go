package stats

import (
	"github.com/prometheus/client_golang/prometheus"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Volumes collects how full the volumes of Pods' claims are, under the kubelet's names: part of /metrics.
type Volumes struct{ Source *Source }

var _ prometheus.Collector = Volumes{}

// volumeSeries are the metrics of a volume.
var volumeSeries = []struct {
	desc *prometheus.Desc
	of   func(*statsv1.VolumeStats) *uint64
}{
	{volumeDesc("capacity_bytes", "Capacity in bytes of the volume"), func(s *statsv1.VolumeStats) *uint64 { return s.CapacityBytes }},
	{volumeDesc("available_bytes", "Number of available bytes in the volume"), func(s *statsv1.VolumeStats) *uint64 { return s.AvailableBytes }},
	{volumeDesc("used_bytes", "Number of used bytes in the volume"), func(s *statsv1.VolumeStats) *uint64 { return s.UsedBytes }},
	{volumeDesc("inodes", "Maximum number of inodes in the volume"), func(s *statsv1.VolumeStats) *uint64 { return s.Inodes }},
	{volumeDesc("inodes_free", "Number of free inodes in the volume"), func(s *statsv1.VolumeStats) *uint64 { return s.InodesFree }},
	{volumeDesc("inodes_used", "Number of used inodes in the volume"), func(s *statsv1.VolumeStats) *uint64 { return s.InodesUsed }},
}

func volumeDesc(name, help string) *prometheus.Desc {
	return prometheus.NewDesc("kubelet_volume_stats_"+name, help, []string{"namespace", "persistentvolumeclaim"}, nil)
}

// Describe sends the names.
func (Volumes) Describe(out chan<- *prometheus.Desc) {
	for _, s := range volumeSeries {
		out <- s.desc
	}
}

// Collect reads the file systems now. A claim that several Pods use is one series.
func (v Volumes) Collect(out chan<- prometheus.Metric) {
	seen := map[statsv1.PVCReference]bool{}
	for _, pod := range v.Source.Pods() {
		if v.Source.Volumes == nil {
			return
		}
		for _, s := range v.Source.Volumes(pod) {
			if seen[*s.PVCRef] {
				continue
			}
			seen[*s.PVCRef] = true
			for _, m := range volumeSeries {
				out <- prometheus.MustNewConstMetric(m.desc, prometheus.GaugeValue, float64(*m.of(&s)), s.PVCRef.Namespace, s.PVCRef.Name)
			}
		}
	}
}

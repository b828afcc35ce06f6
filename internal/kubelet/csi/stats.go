package csi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// lookEvery is how often drivers are asked how full volumes are, as upstream; those that hang are asked no more before they answer.
const lookEvery = time.Minute

// figures are how full a volume is.
type figures struct {
	claim string
	stats statsv1.FsStats
}

// Run asks drivers how full their volumes are until ctx ends. pods are those of the node.
func (n *Node) Run(ctx context.Context, pods func() []*v1.Pod) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		n.look(ctx, pods())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// look asks all drivers, each about one volume after the other.
func (n *Node) look(ctx context.Context, pods []*v1.Pod) {
	known := map[types.UID]*v1.Pod{}
	for _, p := range pods {
		known[p.UID] = p
	}
	found, err := n.at().published("*")
	if err != nil {
		slog.Warn("a record of a volume is not understood", "err", err)
	}
	byDriver := map[*driver][]record{}
	for _, r := range found {
		if d := n.driver(r.Driver); d != nil && d.can[spec.NodeServiceCapability_RPC_GET_VOLUME_STATS] && r.Boot == n.boot && known[types.UID(r.Pod)] != nil {
			byDriver[d] = append(byDriver[d], r)
		}
	}
	var wg sync.WaitGroup
	for d, list := range byDriver {
		wg.Go(func() {
			for _, r := range list {
				got, err := called(ctx, d, "NodeGetVolumeStats", d.node.NodeGetVolumeStats, &spec.NodeGetVolumeStatsRequest{VolumeId: r.Handle, VolumePath: n.at().target(r.Pod, r.Name, r.Block)})
				if err != nil {
					slog.Debug("a driver does not say how full a volume is", "driver", d.name, "volume", r.Name, "err", err)
					return
				}
				n.note(known[types.UID(r.Pod)], r, got)
			}
		})
	}
	wg.Wait()
}

// note keeps what a driver said of a volume. What cannot be is left out.
func (n *Node) note(pod *v1.Pod, r record, got *spec.NodeGetVolumeStatsResponse) {
	f := figures{claim: r.Claim, stats: usage(got.Usage, metav1.Now())}
	n.mu.Lock()
	if n.figures[pod.UID] == nil {
		n.figures[pod.UID] = map[string]figures{}
	}
	n.figures[pod.UID][r.InPod] = f
	said := ""
	if c := got.VolumeCondition; c != nil && c.Abnormal {
		said = c.Message
	}
	fresh := said != n.told[r.key()]
	n.told[r.key()] = said
	n.mu.Unlock()
	if fresh && said != "" {
		n.Events.Eventf(pod, v1.EventTypeWarning, "VolumeConditionAbnormal", "Volume %s: %s", r.InPod, said)
	}
}

// usage turns what a driver said into what the node reports.
func usage(said []*spec.VolumeUsage, at metav1.Time) statsv1.FsStats {
	s := statsv1.FsStats{Time: at}
	for _, u := range said {
		if u.Total < 0 || u.Used < 0 || u.Available < 0 {
			continue
		}
		total, used, free := uint64(u.Total), uint64(u.Used), uint64(u.Available)
		switch u.Unit {
		case spec.VolumeUsage_BYTES:
			s.CapacityBytes, s.UsedBytes, s.AvailableBytes = &total, &used, &free
		case spec.VolumeUsage_INODES:
			s.Inodes, s.InodesUsed, s.InodesFree = &total, &used, &free
		}
	}
	return s
}

// Stats are the figures of a Pod's volumes, as they were told last.
func (n *Node) Stats(pod *v1.Pod) []statsv1.VolumeStats {
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []statsv1.VolumeStats
	for name, f := range n.figures[pod.UID] {
		s := statsv1.VolumeStats{Name: name, FsStats: f.stats}
		if f.claim != "" {
			s.PVCRef = &statsv1.PVCReference{Namespace: pod.Namespace, Name: f.claim}
		}
		out = append(out, s)
	}
	return out
}

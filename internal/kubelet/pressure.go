package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/gitopsd/gitopsd/internal/kubelet/eviction"
	"github.com/gitopsd/gitopsd/internal/kubelet/image"
	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
	"github.com/gitopsd/gitopsd/internal/kubelet/register"
	"github.com/gitopsd/gitopsd/internal/kubelet/stats"
)

// How often what is left of the machine is looked at, and unused images are. There is no event for a disk that fills.
const (
	pressureEvery = 10 * time.Second
	imagesEvery   = 5 * time.Minute
	// endPatience is how long a Pod's end is waited for before another is ended, too.
	endPatience = 30 * time.Second
)

// evictedReason is that of Pods which are ended, or turned away, because the node is short of something.
const evictedReason = "Evicted"

// pressure is what the node is short of.
type pressure struct {
	state  eviction.State
	now    atomic.Pointer[[]v1.NodeConditionType]
	ending map[types.UID]bool
	unused *image.Unused
	pods   cache.Store
}

// conditions are the pressures that the Node reports.
func (p *pressure) conditions() []v1.NodeConditionType {
	if now := p.now.Load(); now != nil {
		return *now
	}
	return nil
}

// admit turns a Pod away that the node is too short of something for.
func (p *pressure) admit(pod *v1.Pod) *lifecycle.Stop {
	text := eviction.Admit(pod, lifecycle.QOS(&pod.Spec), p.conditions())
	if text == "" {
		return nil
	}
	return &lifecycle.Stop{Reason: evictedReason, Message: text}
}

// openPressure looks at the machine for the first time, so that the first that the Node says of itself is true.
func (d *daemon) openPressure(pods cache.Store) {
	p := &d.pressure
	p.state = eviction.State{Thresholds: d.cfg.thresholds, Transition: d.cfg.Eviction.PressureTransitionPeriod, MaxGrace: d.cfg.Eviction.MaxPodGracePeriod}
	p.ending, p.pods = map[types.UID]bool{}, pods
	p.unused = &image.Unused{Store: d.images, Used: d.usedImages}
	d.press(p.state.Decide(eviction.Input{Now: time.Now(), Seen: d.left()}))
}

// followPressure ends Pods that use more than they may, or than there is, until ctx ends.
func (d *daemon) followPressure(ctx context.Context) {
	look, images := time.NewTicker(pressureEvery), time.NewTicker(imagesEvery)
	defer look.Stop()
	defer images.Stop()
	for {
		d.relieve(ctx)
		select {
		case <-ctx.Done():
			return
		case <-look.C:
		case <-images.C:
			d.collectImages(ctx)
		}
	}
}

// relieve looks at what is left and at what Pods use, and acts until nothing more is to be done now.
func (d *daemon) relieve(ctx context.Context) {
	reclaimed := false
	for ctx.Err() == nil {
		in := eviction.Input{Now: time.Now(), Seen: d.left(), Reclaimed: reclaimed}
		measured := d.use(ctx, d.pressure.state.MeasureDisk(in.Seen))
		for _, e := range eviction.Exceeding(measured) {
			d.evict(ctx, e)
		}
		for _, p := range measured {
			if !d.pressure.ending[p.UID] {
				in.Pods = append(in.Pods, p)
			}
		}
		decided := d.pressure.state.Decide(in)
		d.press(decided)
		if len(decided.Short) == 0 {
			return
		}
		if !reclaimed {
			d.warn("EvictionThresholdMet", "Attempting to reclaim "+strings.Join(decided.Short, ", "))
		}
		switch {
		case decided.Reclaim:
			reclaimed = true
			if freed, err := d.pressure.unused.Collect(ctx, d.cfg.Images, image.All); err != nil && ctx.Err() == nil {
				slog.Warn("removing unused images failed", "freed", freed, "err", err)
			}
		case decided.Evict != nil:
			ended := d.evict(ctx, *decided.Evict)
			select {
			case <-ended:
				delete(d.pressure.ending, decided.Evict.UID)
			case <-time.After(endPatience):
			case <-ctx.Done():
			}
			return // what its end has brought is seen at the next look
		default:
			slog.Warn("the node is short of something, and no Pod is left that may be ended for it", "resources", decided.Short)
			return
		}
	}
}

// evict ends a Pod; the channel is closed when it has ended.
func (d *daemon) evict(_ context.Context, e eviction.Eviction) <-chan struct{} {
	stop := lifecycle.Stop{Reason: evictedReason, Message: e.Message, Disruption: v1.PodReasonTerminationByKubelet, Until: time.Now().Add(e.Grace)}
	if !d.pressure.ending[e.UID] {
		d.pressure.ending[e.UID] = true
		if pod := d.pods.ByUID(e.UID); pod != nil {
			slog.Warn("a Pod is ended", "pod", pod.Namespace+"/"+pod.Name, "why", e.Message)
			d.node.Recorder.Event(pod, v1.EventTypeWarning, evictedReason, e.Message)
		}
	}
	return d.pods.Stop(e.UID, stop)
}

// press has the Node report what it is short of.
func (d *daemon) press(decided eviction.Decision) {
	before := d.pressure.conditions()
	d.pressure.now.Store(&decided.Pressure)
	if fmt.Sprint(before) != fmt.Sprint(decided.Pressure) {
		slog.Warn("what the node is short of has changed", "before", before, "now", decided.Pressure)
		d.poke()
	}
}

// left is what of each signal there still is.
func (d *daemon) left() map[eviction.Signal]eviction.Observation {
	out := map[eviction.Signal]eviction.Observation{}
	if m := register.Meminfo(); m["MemTotal"] > 0 {
		out[eviction.Memory] = eviction.Observation{Available: int64(m["MemAvailable"]), Capacity: int64(m["MemTotal"])}
	}
	if total := d.podMemory; total > 0 {
		used := int64(d.node.Cgroups.Usage(d.cfg.CgroupRoot).WorkingSet)
		out[eviction.PodMemory] = eviction.Observation{Available: total - used, Capacity: total}
	}
	if have, limit := register.Processes(); limit > 0 {
		out[eviction.PIDs] = eviction.Observation{Available: int64(limit - have), Capacity: int64(limit)}
	}
	for dir, signals := range map[string][2]eviction.Signal{
		d.cfg.DataDir: {eviction.NodeFs, eviction.NodeInodes}, d.imageDir(): {eviction.ImageFs, eviction.ImageInodes},
	} {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) != nil {
			continue
		}
		out[signals[0]] = eviction.Observation{Available: int64(st.Bavail) * st.Bsize, Capacity: int64(st.Blocks) * st.Bsize}
		if st.Files > 0 { // some file systems have no fixed number of them
			out[signals[1]] = eviction.Observation{Available: int64(st.Ffree), Capacity: int64(st.Files)}
		}
	}
	return out
}

// imageDir is on the disk that images and containers' own file systems are on.
func (d *daemon) imageDir() string {
	if d.cfg.Containerd == "" {
		return filepath.Join(d.cfg.DataDir, "containerd")
	}
	return d.runtime.Root()
}

// use measures what Pods use: their memory and processes always, their disk where they are limited in it or all is to be known. With nothing short and
// nobody limited there is nothing to measure.
func (d *daemon) use(ctx context.Context, disk bool) []eviction.Pod {
	var out []eviction.Pod
	for _, pod := range d.pods.List() {
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			delete(d.pressure.ending, pod.UID)
			continue
		}
		out = append(out, eviction.Pod{Pod: pod, Use: d.useOf(ctx, pod, disk || eviction.LimitsDisk(pod))})
	}
	return out
}

func (d *daemon) useOf(ctx context.Context, pod *v1.Pod, disk bool) eviction.Use {
	uid := string(pod.UID)
	whole := d.node.Cgroups.Usage(d.node.Cgroups.Pod(uid))
	u := eviction.Use{
		Memory: int64(whole.WorkingSet), Processes: int64(whole.PIDs), Containers: map[string]eviction.ContainerUse{}, EmptyDirs: map[string]int64{},
	}
	for _, list := range [][]v1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			c := &list[i]
			id := strings.TrimPrefix(c.ContainerID, "containerd://")
			if id == "" {
				continue
			}
			use := eviction.ContainerUse{Memory: int64(d.node.Cgroups.Usage(d.node.Cgroups.Container(uid, id)).WorkingSet)}
			if disk {
				written, inodes := d.runtime.Written(ctx, id)
				logged, files := stats.Disk(filepath.Dir(d.node.LogPath(pod, c.Name, 0)))
				use.Disk = written + logged
				u.Inodes += inodes + files
			}
			u.Containers[c.Name] = use
		}
	}
	if !disk {
		return u
	}
	for i := range pod.Spec.Volumes {
		if v := &pod.Spec.Volumes[i]; v.EmptyDir != nil && v.EmptyDir.Medium == v1.StorageMediumDefault {
			bytes, inodes := stats.Disk(filepath.Join(d.node.Dir, uid, "volumes", v.Name))
			u.EmptyDirs[v.Name] = bytes
			u.Inodes += inodes
		}
	}
	return u
}

// collectImages removes images that were not used for long, or that a disk which fills up has no room for.
func (d *daemon) collectImages(ctx context.Context) {
	seen := d.left()[eviction.ImageFs]
	excess := d.cfg.Images.Excess(seen.Available, seen.Capacity)
	freed, err := d.pressure.unused.Collect(ctx, d.cfg.Images, excess)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		d.warn("ImageGCFailed", err.Error())
	case freed < excess:
		d.warn("FreeDiskSpaceFailed", fmt.Sprintf("Failed to garbage collect required amount of images. Attempted to free %d bytes, but only found %d bytes eligible to free.", excess, freed))
	}
}

// usedImages are those that the specs of the node's Pods name, but of Pods that have ended.
func (d *daemon) usedImages() []string {
	var out []string
	add := func(pod *v1.Pod) {
		if pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed {
			return
		}
		out = append(out, image.Of(&pod.Spec)...)
	}
	for _, pod := range d.pods.List() {
		add(pod)
	}
	for _, obj := range d.pressure.pods.List() { // and those that are known here only in a moment
		add(obj.(*v1.Pod))
	}
	return out
}

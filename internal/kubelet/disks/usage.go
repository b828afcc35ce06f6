package disks

import (
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// Mounted remembers where the volumes of a Pod's claims are: by claim.
func (d *Disks) Mounted(pod *corev1.Pod, paths map[string]string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for claim, path := range paths {
		d.paths[pod.Namespace+"/"+claim] = path
		d.holders[pod.Namespace+"/"+claim] = pod.UID
	}
}

// Path is where a claim's volume is on this node; empty if no Pod uses it.
func (d *Disks) Path(namespace, claim string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.paths[namespace+"/"+claim]
}

// used names a Pod's claims, by volume.
func used(pod *corev1.Pod) map[string]string {
	out := map[string]string{}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if claim := pv.ClaimOf(pod, v); claim != "" {
			out[v.Name] = claim
		}
	}
	return out
}

// Stats are the figures of a Pod's claims.
func (d *Disks) Stats(pod *corev1.Pod) []statsv1.VolumeStats {
	var out []statsv1.VolumeStats
	for volume, claim := range used(pod) {
		path := d.Path(pod.Namespace, claim)
		var st unix.Statfs_t
		if path == "" || unix.Statfs(path, &st) != nil {
			continue
		}
		size := uint64(st.Bsize)
		total, free, taken := st.Blocks*size, st.Bavail*size, (st.Blocks-st.Bfree)*size
		files, filesFree := st.Files, st.Ffree
		filesUsed := files - filesFree
		out = append(out, statsv1.VolumeStats{
			Name: volume, PVCRef: &statsv1.PVCReference{Namespace: pod.Namespace, Name: claim},
			FsStats: statsv1.FsStats{Time: metav1.Now(), CapacityBytes: &total, AvailableBytes: &free, UsedBytes: &taken, Inodes: &files, InodesFree: &filesFree, InodesUsed: &filesUsed},
		})
	}
	return out
}

// isFull says that a volume has less than 1 % of its files or bytes left. ext4 keeps some blocks for itself that it counts as free, which is more of a small volume.
func isFull(s *statsv1.FsStats) bool {
	const share, kept = 100, 16 << 20
	left := max(*s.CapacityBytes/share, min(*s.CapacityBytes/10, kept))
	return *s.AvailableBytes <= left || *s.Inodes > 0 && *s.InodesFree <= *s.Inodes/share
}

// lookWhetherFull tells once of each volume that has become full.
func (d *Disks) lookWhetherFull() {
	seen := map[string]bool{}
	for _, pod := range d.Pods() {
		for _, s := range d.Stats(pod) {
			key := s.PVCRef.Namespace + "/" + s.PVCRef.Name
			if seen[key] {
				continue
			}
			seen[key] = true
			full := isFull(&s.FsStats)
			d.mu.Lock()
			news := full && !d.full[key]
			d.full[key] = full
			d.mu.Unlock()
			if news {
				d.Events.Eventf(pod, corev1.EventTypeWarning, reasonFull, "volume %s (claim %s) is full: %s of %s and %d of %d files are left; delete something, or ask for more in the claim's spec.resources.requests.storage",
					s.Name, s.PVCRef.Name, size(*s.AvailableBytes), size(*s.CapacityBytes), *s.InodesFree, *s.Inodes)
			}
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for key := range d.paths {
		if !seen[key] {
			delete(d.paths, key) // no Pod uses it any more
			delete(d.full, key)
			delete(d.holders, key)
		}
	}
}

func size(bytes uint64) string { return resource.NewQuantity(int64(bytes), resource.BinarySI).String() }

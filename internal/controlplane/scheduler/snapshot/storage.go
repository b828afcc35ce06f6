package snapshot

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/pv"
)

// storage is what is known of volumes.
type storage struct {
	claims  map[string]*corev1.PersistentVolumeClaim // by namespace/name
	volumes map[string]*corev1.PersistentVolume
	classes map[string]*storagev1.StorageClass
	drivers map[string]*storagev1.CSINode // by node
	makers  map[string]*storagev1.CSIDriver
	room    map[string]map[string]room // by class, and namespace/name of who says so
	taken   map[string]string          // volumes that were chosen for a claim, by the scheduler, and the claim
	users   map[string]int             // how many placed Pods use a claim
}

// room is what a CSIStorageCapacity says: how large a volume can be made, for which nodes.
type room struct {
	at      labels.Selector
	largest int64 // bytes
}

func newStorage() storage {
	return storage{
		claims: map[string]*corev1.PersistentVolumeClaim{}, volumes: map[string]*corev1.PersistentVolume{}, classes: map[string]*storagev1.StorageClass{},
		drivers: map[string]*storagev1.CSINode{}, makers: map[string]*storagev1.CSIDriver{}, room: map[string]map[string]room{}, taken: map[string]string{}, users: map[string]int{},
	}
}

// Claim is a PersistentVolumeClaim that a Pod mounts.
type Claim struct {
	Name      string // namespace/name
	Ephemeral bool   // made for the Pod and with it (generic ephemeral volume)
}

func claimsOf(pod *corev1.Pod) []Claim {
	var out []Claim
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		switch {
		case v.PersistentVolumeClaim != nil:
			out = append(out, Claim{Name: pod.Namespace + "/" + v.PersistentVolumeClaim.ClaimName})
		case v.Ephemeral != nil:
			out = append(out, Claim{Name: pod.Namespace + "/" + pod.Name + "-" + v.Name, Ephemeral: true})
		}
	}
	return out
}

// SetClaim takes in a PersistentVolumeClaim, new or changed.
func (s *Snapshot) SetClaim(c *corev1.PersistentVolumeClaim) {
	s.storage.claims[c.Namespace+"/"+c.Name] = c
}

// RemoveClaim takes a PersistentVolumeClaim out.
func (s *Snapshot) RemoveClaim(name string) { delete(s.storage.claims, name) }

// Claim returns a PersistentVolumeClaim by namespace/name, or nil.
func (s *Snapshot) Claim(name string) *corev1.PersistentVolumeClaim { return s.storage.claims[name] }

// ClaimUsers is how many placed Pods use a claim.
func (s *Snapshot) ClaimUsers(name string) int { return s.storage.users[name] }

// SetVolume takes in a PersistentVolume, new or changed.
func (s *Snapshot) SetVolume(v *corev1.PersistentVolume) {
	s.storage.volumes[v.Name] = v
	if v.Spec.ClaimRef != nil {
		delete(s.storage.taken, v.Name) // it says so itself now
	}
}

// RemoveVolume takes a PersistentVolume out.
func (s *Snapshot) RemoveVolume(name string) {
	delete(s.storage.volumes, name)
	delete(s.storage.taken, name)
}

// Volume returns a PersistentVolume by name, or nil.
func (s *Snapshot) Volume(name string) *corev1.PersistentVolume { return s.storage.volumes[name] }

// TakeVolume keeps a volume for a claim, from when that was decided until the volume says so itself.
func (s *Snapshot) TakeVolume(name, claim string) { s.storage.taken[name] = claim }

// ReleaseVolume undoes TakeVolume.
func (s *Snapshot) ReleaseVolume(name string) { delete(s.storage.taken, name) }

// Volumes are the PersistentVolumes of a storage class that are not kept for another claim, in the order of their names.
func (s *Snapshot) Volumes(class, claim string) []*corev1.PersistentVolume {
	var out []*corev1.PersistentVolume
	for _, name := range slices.Sorted(maps.Keys(s.storage.volumes)) {
		v := s.storage.volumes[name]
		if by, ok := s.storage.taken[name]; volume.GetPersistentVolumeClass(v) == class && (!ok || by == claim) {
			out = append(out, v)
		}
	}
	return out
}

// SetClass takes in a StorageClass, new or changed.
func (s *Snapshot) SetClass(c *storagev1.StorageClass) { s.storage.classes[c.Name] = c }

// RemoveClass takes a StorageClass out.
func (s *Snapshot) RemoveClass(name string) { delete(s.storage.classes, name) }

// Class returns a StorageClass by name, or nil.
func (s *Snapshot) Class(name string) *storagev1.StorageClass { return s.storage.classes[name] }

// SetDrivers takes in a CSINode: the storage drivers of the node of its name.
func (s *Snapshot) SetDrivers(d *storagev1.CSINode) { s.storage.drivers[d.Name] = d }

// RemoveDrivers takes a CSINode out.
func (s *Snapshot) RemoveDrivers(node string) { delete(s.storage.drivers, node) }

// AttachLimit is how many volumes of a driver can be attached to a node, and false if nothing says so.
func (s *Snapshot) AttachLimit(node, driver string) (int, bool) {
	d := s.storage.drivers[node]
	if d == nil {
		return 0, false
	}
	for i := range d.Spec.Drivers {
		if a := d.Spec.Drivers[i].Allocatable; d.Spec.Drivers[i].Name == driver && a != nil && a.Count != nil {
			return int(*a.Count), true
		}
	}
	return 0, false
}

// SetDriver takes in a CSIDriver, new or changed.
func (s *Snapshot) SetDriver(d *storagev1.CSIDriver) { s.storage.makers[d.Name] = d }

// RemoveDriver takes a CSIDriver out.
func (s *Snapshot) RemoveDriver(name string) { delete(s.storage.makers, name) }

// TellsCapacity says whether a provisioner publishes how much storage it has left: the built-in one does, others say so (spec.storageCapacity of the CSIDriver).
func (s *Snapshot) TellsCapacity(driver string) bool {
	if driver == pv.Provisioner {
		return true
	}
	d := s.storage.makers[driver]
	return d != nil && d.Spec.StorageCapacity != nil && *d.Spec.StorageCapacity
}

// SetCapacity takes in a CSIStorageCapacity, new or changed.
func (s *Snapshot) SetCapacity(c *storagev1.CSIStorageCapacity) {
	s.RemoveCapacity(c)
	size := c.Capacity
	if c.MaximumVolumeSize != nil {
		size = c.MaximumVolumeSize
	}
	at, err := metav1.LabelSelectorAsSelector(c.NodeTopology) // of none: no node reaches it
	if size == nil || err != nil {
		return // it says nothing
	}
	of := s.storage.room[c.StorageClassName]
	if of == nil {
		of = map[string]room{}
		s.storage.room[c.StorageClassName] = of
	}
	of[c.Namespace+"/"+c.Name] = room{at, size.Value()}
}

// RemoveCapacity takes a CSIStorageCapacity out.
func (s *Snapshot) RemoveCapacity(c *storagev1.CSIStorageCapacity) {
	delete(s.storage.room[c.StorageClassName], c.Namespace+"/"+c.Name)
}

// LargestVolume is the size in bytes of the largest volume of a class that can be made for a node, as far as it is published, and false if nothing is.
func (s *Snapshot) LargestVolume(class string, n *Node) (largest int64, ok bool) {
	for _, r := range s.storage.room[class] {
		if r.at.Matches(labels.Set(n.Labels)) {
			largest, ok = max(largest, r.largest), true
		}
	}
	return largest, ok
}

// use counts the claims of a placed Pod, times 1 or -1.
func (s *Snapshot) use(p *Pod, times int) {
	for _, c := range p.Claims {
		if s.storage.users[c.Name] += times; s.storage.users[c.Name] == 0 {
			delete(s.storage.users, c.Name)
		}
	}
}

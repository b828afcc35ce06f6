package snapshot

import (
	"fmt"
	"maps"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/dynamic-resource-allocation/cel"
	"k8s.io/dynamic-resource-allocation/structured"
)

// devices is what is known of devices that drivers publish (KEP-4381).
type devices struct {
	claims  map[string]*resourcev1.ResourceClaim // by namespace/name
	slices  map[string]*resourcev1.ResourceSlice
	classes map[string]*resourcev1.DeviceClass
	// chosen is what was decided for claims and is not yet in what the API server says of them.
	chosen map[string]*resourcev1.AllocationResult
	cel    *cel.Cache
}

// compiled is how many expressions of selectors are kept compiled.
const compiled = 256

func newDevices() devices {
	return devices{
		claims: map[string]*resourcev1.ResourceClaim{}, slices: map[string]*resourcev1.ResourceSlice{}, classes: map[string]*resourcev1.DeviceClass{},
		chosen: map[string]*resourcev1.AllocationResult{}, cel: cel.NewCache(compiled, cel.Features{}),
	}
}

// SetDeviceClaim takes in a ResourceClaim, new or changed. One that is older than what is known of the same claim is passed over: a watch is later than the answer
// to a write.
func (s *Snapshot) SetDeviceClaim(c *resourcev1.ResourceClaim) {
	name := c.Namespace + "/" + c.Name
	known := s.devices.claims[name]
	if known != nil && known.UID == c.UID {
		if order, err := resourceversion.CompareResourceVersion(known.ResourceVersion, c.ResourceVersion); err == nil && order > 0 {
			return
		}
	}
	s.devices.claims[name] = c
	if c.Status.Allocation != nil || known != nil && known.UID != c.UID {
		delete(s.devices.chosen, name) // it says so itself now, or is another of that name
	}
}

// WroteDeviceClaim takes in a ResourceClaim as the API server returned it, unless it is gone by now.
func (s *Snapshot) WroteDeviceClaim(c *resourcev1.ResourceClaim) {
	if known := s.DeviceClaim(c.Namespace + "/" + c.Name); known != nil && known.UID == c.UID {
		s.SetDeviceClaim(c)
	}
}

// RemoveDeviceClaim takes a ResourceClaim out.
func (s *Snapshot) RemoveDeviceClaim(name string) {
	delete(s.devices.claims, name)
	delete(s.devices.chosen, name)
}

// DeviceClaim returns a ResourceClaim by namespace/name, or nil.
func (s *Snapshot) DeviceClaim(name string) *resourcev1.ResourceClaim { return s.devices.claims[name] }

// Allocation is what a claim has been given, also if the API server does not know yet; nil if it has not been.
func (s *Snapshot) Allocation(c *resourcev1.ResourceClaim) *resourcev1.AllocationResult {
	if a := s.devices.chosen[c.Namespace+"/"+c.Name]; a != nil {
		return a
	}
	return c.Status.Allocation
}

// Allocate notes what was chosen for a claim, from when that was decided until the claim says so itself.
func (s *Snapshot) Allocate(claim string, a *resourcev1.AllocationResult) {
	s.devices.chosen[claim] = a
}

// Deallocate undoes Allocate, if nothing else has been chosen for the claim since.
func (s *Snapshot) Deallocate(claim string, a *resourcev1.AllocationResult) {
	if s.devices.chosen[claim] == a {
		delete(s.devices.chosen, claim)
	}
}

// SetSlice takes in a ResourceSlice: devices of a driver.
func (s *Snapshot) SetSlice(r *resourcev1.ResourceSlice) { s.devices.slices[r.Name] = r }

// RemoveSlice takes a ResourceSlice out.
func (s *Snapshot) RemoveSlice(name string) { delete(s.devices.slices, name) }

// SetDeviceClass takes in a DeviceClass, new or changed.
func (s *Snapshot) SetDeviceClass(c *resourcev1.DeviceClass) { s.devices.classes[c.Name] = c }

// RemoveDeviceClass takes a DeviceClass out.
func (s *Snapshot) RemoveDeviceClass(name string) { delete(s.devices.classes, name) }

// DeviceClasses are those that there are, as the allocator asks for them.
func (s *Snapshot) DeviceClasses() structured.DeviceClassLister {
	return classLister(s.devices.classes)
}

type classLister map[string]*resourcev1.DeviceClass

func (l classLister) List() ([]*resourcev1.DeviceClass, error) {
	return slices.Collect(maps.Values(l)), nil
}

func (l classLister) Get(name string) (*resourcev1.DeviceClass, error) {
	if c := l[name]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("DeviceClass %q is not there", name)
}

// Slices are all devices that drivers publish, in the order of the slices' names.
func (s *Snapshot) Slices() []*resourcev1.ResourceSlice {
	out := make([]*resourcev1.ResourceSlice, 0, len(s.devices.slices))
	for _, name := range slices.Sorted(maps.Keys(s.devices.slices)) {
		out = append(out, s.devices.slices[name])
	}
	return out
}

// Expressions keeps what selectors say compiled.
func (s *Snapshot) Expressions() *cel.Cache { return s.devices.cel }

// DevicesTaken are the devices that claims have been given, but for those that are only watched (adminAccess).
func (s *Snapshot) DevicesTaken() sets.Set[structured.DeviceID] {
	out := sets.New[structured.DeviceID]()
	for _, c := range s.devices.claims {
		a := s.Allocation(c)
		if a == nil {
			continue
		}
		for _, r := range a.Devices.Results {
			if r.AdminAccess == nil || !*r.AdminAccess {
				out.Insert(structured.MakeDeviceID(r.Driver, r.Pool, r.Device))
			}
		}
	}
	return out
}

package devices

import (
	"maps"
	"slices"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Device is one of a resource, as others are told of it.
type Device struct {
	Resource v1.ResourceName
	ID       string
	Nodes    []int64 // of memory (NUMA) that it is close to
	Health   v1.ResourceHealthStatus
}

// Of are the devices of a Pod's container, by resource and ID.
func (d *Devices) Of(uid types.UID, container string) []Device {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.held[uid]
	if r == nil {
		return nil
	}
	var out []Device
	of := r.Assigned[container]
	for _, name := range slices.Sorted(maps.Keys(of)) {
		for _, id := range slices.Sorted(slices.Values(of[name])) {
			out = append(out, d.show(name, id))
		}
	}
	return out
}

// Healthy are those that Pods can have or do have, of the plugins that are there.
func (d *Devices) Healthy() []Device {
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var out []Device
	for _, name := range slices.Sorted(maps.Keys(d.kept)) {
		for _, id := range slices.Sorted(maps.Keys(d.kept[name].devices)) {
			if one := d.show(name, id); one.Health == v1.ResourceHealthStatusHealthy {
				out = append(out, one)
			}
		}
	}
	return out
}

// show tells of a device. While its plugin is not there, or does not speak of it, nobody knows how it is; d.mu is held.
func (d *Devices) show(name v1.ResourceName, id string) Device {
	out := Device{Resource: name, ID: id, Health: v1.ResourceHealthStatusUnknown}
	k := d.kept[name]
	if k == nil {
		return out
	}
	said, ok := k.devices[id]
	out.Nodes = said.nodes
	switch {
	case !ok || k.plugin == nil:
	case said.healthy:
		out.Health = v1.ResourceHealthStatusHealthy
	default:
		out.Health = v1.ResourceHealthStatusUnhealthy
	}
	return out
}

// Health is how the devices of a Pod's container are, as its status tells it (KEP-4680).
func (d *Devices) Health(uid types.UID, container string) []v1.ResourceStatus {
	var out []v1.ResourceStatus
	for _, one := range d.Of(uid, container) {
		if len(out) == 0 || out[len(out)-1].Name != one.Resource {
			out = append(out, v1.ResourceStatus{Name: one.Resource})
		}
		last := &out[len(out)-1]
		last.Resources = append(last.Resources, v1.ResourceHealth{ResourceID: v1.ResourceID(one.ID), Health: one.Health})
	}
	return out
}

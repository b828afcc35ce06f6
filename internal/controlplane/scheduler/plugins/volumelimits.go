package plugins

import (
	"fmt"
	"maps"
	"slices"

	"k8s.io/component-helpers/storage/volume"

	"github.com/gitopsd/gitopsd/internal/controlplane/scheduler/snapshot"
)

// VolumeLimits turns away from nodes to which no more volumes of a storage driver can be attached (CSINode spec.drivers.allocatable).
type VolumeLimits struct{}

var _ Filter = VolumeLimits{}

// Name is the filter's name.
func (VolumeLimits) Name() string { return "NodeVolumeLimits" }

// Prepare applies to Pods with volumes of a driver.
func (VolumeLimits) Prepare(pod *snapshot.Pod, s *snapshot.Snapshot) Check {
	if len(pod.Claims) == 0 {
		return nil
	}
	want := attachments{}
	want.add(pod, s)
	if len(want) == 0 {
		return nil
	}
	return limitsCheck{s, want}
}

// Concerns are what detaches volumes or raises limits.
func (VolumeLimits) Concerns() Change { return Added | PodGone | Storage | Claims }

// Helped by a Pod with volumes that goes, and by whatever changes limits and volumes.
func (VolumeLimits) Helped(_ *snapshot.Pod, e Event) bool {
	return e.Change&PodGone == 0 || len(e.Pod.Claims) > 0
}

// attachments are the volumes of each driver: those that exist by their handle, the others by their claim.
type attachments map[string]map[string]bool

func (a attachments) add(pod *snapshot.Pod, s *snapshot.Snapshot) {
	for _, k := range pod.Claims {
		claim := s.Claim(k.Name)
		if claim == nil {
			continue
		}
		driver, handle := "", k.Name
		if v := s.Volume(claim.Spec.VolumeName); v != nil {
			if v.Spec.CSI == nil {
				continue
			}
			driver, handle = v.Spec.CSI.Driver, v.Spec.CSI.VolumeHandle
		} else if class := s.Class(volume.GetPersistentVolumeClaimClass(claim)); class != nil {
			driver = class.Provisioner
		}
		if driver == "" || driver == NoProvisioner {
			continue
		}
		if a[driver] == nil {
			a[driver] = map[string]bool{}
		}
		a[driver][handle] = true
	}
}

type limitsCheck struct {
	s    *snapshot.Snapshot
	want attachments
}

// over says what a driver would have to attach, and may, for each driver that could not.
func (c limitsCheck) over(n *snapshot.Node, f func(driver string, attached, more, limit int)) {
	var there attachments
	for _, driver := range slices.Sorted(maps.Keys(c.want)) {
		limit, ok := c.s.AttachLimit(n.Name(), driver)
		if !ok {
			continue
		}
		if there == nil {
			there = attachments{}
			for _, p := range n.Pods {
				there.add(p, c.s)
			}
		}
		more := 0
		for handle := range c.want[driver] {
			if !there[driver][handle] {
				more++
			}
		}
		if attached := len(there[driver]); more > 0 && attached+more > limit {
			f(driver, attached, more, limit)
		}
	}
}

func (c limitsCheck) Passes(n *snapshot.Node) bool {
	ok := true
	c.over(n, func(string, int, int, int) { ok = false })
	return ok
}

func (limitsCheck) Explain(*snapshot.Node) []string {
	return []string{"node(s) exceed max volume count"}
}

func (c limitsCheck) Remedies(n *snapshot.Node) []string {
	var out []string
	c.over(n, func(driver string, attached, more, limit int) {
		out = append(out, fmt.Sprintf("driver %s has %d volumes attached and can have %d, the Pod needs %d more", driver, attached, limit, more))
	})
	return out
}

// Lasting where the Pod alone is too much.
func (c limitsCheck) Lasting(n *snapshot.Node) bool {
	lasting := false
	c.over(n, func(driver string, _, _, limit int) { lasting = lasting || len(c.want[driver]) > limit })
	return lasting
}

package lifecycle

import (
	"errors"

	v1 "k8s.io/api/core/v1"
)

// RecursiveReadOnly says whether a mount is to be read-only with everything mounted below it (KEP-3857). supported says that the node can do that.
func RecursiveReadOnly(m *v1.VolumeMount, supported bool) (bool, error) {
	if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly == v1.RecursiveReadOnlyDisabled {
		return false, nil
	}
	switch {
	case !m.ReadOnly:
		return false, errors.New("recursiveReadOnly: is for mounts with readOnly: true")
	case m.MountPropagation != nil && *m.MountPropagation != v1.MountPropagationNone:
		return false, errors.New("recursiveReadOnly: is for mounts without propagation; leave mountPropagation out or say None")
	case !supported && *m.RecursiveReadOnly == v1.RecursiveReadOnlyEnabled:
		return false, errors.New("recursiveReadOnly: Enabled: this node cannot mount so (it takes Linux 5.12 and runc 1.1, or what the Pod's RuntimeClass runs does not know of it); say IfPossible, or have the Pod run elsewhere")
	}
	return supported, nil
}

// volumeMounts reports how a container's volumes are mounted. What image a volume shows is known anew only where one was made; before is what was reported.
func (p *plan) volumeMounts(c *v1.Container, before *v1.ContainerStatus) []v1.VolumeMountStatus {
	var out []v1.VolumeMountStatus
	for i := range c.VolumeMounts {
		m := &c.VolumeMounts[i]
		s := v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			if on, err := RecursiveReadOnly(m, p.RecursiveReadOnly); err == nil && on {
				mode = v1.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		if id := p.ImageVolumes[m.Name]; id != "" {
			s.VolumeStatus = &v1.VolumeStatus{Image: &v1.ImageVolumeStatus{ImageRef: id}}
		} else if before != nil && i < len(before.VolumeMounts) && before.VolumeMounts[i].Name == m.Name {
			s.VolumeStatus = before.VolumeMounts[i].VolumeStatus
		}
		out = append(out, s)
	}
	return out
}

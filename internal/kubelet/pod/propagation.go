package pod

import (
	"fmt"

	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/mounts"
)

// passOn sees to it that what a container mounts, or sees mounted, in its volumes is passed on as it asks (mountPropagation). The Pod's own volumes are shared for it. Other directories of
// the host are passed on only where the host itself shares what they are in; where it does not, the container runs without, and an event says so.
func (w *worker) passOn(in orderInput) error {
	for i := range in.container.VolumeMounts {
		m := &in.container.VolumeMounts[i]
		v, ok := in.sandbox.Volumes[m.Name]
		if !ok || v.Block || propagation(m.MountPropagation) == private {
			continue
		}
		if mounts.Within(in.sandbox.Dir, v.Path) {
			if err := mounts.Share(v.Path); err != nil {
				return fmt.Errorf("mount %s: %w", m.MountPath, err)
			}
			continue
		}
		on, err := mounts.Of(v.Path)
		if err != nil {
			return fmt.Errorf("mount %s: %w", m.MountPath, err)
		}
		if !on.Shared && !(on.Receives && propagation(m.MountPropagation) == slave) {
			w.tell(func() {
				w.event(in.container.Name, v1.EventTypeWarning, "MountPropagation", "mountPropagation %s of volume %q has no effect: %s is in the mount %s, which the host does not share; `mount --make-rshared %s` on the node makes it, for containers that start then",
					*m.MountPropagation, m.Name, v.Path, on.Path, on.Path)
			})
		}
	}
	return nil
}

// Options of a mount that say with whom it shares what is mounted in it (mount(8)).
const (
	private = "rprivate"
	slave   = "rslave"
	shared  = "rshared"
)

func propagation(p *v1.MountPropagationMode) string {
	if p != nil {
		switch *p {
		case v1.MountPropagationHostToContainer:
			return slave
		case v1.MountPropagationBidirectional:
			return shared
		}
	}
	return private
}

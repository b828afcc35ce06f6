package pod

import (
	v1 "k8s.io/api/core/v1"

	"github.com/gitopsd/gitopsd/internal/kubelet/lifecycle"
)

// anew marks all attempts, none of which runs, to be started anew: the container by asked for it.
func (w *worker) anew(by string) {
	w.event(by, v1.EventTypeNormal, "RestartAllContainers", "Container %s asked for all containers of the Pod to be restarted", by)
	for name, c := range w.containers {
		if c.Phase != lifecycle.Exited || w.guest(name) != nil {
			continue
		}
		marked := *c.End
		marked.Anew = true
		c.End = &marked
		w.record.ended(name, &marked)
	}
	w.keepRecord()
}

package pod

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The API has one Pod of a name at a time, and its users count on it: one of a StatefulSet takes for granted that nobody else writes to its volume. A node may have two for a
// while: of one that was deleted by force the API knows nothing any more while its containers still end, and a control plane that was restored knows an earlier one than
// that which runs. So the later to come waits until the other has left nothing but its record.

// waits says whether the Pod has to wait for another of its name, and tells its user so once.
func (w *worker) waits() bool {
	if w.prepared || w.setupBusy || w.tornDown || w.anyLive() || w.pod.DeletionTimestamp != nil {
		return false
	}
	other := w.room.namesake(w)
	if other != "" && !w.waited {
		w.waited = true
		w.event("", v1.EventTypeNormal, "WaitingForPredecessor", "a Pod of this name (UID %s) is still on this node; this one is started when that has ended", other)
	}
	return other != ""
}

// namesake is another Pod of a worker's name of which something is left; empty if there is none.
func (s share) namesake(w *worker) types.UID {
	s.set.mu.Lock()
	defer s.set.mu.Unlock()
	for uid, other := range s.set.workers {
		if other != w && other.name == w.name && !other.down.Load() {
			return uid
		}
	}
	return ""
}

// wake has Pods of the same name as w's look whether they still have to wait. s.mu is held.
func (s *Set) wake(w *worker) {
	for _, other := range s.workers {
		if other != w && other.name == w.name {
			other.tell(func() {})
		}
	}
}

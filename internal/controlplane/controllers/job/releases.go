package job

import (
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
)

// releases holds, per Job, the Pods whose finalizer this controller took off and the cache may not show without it yet. The zero value is ready to use. It may
// be lost: after a restart the caches are read anew and show everything.
type releases struct {
	mu   sync.Mutex
	jobs map[types.UID]sets.Set[types.UID]
}

// done notes that a Pod's finalizer is off.
func (r *releases) done(job, pod types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.jobs == nil {
		r.jobs = map[types.UID]sets.Set[types.UID]{}
	}
	if r.jobs[job] == nil {
		r.jobs[job] = sets.New[types.UID]()
	}
	r.jobs[job].Insert(pod)
}

// unseen returns the Pods whose finalizer is off and still shown by the cache, whose Pods these are.
func (r *releases) unseen(job types.UID, pods []*corev1.Pod) sets.Set[types.UID] {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.jobs[job]) == 0 {
		return nil
	}
	still := sets.New[types.UID]()
	for _, p := range pods {
		if tracked(p) && r.jobs[job].Has(p.UID) {
			still.Insert(p.UID)
		}
	}
	r.jobs[job] = still
	return still.Clone()
}

func (r *releases) forget(job types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.jobs, job)
}

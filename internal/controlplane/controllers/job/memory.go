package job

import (
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
)

// memory holds, per Job, the writes of this controller that the caches may not show yet, other than the ledger's. The zero value is ready to use. It may be
// lost: after a restart the caches are read anew and show everything.
type memory struct {
	mu   sync.Mutex
	jobs map[types.UID]*recent
}

type recent struct {
	version  string              // of the status written last
	released sets.Set[types.UID] // Pods whose finalizer is off
}

func (m *memory) of(job types.UID) *recent {
	r := m.jobs[job]
	if r == nil {
		if m.jobs == nil {
			m.jobs = map[types.UID]*recent{}
		}
		r = &recent{released: sets.New[types.UID]()}
		m.jobs[job] = r
	}
	return r
}

// wrote notes the version of a Job's new status.
func (m *memory) wrote(job types.UID, version string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(job).version = version
}

// newer says that a Job has a newer status than this copy of it. A Pod that the newer one names may be gone already: by this copy it would be missing.
func (m *memory) newer(job *batchv1.Job) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.jobs[job.UID]
	if r == nil || r.version == "" || r.version == job.ResourceVersion {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(job.ResourceVersion, r.version)
	return err == nil && c < 0
}

// releasing notes that a Pod's finalizer is off.
func (m *memory) releasing(job, pod types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.of(job).released.Insert(pod)
}

// unseen returns the Pods whose finalizer is off and still shown by the cache, whose Pods these are.
func (m *memory) unseen(job types.UID, pods []*corev1.Pod) sets.Set[types.UID] {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.jobs[job]
	if r == nil || len(r.released) == 0 {
		return nil
	}
	still := sets.New[types.UID]()
	for _, p := range pods {
		if tracked(p) && r.released.Has(p.UID) {
			still.Insert(p.UID)
		}
	}
	r.released = still
	return still.Clone()
}

func (m *memory) forget(job types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.jobs, job)
}

package ledger

import (
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Written remembers at which version this process last wrote each object, so that nothing is decided on an older copy of it. The zero value is ready to use.
// It is safe for concurrent use, and it may be lost: after a restart the caches are read anew.
type Written struct {
	mu       sync.Mutex
	versions map[types.UID]string
}

// Wrote notes the version that a write has led to.
func (w *Written) Wrote(uid types.UID, version string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.versions == nil {
		w.versions = map[types.UID]string{}
	}
	w.versions[uid] = version
}

// NewerThan says that the last write is newer than this copy of the object. A copy whose version cannot be compared counts as old.
func (w *Written) NewerThan(copy metav1.Object) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	version := w.versions[copy.GetUID()]
	return version != "" && !reached(copy.GetResourceVersion(), version)
}

// Forget drops what is known of an object that is gone.
func (w *Written) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.versions, uid)
}

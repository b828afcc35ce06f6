package ledger

import (
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Unseen remembers what a controller has written for an owner and its cache does not show yet, so that nothing is decided about one object on an old copy of
// another. The zero value is ready to use. It is safe for concurrent use, and it may be lost: after a restart the caches are read anew.
type Unseen struct {
	mu     sync.Mutex
	owners map[types.UID]map[string]string // version by name; "" while nobody knows whether the write took effect
}

// Writing notes a write before it is sent.
func (u *Unseen) Writing(owner types.UID, name string) { u.note(owner, name, "") }

// Wrote notes the version that a write has led to, or that was read since.
func (u *Unseen) Wrote(owner types.UID, name, version string) { u.note(owner, name, version) }

func (u *Unseen) note(owner types.UID, name, version string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.owners == nil {
		u.owners = map[types.UID]map[string]string{}
	}
	if u.owners[owner] == nil {
		u.owners[owner] = map[string]string{}
	}
	u.owners[owner][name] = version
}

// Absent notes that there is no object of that name, or that the write was refused.
func (u *Unseen) Absent(owner types.UID, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.owners[owner], name)
}

// Look settles what a cache at version shows by now; find searches the list made of it after version was read. It returns the names that the API server is to be
// asked about, and whether others have still to be shown.
func (u *Unseen) Look(owner types.UID, version string, find func(name string) (metav1.Object, bool)) (ask []string, wait bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for name, written := range u.owners[owner] {
		switch o, seen := find(name); {
		case written == "":
			ask = append(ask, name)
		case reached(version, written) || seen && !older(o.GetResourceVersion(), written):
			delete(u.owners[owner], name)
		default:
			wait = true
		}
	}
	if len(u.owners[owner]) == 0 {
		delete(u.owners, owner)
	}
	slices.Sort(ask)
	return ask, wait
}

// Forget drops what is known of an owner that is gone.
func (u *Unseen) Forget(owner types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.owners, owner)
}

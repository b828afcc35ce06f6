package controllerrevision

import (
	"maps"
	"slices"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// unseen holds revisions as they were last written and the cache may not show them yet, and the names of those of which nobody knows whether they were
// written. It may be lost: after a restart the cache is read anew.
type unseen struct {
	mu     sync.Mutex
	owners map[types.UID]map[string]*appsv1.ControllerRevision
	unsure map[types.UID]string
}

// doubt notes that the answer to a write was lost. At most one write of an owner is under way.
func (u *unseen) doubt(owner types.UID, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.unsure == nil {
		u.unsure = map[types.UID]string{}
	}
	u.unsure[owner] = name
}

// doubtful is the name to ask after, and sure says that it has been.
func (u *unseen) doubtful(owner types.UID) (string, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	name, ok := u.unsure[owner]
	return name, ok
}

func (u *unseen) sure(owner types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.unsure, owner)
}

func (u *unseen) wrote(owner types.UID, r *appsv1.ControllerRevision) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.owners == nil {
		u.owners = map[types.UID]map[string]*appsv1.ControllerRevision{}
	}
	if u.owners[owner] == nil {
		u.owners[owner] = map[string]*appsv1.ControllerRevision{}
	}
	u.owners[owner][r.Name] = r
}

// merge returns what a cache at version shows, with what it does not show yet. What it does show is remembered no longer.
func (u *unseen) merge(owner types.UID, version string, cached []*appsv1.ControllerRevision) []*appsv1.ControllerRevision {
	u.mu.Lock()
	defer u.mu.Unlock()
	late := u.owners[owner]
	if late == nil {
		return cached
	}
	maps.DeleteFunc(late, func(_ string, r *appsv1.ControllerRevision) bool { return reached(version, r.ResourceVersion) })
	for _, r := range cached {
		if l := late[r.Name]; l != nil && (l.UID != r.UID || reached(r.ResourceVersion, l.ResourceVersion)) {
			delete(late, r.Name)
		}
	}
	if len(late) == 0 {
		delete(u.owners, owner)
		return cached
	}
	merged := slices.DeleteFunc(slices.Clone(cached), func(r *appsv1.ControllerRevision) bool { return late[r.Name] != nil })
	return slices.AppendSeq(merged, maps.Values(late))
}

// reached says whether a copy, or a cache, at version has seen the write. Versions that cannot be compared settle nothing.
func reached(version, write string) bool {
	if version == "" || write == "" {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(version, write)
	return err == nil && c >= 0
}

func (u *unseen) gone(owner types.UID, name string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.owners[owner], name)
}

func (u *unseen) forget(owner types.UID) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.owners, owner)
	delete(u.unsure, owner)
}

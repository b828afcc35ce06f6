package ledger

import (
	"sort"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/apimachinery/pkg/util/sets"
)

// Ledger holds the unsettled writes of one controller, by owner. The zero value is ready to use. It is safe for concurrent use.
type Ledger struct {
	mu     sync.Mutex
	owners map[types.UID]*page
}

type page struct {
	creates map[string]*create
	deletes map[types.UID]*remove
}

type create struct {
	version string // resourceVersion of the created object; "" until the API server has answered
	unsure  bool   // the call failed in a way that leaves open whether it took effect
}

type remove struct {
	name   string
	unsure bool
}

// Open is what the cache does not show yet.
type Open struct {
	// Creating counts objects that exist, or are about to, and are not in the cache.
	Creating int
	// Recreate names objects whose creation may or may not have happened: send it again under the same name.
	Recreate []string
	// Deleting holds objects that are in the cache and look alive, but whose deletion has been asked for.
	Deleting sets.Set[types.UID]
	// Redelete are those of Deleting whose deletion may or may not have happened: send it again.
	Redelete []Deletion
}

// Deletion names one object to delete, and only that one: UID tells it from another of the same name.
type Deletion struct {
	Name string
	UID  types.UID
}

func (l *Ledger) page(owner types.UID) *page {
	p := l.owners[owner]
	if p == nil {
		if l.owners == nil {
			l.owners = map[types.UID]*page{}
		}
		p = &page{creates: map[string]*create{}, deletes: map[types.UID]*remove{}}
		l.owners[owner] = p
	}
	return p
}

// Creating notes a create before it is sent, be it for the first time or again.
func (l *Ledger) Creating(owner types.UID, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.page(owner); p.creates[name] == nil {
		p.creates[name] = &create{}
	}
}

// Created notes that the create took effect at that resourceVersion.
func (l *Ledger) Created(owner types.UID, name, version string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.page(owner).creates[name]; c != nil {
		c.version, c.unsure = version, false
	}
}

// CreateRefused notes that the API server refused the create. Of an earlier attempt with the same name that says nothing.
func (l *Ledger) CreateRefused(owner types.UID, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.page(owner); p.creates[name] != nil && !p.creates[name].unsure {
		delete(p.creates, name)
	}
}

// NotCreated notes that there is no such object.
func (l *Ledger) NotCreated(owner types.UID, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.page(owner).creates, name)
}

// CreateUnsure notes that nobody knows whether the create took effect.
func (l *Ledger) CreateUnsure(owner types.UID, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.page(owner).creates[name]; c != nil {
		c.unsure = true
	}
}

// Deleting notes a delete before it is sent, be it for the first time or again. The object must have come from the cache.
func (l *Ledger) Deleting(owner types.UID, d Deletion) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.page(owner); p.deletes[d.UID] == nil {
		p.deletes[d.UID] = &remove{name: d.Name}
	}
}

// Deleted notes that the delete took effect.
func (l *Ledger) Deleted(owner, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.page(owner).deletes[uid]; d != nil {
		d.unsure = false
	}
}

// DeleteRefused notes that the API server refused the delete. Of an earlier attempt that says nothing.
func (l *Ledger) DeleteRefused(owner, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.page(owner); p.deletes[uid] != nil && !p.deletes[uid].unsure {
		delete(p.deletes, uid)
	}
}

// NotDeleted notes that the object is there and is not being deleted.
func (l *Ledger) NotDeleted(owner, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.page(owner).deletes, uid)
}

// DeleteUnsure notes that nobody knows whether the delete took effect.
func (l *Ledger) DeleteUnsure(owner, uid types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if d := l.page(owner).deletes[uid]; d != nil {
		d.unsure = true
	}
}

// Forget drops everything about an owner that no longer exists.
func (l *Ledger) Forget(owner types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.owners, owner)
}

// Look settles what the cache shows by now and returns what it does not. The caller first reads version, the cache's own
// resourceVersion ("" where it has none), then lists its objects, then calls Look with a find that searches that list: were find to
// ask the living cache, an object that arrived after the list was made would be counted neither as listed nor as being created.
func (l *Ledger) Look(owner types.UID, version string, find func(name string) (metav1.Object, bool)) Open {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.owners[owner]
	if p == nil {
		return Open{}
	}
	var open Open
	for name, c := range p.creates {
		// One of that name that is older than what was created is an earlier one, which somebody has removed in between.
		if o, seen := find(name); reached(version, c.version) || seen && !older(o.GetResourceVersion(), c.version) {
			delete(p.creates, name)
			continue
		}
		open.Creating++
		if c.unsure {
			open.Recreate = append(open.Recreate, name)
		}
	}
	for uid, d := range p.deletes {
		if o, ok := find(d.name); !ok || o.GetUID() != uid || o.GetDeletionTimestamp() != nil {
			delete(p.deletes, uid)
			continue
		}
		if open.Deleting == nil {
			open.Deleting = sets.New[types.UID]()
		}
		open.Deleting.Insert(uid)
		if d.unsure {
			open.Redelete = append(open.Redelete, Deletion{Name: d.name, UID: uid})
		}
	}
	if len(p.creates) == 0 && len(p.deletes) == 0 {
		delete(l.owners, owner)
	}
	sort.Strings(open.Recreate)
	sort.Slice(open.Redelete, func(i, j int) bool { return open.Redelete[i].Name < open.Redelete[j].Name })
	return open
}

// older says that an object is of a version before the write. What cannot be compared is not.
func older(object, write string) bool {
	if object == "" || write == "" {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(object, write)
	return err == nil && c < 0
}

// reached says whether a cache at version has seen the write. Versions that cannot be compared settle nothing.
func reached(cache, write string) bool {
	if cache == "" || write == "" {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(cache, write)
	return err == nil && c >= 0
}

package controllerrevision

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claim"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
)

// History reads and writes the revisions of all owners of one controller. It is safe for concurrent use for different owners.
type History struct {
	client       kubernetes.Interface
	informer     cache.SharedIndexInformer
	revisions    cache.Indexer
	fieldManager string
	unseen       unseen
}

// New makes the histories of one controller, which writes as fieldManager.
func New(client kubernetes.Interface, f informers.SharedInformerFactory, fieldManager string) *History {
	inf := f.Apps().V1().ControllerRevisions().Informer()
	index.AddController(inf)
	return &History{client: client, informer: inf, revisions: inf.GetIndexer(), fieldManager: fieldManager}
}

// NewWithCache makes histories that read from a cache of the caller's, for tests of late caches. The cache has package index's index of controllers.
func NewWithCache(client kubernetes.Interface, revisions cache.Indexer, fieldManager string) *History {
	return &History{client: client, revisions: revisions, fieldManager: fieldManager}
}

// Informer is that of ControllerRevisions, to listen on.
func (h *History) Informer() cache.SharedIndexInformer { return h.informer }

// List returns the owner's revisions, the oldest first, once it has adopted what its selector matches and nobody owns, and released what matches no more.
// live reads the owner from the API server.
func (h *History) List(ctx context.Context, o Owner, live func(context.Context) (metav1.Object, error)) ([]*appsv1.ControllerRevision, error) {
	if err := h.verify(ctx, o); err != nil {
		return nil, err
	}
	version := h.revisions.LastStoreSyncResourceVersion() // read before listing, so that the list is no older
	cached := append(index.ControlledBy[*appsv1.ControllerRevision](h.revisions, o.Object.GetUID()),
		index.Orphans[*appsv1.ControllerRevision](h.revisions, o.Object.GetNamespace())...)
	candidates := h.unseen.merge(o.Object.GetUID(), version, cached)
	own, err := claim.Settle(ctx, o.Object, o.Kind, claim.Sort(o.Object, o.Selector, candidates), live,
		func(ctx context.Context, name string, patch []byte) (*appsv1.ControllerRevision, error) {
			got, err := h.client.AppsV1().ControllerRevisions(o.Object.GetNamespace()).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: h.fieldManager})
			if err == nil {
				h.unseen.wrote(o.Object.GetUID(), got)
			}
			return got, err
		})
	if err != nil {
		return nil, err
	}
	own = slices.DeleteFunc(slices.Clone(own), func(r *appsv1.ControllerRevision) bool { return r.DeletionTimestamp != nil })
	Sort(own)
	return own, nil
}

// verify asks the API server what became of a write whose answer was lost: its number may be taken.
func (h *History) verify(ctx context.Context, o Owner) error {
	name, ok := h.unseen.doubtful(o.Object.GetUID())
	if !ok {
		return nil
	}
	got, err := h.client.AppsV1().ControllerRevisions(o.Object.GetNamespace()).Get(ctx, name, metav1.GetOptions{})
	switch {
	case err == nil && metav1.IsControlledBy(got, o.Object):
		h.unseen.wrote(o.Object.GetUID(), got)
	case err != nil && !apierrors.IsNotFound(err):
		return fmt.Errorf("%v: reading ControllerRevision %s: %w", o, name, err)
	}
	h.unseen.sure(o.Object.GetUID())
	return nil
}

// failed notes the name of a revision that may have been written all the same.
func (h *History) failed(o Owner, name string, err error) {
	if !ledger.Refused(err) {
		h.unseen.doubt(o.Object.GetUID(), name)
	}
}

// Recorded is a history that has a revision of the template now.
type Recorded struct {
	Revision *appsv1.ControllerRevision
	// All are the owner's revisions, the oldest first and Revision last.
	All []*appsv1.ControllerRevision
	// Collisions is what status.collisionCount is to be.
	Collisions *int32
}

// Record finds the revision of the owner's template among its own, gives it the highest number if the owner was rolled back to it, or makes it.
func (h *History) Record(ctx context.Context, o Owner, own []*appsv1.ControllerRevision) (Recorded, error) {
	got := Recorded{All: own, Collisions: o.Collisions}
	step := Decide(o.Template, own)
	var err error
	switch {
	case step.Found != nil:
		got.Revision = step.Found
		return got, nil
	case step.Return != nil:
		got.Revision, err = h.renumber(ctx, o, step.Return, step.Number)
	default:
		got.Revision, got.Collisions, err = h.create(ctx, o, step.Number)
	}
	if err != nil {
		return Recorded{}, err
	}
	got.All = slices.DeleteFunc(slices.Clone(own), func(r *appsv1.ControllerRevision) bool { return r.Name == got.Revision.Name })
	got.All = append(got.All, got.Revision)
	Sort(got.All)
	return got, nil
}

func (h *History) renumber(ctx context.Context, o Owner, r *appsv1.ControllerRevision, number int64) (*appsv1.ControllerRevision, error) {
	next := r.DeepCopy()
	next.Revision = number
	got, err := h.client.AppsV1().ControllerRevisions(r.Namespace).Update(ctx, next, metav1.UpdateOptions{FieldManager: h.fieldManager})
	if err != nil {
		h.failed(o, r.Name, err)
		return nil, fmt.Errorf("%v: making ControllerRevision %s number %d, since its template is back: %w", o, r.Name, number, err)
	}
	h.unseen.wrote(o.Object.GetUID(), got)
	return got, nil
}

// create makes the revision. Where its name is taken by another template, the collision count leads to another name.
func (h *History) create(ctx context.Context, o Owner, number int64) (*appsv1.ControllerRevision, *int32, error) {
	data, collisions := Data(o.Template), ptr.Deref(o.Collisions, 0)
	client := h.client.AppsV1().ControllerRevisions(o.Object.GetNamespace())
	for {
		want := newRevision(o, data, number, collisions)
		got, err := client.Create(ctx, want, metav1.CreateOptions{FieldManager: h.fieldManager})
		if apierrors.IsAlreadyExists(err) {
			got, err = client.Get(ctx, want.Name, metav1.GetOptions{})
			if err == nil && !bytes.Equal(got.Data.Raw, data) {
				collisions++
				continue
			}
			if err == nil && (!metav1.IsControlledBy(got, o.Object) || got.DeletionTimestamp != nil) {
				// An orphan that will be adopted when the cache shows it, or what an owner of the same name has left and the garbage collector will take:
				// either way an event decides.
				return nil, nil, fmt.Errorf("%v: ControllerRevision %s exists and is not its own; waiting for it to be orphaned, adopted or deleted", o, want.Name)
			}
		}
		if err != nil {
			h.failed(o, want.Name, err)
			return nil, nil, fmt.Errorf("%v: creating ControllerRevision %s: %w", o, want.Name, err)
		}
		h.unseen.wrote(o.Object.GetUID(), got)
		if collisions == 0 {
			return got, o.Collisions, nil
		}
		return got, &collisions, nil
	}
}

// Trim deletes the oldest revisions beyond the owner's limit. Those in use, by name, are kept and do not count towards it.
func (h *History) Trim(ctx context.Context, o Owner, all []*appsv1.ControllerRevision, inUse sets.Set[string]) error {
	for _, r := range Excess(all, inUse, o.Limit) {
		// By its version: one that the owner has just been rolled back to has another number by now, and stays.
		err := h.client.AppsV1().ControllerRevisions(r.Namespace).Delete(ctx, r.Name, metav1.DeleteOptions{
			Preconditions: &metav1.Preconditions{UID: &r.UID, ResourceVersion: &r.ResourceVersion},
		})
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("%v: deleting ControllerRevision %s beyond the history limit %d: %w", o, r.Name, o.Limit, err)
		}
		h.unseen.gone(o.Object.GetUID(), r.Name)
	}
	return nil
}

// Forget drops what is remembered about an owner that is gone.
func (h *History) Forget(owner types.UID) { h.unseen.forget(owner) }

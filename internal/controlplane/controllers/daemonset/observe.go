package daemonset

import (
	"cmp"
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/claim"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/controllerrevision"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/index"
	"github.com/gitopsd/gitopsd/internal/controlplane/controllers/ledger"
)

// ownPods are the Pods of a DaemonSet, and what the cache does not show of them yet.
type ownPods struct {
	pods     []*corev1.Pod
	creating int                 // Pods that exist and are not among pods
	deleting sets.Set[types.UID] // those of pods that have been told to go
}

// owned lists the DaemonSet's Pods, once it has adopted and released what it is to. What may or may not have been written is asked after first.
func (c *Controller) owned(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector) (ownPods, error) {
	version := c.pods.LastStoreSyncResourceVersion()
	cached := index.ControlledBy[*corev1.Pod](c.pods, set.UID)
	byName := make(map[string]*corev1.Pod, len(cached))
	for _, p := range cached {
		byName[p.Name] = p
	}
	look := func() ledger.Open {
		return c.ledger.Look(set.UID, version, func(name string) (metav1.Object, bool) { p, ok := byName[name]; return p, ok })
	}
	open := look()
	if len(open.Recreate)+len(open.Redelete) > 0 {
		if err := c.verify(ctx, set, open); err != nil {
			return ownPods{}, err
		}
		open = look()
	}
	pods, err := claim.Settle(ctx, set, kind, claim.Sort(set, selector, append(cached, index.Orphans[*corev1.Pod](c.pods, set.Namespace)...)),
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
		},
		func(ctx context.Context, name string, patch []byte) (*corev1.Pod, error) {
			return c.client.CoreV1().Pods(set.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		})
	return ownPods{pods: pods, creating: open.Creating, deleting: open.Deleting}, err
}

// verify asks the API server what became of writes whose answer was lost.
func (c *Controller) verify(ctx context.Context, set *appsv1.DaemonSet, open ledger.Open) error {
	var failed error
	for _, name := range open.Recreate {
		_, err := c.verifyCreated(ctx, set, name)
		failed = cmp.Or(failed, err)
	}
	for _, d := range open.Redelete {
		failed = cmp.Or(failed, c.verifyDeleted(ctx, set, d))
	}
	return failed
}

// revisions are those a DaemonSet has.
type revisions struct {
	owner controllerrevision.Owner
	controllerrevision.Recorded
}

// hash is what Pods of the template now are labelled with.
func (r revisions) hash() string { return revisionHash(r.Revision) }

// revisionHash is a revision's own, or its name where somebody else made it and left the label out.
func revisionHash(r *appsv1.ControllerRevision) string {
	return cmp.Or(r.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], r.Name)
}

// record records the template in the DaemonSet's history.
func (c *Controller) record(ctx context.Context, set *appsv1.DaemonSet, selector labels.Selector) (revisions, error) {
	owner := controllerrevision.Owner{
		Object: set, Kind: kind, Selector: selector, Template: &set.Spec.Template, HashLabel: appsv1.DefaultDaemonSetUniqueLabelKey,
		Collisions: set.Status.CollisionCount, Limit: ptr.Deref(set.Spec.RevisionHistoryLimit, 10),
	}
	all, err := c.history.List(ctx, owner, func(ctx context.Context) (metav1.Object, error) {
		return c.client.AppsV1().DaemonSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	})
	if err != nil {
		return revisions{}, err
	}
	now, err := c.history.Record(ctx, owner, all)
	return revisions{owner: owner, Recorded: now}, err
}

// trim deletes revisions beyond the limit that no Pod is of.
func (c *Controller) trim(ctx context.Context, r revisions, pods []*corev1.Pod) error {
	hashes := sets.New[string]()
	for _, p := range pods {
		hashes.Insert(hashOf(p))
	}
	inUse := sets.New(r.Revision.Name)
	for _, old := range r.All {
		if hashes.Has(revisionHash(old)) {
			inUse.Insert(old.Name)
		}
	}
	return c.history.Trim(ctx, r.owner, r.All, inUse)
}

// selectorOf is the DaemonSet's selector.
func selectorOf(set *appsv1.DaemonSet) (labels.Selector, error) {
	s, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("the DaemonSet %s/%s: spec.selector: %w", set.Namespace, set.Name, err)
	}
	return s, nil
}

package statefulset

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// hashLabel holds, on a revision, the hash that its name ends in.
const hashLabel = "controller.kubernetes.io/hash"

// ownPods are the Pods of a StatefulSet, and what the cache does not show of them yet.
type ownPods struct {
	pods     []*corev1.Pod
	creating int                 // Pods that exist and are not among pods
	deleting sets.Set[types.UID] // those of pods that have been told to go
}

// owned lists the StatefulSet's Pods, once it has adopted and released what it is to. What may or may not have been written is asked after first.
func (c *Controller) owned(ctx context.Context, set *appsv1.StatefulSet) (ownPods, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return ownPods{}, fmt.Errorf("the StatefulSet %s/%s: spec.selector: %w", set.Namespace, set.Name, err)
	}
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
	pods, err := claim.Settle(ctx, set, kind, sortPods(set, selector, append(cached, index.Orphans[*corev1.Pod](c.pods, set.Namespace)...)),
		func(ctx context.Context) (metav1.Object, error) {
			return c.client.AppsV1().StatefulSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
		},
		func(ctx context.Context, name string, patch []byte) (*corev1.Pod, error) {
			return c.client.CoreV1().Pods(set.Namespace).Patch(ctx, name, types.StrategicMergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
		})
	return ownPods{pods: pods, creating: open.Creating, deleting: open.Deleting}, err
}

// sortPods lets go Pods that match but are not named as the StatefulSet's are, and leaves such orphans alone.
func sortPods(set *appsv1.StatefulSet, selector labels.Selector, candidates []*corev1.Pod) claim.Sorted[*corev1.Pod] {
	var members, others []*corev1.Pod
	for _, p := range candidates {
		if _, ok := ordinalOf(set, p.Name); ok {
			members = append(members, p)
		} else if metav1.IsControlledBy(p, set) {
			others = append(others, p)
		}
	}
	s := claim.Sort(set, selector, members)
	s.Release = append(s.Release, claim.Sort(set, labels.Nothing(), others).Release...)
	return s
}

// verify asks the API server what became of writes whose answer was lost.
func (c *Controller) verify(ctx context.Context, set *appsv1.StatefulSet, open ledger.Open) error {
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

// claimsOf are the claims that the StatefulSet's Pods use, or would.
//
// One that the next Pod is to take up is read from the API server: the cache may not show yet that it goes with the Pod before, whose data it holds.
func (c *Controller) claimsOf(ctx context.Context, set *appsv1.StatefulSet, pods []*corev1.Pod) (map[string]*corev1.PersistentVolumeClaim, error) {
	if len(set.Spec.VolumeClaimTemplates) == 0 {
		return nil, nil
	}
	has := map[int]bool{} // by ordinal: whether there is a Pod
	for i := range size(set) {
		has[start(set)+i] = false
	}
	for _, p := range pods {
		if n, ok := ordinalOf(set, p.Name); ok {
			has[n] = true
		}
	}
	out := map[string]*corev1.PersistentVolumeClaim{}
	for _, n := range slices.Sorted(maps.Keys(has)) {
		for i := range set.Spec.VolumeClaimTemplates {
			name := claimName(set, set.Spec.VolumeClaimTemplates[i].Name, n)
			got, err := c.claims.PersistentVolumeClaims(set.Namespace).Get(name)
			if err == nil && !has[n] {
				got, err = c.client.CoreV1().PersistentVolumeClaims(set.Namespace).Get(ctx, name, metav1.GetOptions{})
			}
			switch {
			case err == nil:
				out[name] = got
			case !apierrors.IsNotFound(err):
				return nil, fmt.Errorf("the StatefulSet %s/%s: reading PersistentVolumeClaim %s: %w", set.Namespace, set.Name, name, err)
			}
		}
		if ordered(set) && !has[n] {
			break // no later one comes to be made, or its claims looked at, before this
		}
	}
	return out, nil
}

// revisions are those a StatefulSet has, and the two that its Pods are made by.
type revisions struct {
	owner           controllerrevision.Owner
	all             []*appsv1.ControllerRevision
	current, update Revision
	collisions      *int32
}

// revisions records the template. Of a StatefulSet that is being deleted nothing is recorded, since nothing is made any more.
func (c *Controller) revisions(ctx context.Context, set *appsv1.StatefulSet) (revisions, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return revisions{}, fmt.Errorf("the StatefulSet %s/%s: spec.selector: %w", set.Namespace, set.Name, err)
	}
	owner := controllerrevision.Owner{
		Object: set, Kind: kind, Selector: selector, Template: &set.Spec.Template, HashLabel: hashLabel,
		Collisions: set.Status.CollisionCount, Limit: ptr.Deref(set.Spec.RevisionHistoryLimit, 10),
	}
	if set.DeletionTimestamp != nil {
		return revisions{
			owner: owner, collisions: set.Status.CollisionCount,
			current: Revision{Name: set.Status.CurrentRevision}, update: Revision{Name: set.Status.UpdateRevision},
		}, nil
	}
	all, err := c.history.List(ctx, owner, func(ctx context.Context) (metav1.Object, error) {
		return c.client.AppsV1().StatefulSets(set.Namespace).Get(ctx, set.Name, metav1.GetOptions{})
	})
	if err != nil {
		return revisions{}, err
	}
	now, err := c.history.Record(ctx, owner, all)
	if err != nil {
		return revisions{}, err
	}
	r := revisions{owner: owner, all: now.All, collisions: now.Collisions, update: Revision{Name: now.Revision.Name, Template: &set.Spec.Template}}
	r.current = r.update
	for _, old := range now.All {
		if old.Name == set.Status.CurrentRevision && old != now.Revision {
			template, err := controllerrevision.Template(old)
			if err != nil {
				return revisions{}, err
			}
			r.current = Revision{Name: old.Name, Template: template}
		}
	}
	return r, nil
}

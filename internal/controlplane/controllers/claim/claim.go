package claim

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Sorted is what an owner is to do with each candidate; candidates that are none of its business are in no list.
type Sorted[T metav1.Object] struct {
	Own     []T // controlled by the owner and matching its selector
	Adopt   []T // controlled by nobody and matching
	Release []T // controlled by the owner but no longer matching
}

// Sort decides about each candidate. An owner that is being deleted neither adopts nor releases: what it owns is the
// garbage collector's business now.
func Sort[T metav1.Object](owner metav1.Object, selector labels.Selector, candidates []T) Sorted[T] {
	var s Sorted[T]
	for _, c := range candidates {
		matches := selector.Matches(labels.Set(c.GetLabels()))
		ref := metav1.GetControllerOfNoCopy(c)
		switch {
		case ref != nil && ref.UID != owner.GetUID():
		case ref != nil && matches:
			s.Own = append(s.Own, c)
		case ref != nil:
			if owner.GetDeletionTimestamp() == nil {
				s.Release = append(s.Release, c)
			}
		case matches && owner.GetDeletionTimestamp() == nil && c.GetDeletionTimestamp() == nil:
			s.Adopt = append(s.Adopt, c)
		}
	}
	return s
}

// Patcher sends a strategic merge patch for the named object and returns what the server has afterwards.
type Patcher[T metav1.Object] func(ctx context.Context, name string, patch []byte) (T, error)

// Settle carries out s and returns everything the owner now owns. live reads the owner from the API server: a cached owner may be
// one that has been deleted and replaced by another of the same name, which must not adopt on the old one's behalf.
func Settle[T metav1.Object](ctx context.Context, owner metav1.Object, kind schema.GroupVersionKind, s Sorted[T],
	live func(context.Context) (metav1.Object, error), patch Patcher[T],
) ([]T, error) {
	own := s.Own
	if len(s.Adopt) > 0 {
		fresh, err := live(ctx)
		if err != nil {
			return nil, fmt.Errorf("%s %s/%s: reading it before adopting: %w", kind.Kind, owner.GetNamespace(), owner.GetName(), err)
		}
		if fresh.GetUID() != owner.GetUID() || fresh.GetDeletionTimestamp() != nil {
			return own, nil
		}
		for _, o := range s.Adopt {
			got, err := patch(ctx, o.GetName(), adoptPatch(owner, kind, o.GetUID()))
			if gone(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("%s %s/%s: adopting %s: %w", kind.Kind, owner.GetNamespace(), owner.GetName(), o.GetName(), err)
			}
			own = append(own, got)
		}
	}
	for _, o := range s.Release {
		if _, err := patch(ctx, o.GetName(), releasePatch(owner.GetUID(), o.GetUID())); err != nil && !gone(err) {
			return nil, fmt.Errorf("%s %s/%s: releasing %s: %w", kind.Kind, owner.GetNamespace(), owner.GetName(), o.GetName(), err)
		}
	}
	return own, nil
}

// gone says that the object no longer exists, or that another one has its name now: the patches carry the UID, and a UID that
// does not fit is a Conflict or, for a field that must not change, Invalid.
func gone(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsInvalid(err) || apierrors.IsConflict(err)
}

func adoptPatch(owner metav1.Object, kind schema.GroupVersionKind, uid types.UID) []byte {
	return metadataPatch(uid, metav1.NewControllerRef(owner, kind))
}

func releasePatch(owner, uid types.UID) []byte {
	return metadataPatch(uid, map[string]any{"$patch": "delete", "uid": owner})
}

func metadataPatch(uid types.UID, ref any) []byte {
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid, "ownerReferences": []any{ref}}})
	if err != nil {
		panic(fmt.Sprintf("encoding an owner reference: %v", err)) // strings and booleans only: cannot fail
	}
	return b
}

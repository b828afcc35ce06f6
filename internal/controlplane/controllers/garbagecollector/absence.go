package garbagecollector

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"
)

// absentKept is how many absent owners are remembered. Dependents of one owner are looked at together, so few are needed.
const absentKept = 500

// absence remembers owners that do not exist, so that a hundred Pods of a deleted ReplicaSet ask for it once. A UID that is gone never comes back.
type absence struct{ seen *lru.Cache }

type absentKey struct {
	namespace string
	uid       types.UID
	kind      string
	name      string
}

func newAbsence() *absence { return &absence{seen: lru.New(absentKept)} }

func keyOf(namespace string, ref metav1.OwnerReference) absentKey {
	return absentKey{namespace: namespace, uid: ref.UID, kind: ref.Kind, name: ref.Name}
}

func (a *absence) add(namespace string, ref metav1.OwnerReference) {
	a.seen.Add(keyOf(namespace, ref), nil)
}

func (a *absence) has(namespace string, ref metav1.OwnerReference) bool {
	_, ok := a.seen.Get(keyOf(namespace, ref))
	return ok
}

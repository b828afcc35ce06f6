package garbagecollector

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// OwnerState is what is known about one owner.
type OwnerState string

// States of an owner.
const (
	Solid   OwnerState = "solid"   // it exists
	Absent  OwnerState = "absent"  // it does not exist, or another object has its name
	Waiting OwnerState = "waiting" // it is being deleted in the foreground and waits for this object to go
	Unknown OwnerState = "unknown" // its kind is not served now, so nobody can tell
)

// Owner is an owner reference with what is known about it.
type Owner struct {
	metav1.OwnerReference
	State OwnerState
}

// Dependent is an object that names the one in question as an owner.
type Dependent struct {
	UID    types.UID
	Blocks bool // its reference has blockOwnerDeletion
	Waits  bool // it is itself being deleted in the foreground
}

// Observed is what a decision about one object rests on.
type Observed struct {
	Deleting   bool
	Finalizers []string
	Owners     []Owner
	Dependents []Dependent
}

// Actions is what is to be done about one object.
type Actions struct {
	Orphan          bool                       // remove the reference to this object from all dependents, then the finalizer
	RemoveFinalizer string                     // "" for none
	Drop            []types.UID                // remove the references to these owners
	Unblock         bool                       // set blockOwnerDeletion of all references to false: the object is part of a circle
	Delete          metav1.DeletionPropagation // "" for not
}

// Decide looks at one object.
func Decide(o Observed) Actions {
	switch {
	case o.Deleting && slices.Contains(o.Finalizers, metav1.FinalizerOrphanDependents):
		return Actions{Orphan: true, RemoveFinalizer: metav1.FinalizerOrphanDependents}
	case o.Deleting && slices.Contains(o.Finalizers, metav1.FinalizerDeleteDependents):
		return foreground(o)
	case o.Deleting:
		return Actions{} // its other finalizers are somebody else's
	}
	return owned(o)
}

// foreground waits for the dependents that block. They find out by themselves that their owner waits for them.
func foreground(o Observed) Actions {
	if slices.ContainsFunc(o.Dependents, func(d Dependent) bool { return d.Blocks }) {
		return Actions{}
	}
	return Actions{RemoveFinalizer: metav1.FinalizerDeleteDependents}
}

// owned decides by the owners of an object that is not being deleted.
func owned(o Observed) Actions {
	var gone, waiting []types.UID
	solid := false
	for _, w := range o.Owners {
		switch w.State {
		case Unknown:
			return Actions{}
		case Solid:
			solid = true
		case Absent:
			gone = append(gone, w.UID)
		case Waiting:
			waiting = append(waiting, w.UID)
		}
	}
	switch {
	case len(gone)+len(waiting) == 0:
		return Actions{}
	case solid:
		// It stays with the owner it has; the others need not wait for it, and nobody need ask about them again.
		return Actions{Drop: append(gone, waiting...)}
	case len(waiting) > 0 && len(o.Dependents) > 0:
		// An owner waits for this object, so this object waits for its own dependents, or the owner would be gone before they are. Where one of
		// them is waiting already, the owners form a circle, and nobody in it may wait for another.
		return Actions{
			Unblock: slices.ContainsFunc(o.Dependents, func(d Dependent) bool { return d.Waits }),
			Delete:  metav1.DeletePropagationForeground,
		}
	}
	return Actions{Delete: policy(o.Finalizers)}
}

// policy keeps to what the object's finalizers already ask for.
func policy(finalizers []string) metav1.DeletionPropagation {
	switch {
	case slices.Contains(finalizers, metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(finalizers, metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

package namespace

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Found is what one pass over a Namespace's contents found and did.
type Found struct {
	Remaining map[schema.GroupResource]int // objects still there, by resource
	Held      map[string]int               // objects still there, by finalizer
	Unknown   map[string]error             // groups that could not be asked about
	Failed    []error                      // deletions and lists that failed
	PodsFirst bool                         // only Pods have been deleted so far; all else waits for them
}

// Actions is what is to be done with the Namespace.
type Actions struct {
	Finalize   bool                        // nothing is left: remove the finalizer
	Conditions []corev1.NamespaceCondition // what the status should say otherwise
}

// Decide says how the deletion of a Namespace stands.
func Decide(ns *corev1.Namespace, f Found, now time.Time) Actions {
	if len(f.Remaining) == 0 && len(f.Unknown) == 0 && len(f.Failed) == 0 && !f.PodsFirst {
		return Actions{Finalize: true}
	}
	set := setter{conditions: slices.Clone(ns.Status.Conditions), now: now}
	set.to(corev1.NamespaceDeletionDiscoveryFailure, len(f.Unknown) > 0, "DiscoveryFailed", unknown(f.Unknown),
		"ResourcesDiscovered", "All resources successfully discovered")
	set.to(corev1.NamespaceDeletionContentFailure, len(f.Failed) > 0, "ContentDeletionFailed", failures(f.Failed),
		"ContentDeleted", "All content successfully deleted, may be waiting on finalization")
	set.to(corev1.NamespaceContentRemaining, len(f.Remaining) > 0, "SomeResourcesRemain", remaining(f.Remaining),
		"ContentRemoved", "All content successfully removed")
	set.to(corev1.NamespaceFinalizersRemaining, len(f.Held) > 0, "SomeFinalizersRemain", held(f.Held),
		"ContentHasNoFinalizers", "All content-preserving finalizers finished")
	return Actions{Conditions: set.conditions}
}

type setter struct {
	conditions []corev1.NamespaceCondition
	now        time.Time
}

// to sets a condition to True with one reason or False with the other, and keeps its time while its status stays the same.
func (s *setter) to(t corev1.NamespaceConditionType, bad bool, badReason, badText, goodReason, goodText string) {
	c := corev1.NamespaceCondition{Type: t, Status: corev1.ConditionFalse, Reason: goodReason, Message: goodText, LastTransitionTime: metav1.NewTime(s.now)}
	if bad {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, badReason, badText
	}
	for i := range s.conditions {
		if s.conditions[i].Type == t {
			if s.conditions[i].Status == c.Status {
				c.LastTransitionTime = s.conditions[i].LastTransitionTime
			}
			s.conditions[i] = c
			return
		}
	}
	s.conditions = append(s.conditions, c)
}

func unknown(groups map[string]error) string {
	var out []string
	for g, err := range groups {
		out = append(out, fmt.Sprintf("%s: %v", g, err))
	}
	sort.Strings(out)
	return "Discovery failed for some groups, " + fmt.Sprint(len(out)) + " failing: " + strings.Join(out, "; ")
}

func failures(errs []error) string {
	var out []string
	for _, err := range errs {
		out = append(out, err.Error())
	}
	sort.Strings(out)
	return "Failed to delete all resource types, " + fmt.Sprint(len(out)) + " remaining: " + strings.Join(out, "; ")
}

func remaining(counts map[schema.GroupResource]int) string {
	var out []string
	for r, n := range counts {
		out = append(out, fmt.Sprintf("%s.%s has %d resource instances", r.Resource, r.Group, n))
	}
	sort.Strings(out)
	return "Some resources are remaining: " + strings.Join(out, ", ")
}

func held(counts map[string]int) string {
	var out []string
	for f, n := range counts {
		out = append(out, fmt.Sprintf("%s in %d resource instances", f, n))
	}
	sort.Strings(out)
	return "Some content in the namespace has finalizers remaining: " + strings.Join(out, ", ")
}
